"""What must hold for every hybrid, tried on tiny random models of different families, widths and depths."""

import copy
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from families import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from manticore_kit import ManticoreForCausalLM
from manticore_kit.components import check
from manticore_kit.errors import ManticoreError

pytestmark = pytest.mark.usefixtures("paths")

SOFT = [[0.3, 0.7], [0.6, 0.4]]


def ids(rows: int = 2, length: int = 9) -> torch.Tensor:
    return torch.randint(3, 97, (rows, length), generator=torch.Generator().manual_seed(0))


def pair() -> list:
    return [tiny("gpt_neo"), tiny("mamba", width=48, depth=3, seed=1)]


def logits(model, input_ids: torch.Tensor, **options) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids, use_cache=False, **options).logits


@pytest.mark.parametrize("ends", ["own", "shared"])
@settings(max_examples=10, deadline=None)
@given(a=st.floats(0, 1), b=st.floats(0, 1))
def test_two_copies_of_a_model_are_that_model_under_any_mixture(ends, a, b):
    model = tiny("llama")
    hybrid = ManticoreForCausalLM.from_components([model, model], ends=ends, mixture=[[a, 1 - a], [b, 1 - b]])
    assert torch.allclose(logits(hybrid, ids()), logits(model, ids()), atol=1e-5)


@pytest.mark.parametrize("ends", ["own", "shared"])
def test_gradients_reach_every_projector_and_mixture_row(ends):
    models = [*pair(), tiny("gpt_neox", width=40, seed=2)]
    hybrid = ManticoreForCausalLM.from_components(models, blocks=3, ends=ends).train()
    hybrid(ids(), labels=ids()).loss.backward()
    trained = {**dict(hybrid.projectors.named_parameters()), "mixture": hybrid.mixture.logits}
    expected = 3 * 3 if ends == "shared" else 3 * 2
    assert len(trained) == 2 * 2 * expected + 1
    for name, parameter in trained.items():
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).any(), name
    assert (hybrid.mixture.logits.grad != 0).all()


@pytest.mark.parametrize("ends", ["own", "shared"])
@pytest.mark.parametrize("rows", [SOFT, [[1, 0], [0, 1]], [[0, 1], [0.5, 0.5]]])
# Without RecurrentGemma: with beams, its own cached scores differ from its uncached ones (transformers 5.23).
@pytest.mark.parametrize("families", [("gpt_neo", "mamba"), ("mistral", "lfm2"), ("jamba", "gpt2")])
def test_cached_generation_equals_uncached(families, rows, ends):
    models = [tiny(families[0]), tiny(families[1], width=64, seed=1)]
    hybrid = ManticoreForCausalLM.from_components(models, ends=ends, mixture=rows)
    mask = torch.ones_like(ids())
    mask[0, :4] = 0
    for options in ({}, {"num_beams": 3}):
        both = [
            hybrid.generate(ids(), attention_mask=mask, max_new_tokens=7, do_sample=False, use_cache=c, **options)
            for c in (True, False)
        ]
        assert torch.equal(*both)


def test_cache_gives_the_logits_of_the_whole_sequence():
    hybrid = ManticoreForCausalLM.from_components(pair(), mixture=SOFT)
    whole, cache = logits(hybrid, ids()), hybrid.new_cache()
    with torch.no_grad():
        parts = [hybrid(ids()[:, i : i + 1], past_key_values=cache, use_cache=True).logits for i in range(9)]
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-5)


def test_a_cropped_cache_goes_on_from_where_it_was_cropped():
    hybrid = ManticoreForCausalLM.from_components([tiny("gpt2"), tiny("llama", seed=1)], mixture=[[0, 1], [0.6, 0.4]])
    whole, cache = logits(hybrid, ids()), hybrid.new_cache()
    with torch.no_grad():
        hybrid(ids(), past_key_values=cache, use_cache=True)
        cache.crop(-3)
        assert cache.get_seq_length() == 6
        again = hybrid(ids()[:, 6:], past_key_values=cache, use_cache=True).logits
    assert torch.allclose(again, whole[:, 6:], atol=1e-5)


def test_a_cache_is_refused_once_other_blocks_run():
    hybrid = ManticoreForCausalLM.from_components(pair(), mixture=[[1, 0], [0, 1]])
    with torch.no_grad():
        cache = hybrid(ids(), use_cache=True).past_key_values
        hybrid.set_mixture(SOFT)
        with pytest.raises(ManticoreError, match="mixture changed"):
            hybrid(ids()[:, :1], past_key_values=cache, use_cache=True)


