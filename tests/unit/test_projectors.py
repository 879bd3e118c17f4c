"""Every kind of projector: identity start, one-hot = component, save and load, cached generation, gradients."""

import pytest
import torch
from families import tiny

from manticore_kit import ManticoreForCausalLM
from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid.projector import KINDS, fit, new_projector, project

KIND = pytest.mark.parametrize("kind", KINDS)
IDS = torch.arange(3, 27).view(2, 12)


def hybrid(kind: str, init: str = "identity", **projector):
    models = [tiny("gpt_neo", width=64), tiny("mamba", width=32, seed=1)]
    spec = {"kind": kind, "init": init, **projector}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ManticoreForCausalLM.from_components(models, projector=spec, mixture=[[0.3, 0.7], [0.6, 0.4]])


def logits(model, **arguments):
    with torch.no_grad():
        return model(IDS, use_cache=False, **arguments).logits


def roughen(model) -> None:
    """Projectors that are far from any start."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.projectors.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


@KIND
def test_all_kinds_start_as_the_same_identity(kind):
    assert torch.allclose(logits(hybrid(kind)), logits(hybrid("linear")), atol=1e-5)


@KIND
@pytest.mark.parametrize("sizes", [(8, 8), (8, 12), (12, 8)])
def test_the_gate_mixes_the_map_with_the_state(kind, sizes):
    torch.manual_seed(0)
    projector = new_projector(kind, *sizes, "random")
    hidden, gate = torch.randn(2, 3, sizes[0]), torch.tensor(0.3)
    wanted = 0.7 * projector(hidden) + 0.3 * fit(hidden, sizes[1])
    assert torch.allclose(project(projector, hidden, gate), wanted, atol=1e-6)


@KIND
@pytest.mark.parametrize("k", [0, 1])
def test_one_hot_rows_are_the_component_whatever_the_projectors(kind, k):
    model = hybrid(kind)
    roughen(model)
    model.set_mixture([[float(j == k) for j in range(2)]] * 2)
    own = model.component(k).model
    with torch.no_grad():
        assert torch.equal(logits(model), own(IDS, use_cache=False).logits)


@KIND
def test_a_saved_hybrid_comes_back_bit_for_bit(kind, tmp_path):
    model = hybrid(kind, "random")
    roughen(model)
    model.save_pretrained(tmp_path / "saved")
    loaded = ManticoreForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(logits(model), logits(loaded))
    assert loaded.recipe == model.recipe
    assert loaded.recipe.projector.kind == kind


@KIND
def test_cached_generation_is_uncached_generation(kind):
    model = hybrid(kind)
    roughen(model)
    cached, uncached = (
        model.generate(IDS, max_new_tokens=8, do_sample=False, use_cache=use, pad_token_id=0) for use in (True, False)
    )
    assert torch.equal(cached, uncached)


@KIND
def test_gradients_reach_every_projector(kind):
    model = hybrid(kind, "random").train()
    model(IDS, labels=IDS).loss.backward()
    for name, parameter in model.projectors.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any(), name


@pytest.mark.parametrize("kind", ["linear_skip", "two_layer"])
def test_the_aligned_start_of_these_kinds_is_that_of_the_linear_one(kind):
    ids = torch.randint(3, 97, (16, 32), generator=torch.Generator().manual_seed(1))
    one, other = hybrid("linear"), hybrid(kind)
    for model in (one, other):
        model.align(ids)
    assert torch.allclose(logits(one), logits(other), atol=1e-4)
    assert other.recipe.projector.init == "aligned"
    assert other.recipe.projector.kind == kind


def test_a_low_rank_map_is_the_nearest_of_its_rank():
    torch.manual_seed(0)
    wanted = torch.randn(12, 8)
    distances = []
    for rank in (1, 4, 8):
        projector = new_projector("low_rank", 8, 12, "identity", rank)
        projector.set_map(wanted, torch.zeros(12), 0.25)
        got = project(projector, torch.eye(8), torch.tensor(0.25)).T
        residual = torch.linalg.svdvals((wanted - 0.25 * torch.eye(12, 8)) / 0.75 - torch.eye(12, 8))[rank:]
        distances.append((got - wanted).norm().item())
        assert distances[-1] == pytest.approx(0.75 * residual.norm().item(), abs=1e-4)
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-4


def test_hybrids_saved_before_there_were_kinds_are_linear():
    model = hybrid("linear")
    fields = model.config.to_dict()
    del fields["projector_kind"], fields["projector_rank"]
    assert type(model.config)(**fields).projector_kind == "linear"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"kind": "low_rank", "rank": 33}, "projector.rank is 33, but the narrowest component is 32 wide"),
        ({"kind": "low_rank", "rank": 0}, "rank"),
        ({"kind": "linear", "rank": 4}, "only low_rank projectors have a rank"),
        ({"kind": "cubic"}, "linear.*low_rank.*cubic"),
    ],
)
def test_impossible_projectors_are_refused(spec, says):
    with pytest.raises(ManticoreError, match=says):
        hybrid(**spec)