def test_models_that_cannot_be_cached_generate_without():
    hybrid = ManticoreForCausalLM.from_components([tiny("rwkv"), tiny("gpt2", seed=1)], mixture=SOFT)
    out = hybrid.generate(ids(), attention_mask=torch.ones_like(ids()), max_new_tokens=4, do_sample=False)
    again = out[:, :-1]
    assert torch.equal(logits(hybrid, again)[:, -1].argmax(-1), out[:, -1])


def test_blocks_of_weight_zero_do_not_run():
    hybrid = ManticoreForCausalLM.from_components(pair(), mixture=[[1, 0], [0, 1]])
    ran = []
    for k in range(2):
        for i, layer in enumerate(hybrid.component(k).layers):
            layer.register_forward_hook(lambda *_, k=k, i=i: ran.append((k, i)))
    logits(hybrid, ids())
    assert ran == [(0, 0), (0, 1), (1, 2)]


def test_loss_is_the_mean_next_token_loss():
    hybrid = ManticoreForCausalLM.from_components(pair(), mixture=SOFT)
    out = hybrid(ids(), labels=ids())
    expected = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), ids()[:, 1:].flatten())
    assert out.loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_padded_vocabularies_join_and_padding_is_never_chosen():
    small, large = tiny("gpt_neo"), tiny("gpt_neox", seed=1)
    large.resize_token_embeddings(128, mean_resizing=False)
    hybrid = ManticoreForCausalLM.from_components([small, large], mixture=[[1, 0], [1, 0]])
    ours, own = logits(hybrid, ids()), logits(small, ids())
    assert ours.shape[-1] == 128
    assert torch.equal(ours[..., :97], own)
    assert (ours.softmax(-1)[..., 97:] == 0).all()
    hybrid.set_mixture([[0, 1], [0, 1]])
    assert torch.equal(logits(hybrid, ids()), logits(large, ids()))


def test_blocks_components_and_cuts_of_any_number():
    models = [tiny("llama", depth=5), tiny("mamba", width=48, depth=3, seed=1), tiny("gpt2", width=40, depth=4, seed=2)]
    cuts = [[1, 4], [1, 2], [1, 3]]
    hybrid = ManticoreForCausalLM.from_components(models, cuts=cuts)
    assert hybrid.config.spans == [[(0, 1), (1, 4), (4, 5)], [(0, 1), (1, 2), (2, 3)], [(0, 1), (1, 3), (3, 4)]]
    assert tuple(hybrid.mixture_weights.shape) == (3, 3)
    hybrid.set_mixture([[0, 0, 1]] * 3)
    assert torch.equal(logits(hybrid, ids()), logits(models[2], ids()))


def test_one_block_is_the_weighted_logit_ensemble():
    models = pair()
    hybrid = ManticoreForCausalLM.from_components(models, blocks=1, mixture=[[0.25, 0.75]])
    assert len(hybrid.projectors) == 0
    ensemble = 0.25 * logits(models[0], ids()) + 0.75 * logits(models[1], ids())
    assert torch.allclose(logits(hybrid, ids()), ensemble, atol=1e-6)


# ------------------------------------------------------------------------------------------------------- the mixture


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda r: sum(r) > 0.01), min_size=2, max_size=2)
)
def test_mixture_reads_back_what_was_set(rows):
    rows = [[w / sum(row) for w in row] for row in rows]
    hybrid = three_components()
    hybrid.set_mixture(rows)
    weights = hybrid.mixture_weights
    assert torch.allclose(weights, torch.tensor(rows), atol=1e-6)
    assert torch.equal(weights == 0, torch.tensor(rows) == 0)
    for row in hybrid.recipe.mixture:
        assert sum(row) == pytest.approx(1, abs=1e-9)


def three_components(_made=[]):  # noqa: B006 - made once for all examples of a property
    if not _made:
        models = [tiny("gpt2"), tiny("llama", seed=1), tiny("opt", seed=2)]
        _made.append(ManticoreForCausalLM.from_components(models))
    return _made[0]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([[0.5, 0.4], [0.5, 0.5]], "row 0 .* sum is 0.9"),
        ([[0.5, 0.5], [math.nan, 1]], "row 1 .* finite"),
        ([[0.5, 0.5], [-0.5, 1.5]], "row 1 .* 0 or more"),
        ([[0.5, 0.5]], "1 rows, but the hybrid has 2 blocks"),
        ([[1.0], [1.0]], "needs 2"),
        ("abc", "row"),
    ],
)
def test_rows_off_the_simplex_are_refused_and_change_nothing(rows, says):
    hybrid = ManticoreForCausalLM.from_components(pair(), mixture=SOFT)
    before = hybrid.mixture_weights.clone()
    with pytest.raises(ManticoreError, match=says):
        hybrid.set_mixture(rows)
    assert torch.equal(hybrid.mixture_weights, before)


def test_optimiser_steps_never_leave_the_simplex():
    hybrid = ManticoreForCausalLM.from_components(pair(), mixture=[[0.5, 0.5], [1, 0]]).train()
    optimizer = torch.optim.AdamW(hybrid.parameters(), lr=0.5)
    for _ in range(3):
        hybrid(ids(), labels=ids()).loss.backward()
        optimizer.step()
        weights = hybrid.mixture_weights
        assert torch.allclose(weights.sum(-1), torch.ones(2))
        assert (weights >= 0).all()
        assert weights[1].tolist() == [1, 0]


def test_half_precision_keeps_the_mixture():
    hybrid = ManticoreForCausalLM.from_components(pair(), mixture=SOFT)
    before = hybrid.mixture_weights.clone()
    hybrid = hybrid.bfloat16()
    assert hybrid.mixture.logits.dtype == torch.float32
    assert torch.equal(hybrid.mixture_weights, before)
    assert logits(hybrid, ids()).isfinite().all()
    assert hybrid.component_0.dtype == hybrid.projectors["in_1_0"].weight.dtype == torch.bfloat16


# ---------------------------------------------------------------------------------------------- an ordinary citizen


# Other threads and processes do not know which way this one goes.
@pytest.mark.parametrize("paths", ["fast"], indirect=True)
def test_a_hybrid_can_be_copied_pickled_and_shared_by_threads():
    hybrid = ManticoreForCausalLM.from_components(pair(), mixture=SOFT)
    expected = logits(hybrid, ids())
    for twin in (copy.deepcopy(hybrid), pickle.loads(pickle.dumps(hybrid))):
        assert torch.equal(logits(twin, ids()), expected)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: logits(hybrid, ids()), range(16)):
            assert torch.equal(result, expected)


def test_gradient_checkpointing_changes_no_gradient():
    hybrid = ManticoreForCausalLM.from_components(pair(), mixture=SOFT).train()
    hybrid(ids(), labels=ids()).loss.backward()
    plain = {n: p.grad.clone() for n, p in hybrid.named_parameters()}
    hybrid.zero_grad()
    hybrid.activation_checkpointing_enable({"use_reentrant": False})
    hybrid(ids(), labels=ids()).loss.backward()
    for name, parameter in hybrid.named_parameters():
        assert torch.allclose(parameter.grad, plain[name], atol=1e-6), name


def test_sequence_longer_than_learned_positions_is_refused():
    hybrid = ManticoreForCausalLM.from_components(pair(), mixture=SOFT)
    with pytest.raises(ManticoreError, match=r"65 tokens.*gpt_neo.*64"):
        hybrid(ids(1, 65))
    hybrid.set_mixture([[0, 1], [0, 1]])
    assert logits(hybrid, ids(1, 65)).shape[1] == 65


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"blocks": 4}, "'mamba' has 3 layers .* 4 blocks"),
        ({"cuts": [[2], [3]]}, "cut at layers below 3"),
        ({"cuts": [[3, 1], [1, 2]]}, "rising order"),
        ({"cuts": [[0], [1]]}, "from 1 up"),
        ({"cuts": [[2]]}, "a list for each of the 2 components"),
        ({"cuts": [[2], [1, 2]]}, "disagree on the number of blocks"),
        ({"ends": "open"}, "'own' or 'shared'"),
        ({"projector": {"initial": "identity"}}, "unknown key; did you mean 'init'"),
        ({"mixture": [[1, 0, 0]]}, "3 weights, but there are 2"),
    ],
)
def test_wrong_descriptions_of_a_hybrid_say_what_is_wrong(options, says):
    with pytest.raises(ManticoreError, match=says):
        ManticoreForCausalLM.from_components(pair(), **options)


def test_self_check_passes_on_every_component_of_a_hybrid():
    hybrid = ManticoreForCausalLM.from_components(pair())
    for k in range(2):
        assert check(hybrid.component(k).model).stack == hybrid.component(k).stack


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_hybrid_gives_the_same_logits_and_gradients():
    models = [tiny("gpt2", depth=2), tiny("llama", width=64, depth=2, seed=1)]
    hybrid = ManticoreForCausalLM.from_components(models, mixture=SOFT)
    compiled = torch.compile(hybrid, backend="eager")
    assert torch.allclose(logits(compiled, ids()), logits(hybrid, ids()), atol=1e-5)
    gradients = []
    for model in (hybrid, compiled):
        hybrid.zero_grad()
        model(ids(), labels=ids(), use_cache=False).loss.backward()
        gradients.append([p.grad.clone() for p in hybrid.parameters()])
    for plain, other in zip(*gradients, strict=True):
        assert torch.allclose(plain, other, atol=1e-5)


def test_distributed_data_parallel_gives_the_same_gradients(tmp_path):
    hybrid = ManticoreForCausalLM.from_components(pair(), mixture=SOFT).train()
    hybrid(ids(), labels=ids()).loss.backward()
    expected = {n: p.grad.clone() for n, p in hybrid.named_parameters()}
    hybrid.zero_grad()
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        parallel = torch.nn.parallel.DistributedDataParallel(hybrid)
        parallel(ids(), labels=ids()).loss.backward()
        # The last to hold the process group would wait for its threads while they wait for the interpreter.
        del parallel
    finally:
        torch.distributed.destroy_process_group()
    for name, parameter in hybrid.named_parameters():
        assert torch.equal(parameter.grad, expected[name]), name


def test_training_skips_blocks_of_weight_zero_and_gives_the_same_gradients(monkeypatch):
    hybrid = ManticoreForCausalLM.from_components(pair(), mixture=[[1, 0], [0.5, 0.5]]).train()
    ran = []
    block = ManticoreForCausalLM._block

    def watched(*args):
        left = block(*args)
        ran.append([*left])
        return left

    monkeypatch.setattr(ManticoreForCausalLM, "_block", watched)
    hybrid(ids(), labels=ids()).loss.backward()
    assert ran == [[0], [0, 1]]
    assert hybrid.mixture.logits.grad[0].tolist() == [0, 0]
    assert hybrid.mixture.logits.grad[1].abs().min() > 0
    skipped = {n: p.grad for n, p in hybrid.named_parameters()}
    hybrid.zero_grad()
    monkeypatch.setattr(ManticoreForCausalLM, "_mixed", lambda self: (self.mixture.weights, None))
    hybrid(ids(), labels=ids()).loss.backward()
    for name, parameter in hybrid.named_parameters():
        if skipped[name] is None:
            assert parameter.grad is None or not parameter.grad.any()
        else:
            assert torch.allclose(skipped[name], parameter.grad, atol=1e-6)


def test_projectors_changed_past_autograd_are_not_remembered():
    hybrid = ManticoreForCausalLM.from_components(pair(), mixture=SOFT)
    before = logits(hybrid, ids())
    hybrid.generate(ids(), max_new_tokens=3)
    hybrid.projectors["in_1_0"].weight.data.mul_(2)
    after = logits(hybrid, ids())
    assert not torch.equal(after, before)
    with torch.no_grad():
        cached = hybrid(ids(), use_cache=True).logits
    assert torch.allclose(cached, after, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("ends", ["own", "shared"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_hybrid_in_another_precision_trains(dtype, ends, turned):
    models = pair()[::-1] if turned else pair()  # Mamba's head gives float32, whatever its weights are
    hybrid = ManticoreForCausalLM.from_components(models, mixture=SOFT, ends=ends).to(dtype).train()
    hybrid(ids(), labels=ids()).loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in hybrid.parameters())
    assert hybrid.mixture.logits.grad.abs().min() > 0
    assert logits(hybrid, ids()).dtype == torch.promote_types(dtype, torch.float32)


def test_hooks_around_a_components_head_run():
    hybrid = ManticoreForCausalLM.from_components(pair(), mixture=[[1, 0], [1, 0]])
    own = hybrid.component_0

    def steer(module, args, output):
        output.last_hidden_state = 2 * output.last_hidden_state
        return output

    own.base_model.register_forward_hook(steer)
    assert torch.equal(logits(hybrid, ids()), logits(own, ids()))
