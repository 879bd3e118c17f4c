"""The package's own architectures: what they are made of, that they are causal, and what they refuse."""

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from manticore_kit.components import check, describe, load
from manticore_kit.components.checks import TOLERANCE
from manticore_kit.errors import ManticoreError
from manticore_kit.kernels import kernels_off
from manticore_kit.models import ARCHITECTURES, MadConfig, MambaFormerConfig, StripedHyenaConfig
from manticore_kit.models.attention import visible_keys

# Small ones that the compiled kernels take.
SIZES = {"vocab_size": 29, "hidden_size": 64, "num_hidden_layers": 2}
CASES = {
    "attention": ("mad", {"mixer": "attention"}),
    "mamba": ("mad", {"mixer": "mamba"}),
    "hyena": ("mad", {"mixer": "hyena"}),
    "multi-head hyena": ("mad", {"mixer": "multihead_hyena"}),
    "Hyena": ("hyena", {}),
    "Multi-head Hyena": ("hyena", {"multi_head": True}),
    "StripedHyena": ("striped_hyena", {"num_hidden_layers": 3}),
    "MambaFormer": ("mambaformer", {"num_hidden_layers": 3}),
}
CAUSAL = {"FFT": kernels_off, "kernels": torch.no_grad}  # the contexts under which a test runs


def model_of(case: str, **settings):
    name, own = CASES[case]
    return load(name, config={**SIZES, **own, **settings}).component.model


def token_ids(batch: int, length: int) -> Tensor:
    return torch.randint(0, 29, (batch, length), generator=torch.Generator().manual_seed(length))


@torch.no_grad()
def logits(model, ids: Tensor, **arguments) -> Tensor:
    return model(ids, **arguments).logits


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


# ------------------------------------------------------------------------------------------------- what they are


@pytest.mark.parametrize(
    ("name", "settings", "kinds"),
    [
        ("mad", {"mixer": "attention"}, "attention, attention"),
        ("mad", {"mixer": "mamba"}, "ssm, ssm"),
        ("mad", {"mixer": "hyena", "num_hidden_layers": 3}, "convolution, convolution, convolution"),
        ("mad", {"mixer": "multihead_hyena"}, "convolution, convolution"),
        ("hyena", {}, "convolution, convolution"),
        ("hyena", {"multi_head": True}, "convolution, convolution"),
        ("striped_hyena", {"num_hidden_layers": 5}, "convolution, attention, convolution, attention, convolution"),
        ("mambaformer", {}, "ssm, attention, ssm"),
        ("mambaformer", {"num_hidden_layers": 4}, "ssm, attention, ssm, attention"),
    ],
)
def test_layers_come_in_their_order(name, settings, kinds):
    found = describe(load(name, config={"hidden_size": 64, **settings}))
    assert ", ".join(found.layer_kinds) == kinds
    assert found.family == name
    assert not found.generates_with_cache
    assert found.context is None


# Embedding and head of 16 tokens, and a norm before each mixer and SwiGLU and at the end, all of width 128.
ENDS, NORM, SWIGLU = 2 * 16 * 128, 128, 3 * 128 * 352
ATTENTION = 4 * 128 * 128
MAMBA = 128 * 512 + 256 * 4 + 256 + 256 * (8 + 2 * 4) + (8 + 1) * 256 + 256 * 4 + 256 + 256 * 128
HYENA = 128 * 384 + 3 * 1536 + (3 * 4 + 4 + 4 * 4 + 4 + 4 * 512 + 2 * 512) + 512 * 128
MULTIHEAD = 128 * 384 + 3 * 384 + (3 * 2 + 2 + 2 * 2 + 2 + 2 * 16 + 2 * 16) + 128 * 128


@pytest.mark.parametrize(
    ("name", "settings", "count"),
    [
        ("mad", {"mixer": "attention"}, ENDS + 5 * NORM + 2 * (ATTENTION + SWIGLU)),
        ("mad", {"mixer": "mamba"}, ENDS + 3 * NORM + 2 * MAMBA),
        ("mad", {"mixer": "mamba", "intermediate_size": 352}, ENDS + 5 * NORM + 2 * (MAMBA + SWIGLU)),
        ("mad", {"mixer": "hyena"}, ENDS + 5 * NORM + 2 * (HYENA + SWIGLU)),
        ("hyena", {"multi_head": True}, ENDS + 5 * NORM + 2 * (MULTIHEAD + SWIGLU)),
        ("striped_hyena", {}, ENDS + 5 * NORM + HYENA + ATTENTION + 2 * SWIGLU),
        ("striped_hyena", {"multi_head": True}, ENDS + 5 * NORM + MULTIHEAD + ATTENTION + 2 * SWIGLU),
        ("mambaformer", {}, ENDS + 4 * NORM + 2 * MAMBA + ATTENTION),
        ("mambaformer", {"tie_word_embeddings": True}, ENDS // 2 + 4 * NORM + 2 * MAMBA + ATTENTION),
    ],
)
def test_defaults_have_the_sizes_of_mad(name, settings, count):
    assert load(name, config=settings).component.model.num_parameters() == count


def test_the_class_names_them_too():
    for kind, model in ARCHITECTURES.items():
        assert type(load(model.__name__, config={"hidden_size": 32, "num_attention_heads": 4}).component.model) is model
        assert type(AutoConfig.for_model(kind)) is model.config_class


def test_near_names_are_offered():
    with pytest.raises(ManticoreError, match=r"near names: .*striped_hyena"):
        load("stripe_hyena", config={})
    with pytest.raises(ManticoreError, match="'mambaformer' is an architecture, not a trained model"):
        load("mambaformer")


# ------------------------------------------------------------------------------------------------- what they do


@pytest.mark.parametrize("context", CAUSAL.values(), ids=CAUSAL)
@pytest.mark.parametrize("case", CASES)
def test_a_token_changes_nothing_before_it(case, context):
    model, ids = model_of(case), token_ids(2, 37)
    changed = ids.clone()
    changed[:, 20] = (ids[:, 20] + 1) % 29
    with context():
        before, after = logits(model, ids), logits(model, changed)
    assert relative(after[:, :20], before[:, :20]) <= (2e-6 if context is kernels_off else 0)
    assert relative(after[:, 20:], before[:, 20:]) > 1e-4


@pytest.mark.parametrize("case", ["hyena", "multi-head hyena"])
def test_rounding_of_the_transform_stays_far_below_the_self_checks_tolerance(case):
    model = model_of(case)
    for length in (127, 1024):
        ids = token_ids(1, length)
        changed = ids.clone()
        changed[:, -1] = (ids[:, -1] + 1) % 29
        with kernels_off():
            leaked = relative(logits(model, changed)[:, :-1], logits(model, ids)[:, :-1])
        assert leaked < TOLERANCE / 4


@pytest.mark.parametrize("context", CAUSAL.values(), ids=CAUSAL)
@pytest.mark.parametrize("case", CASES)
def test_padding_on_the_left_changes_nothing(case, context):
    model, ids = model_of(case), token_ids(2, 12)
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    with context():
        padded, alone = logits(model, ids, attention_mask=mask), logits(model, ids[:1, 5:])
        other = ids.clone()
        other[0, :5] = 7
        assert relative(padded[:1, 5:], alone) < 5e-6
        assert relative(padded[1:], logits(model, ids[1:])) < 5e-6
        assert torch.equal(logits(model, other, attention_mask=mask)[0, 5:], padded[0, 5:])
        assert torch.equal(logits(model, ids, attention_mask=torch.ones_like(mask)), logits(model, ids))
        assert padded.isfinite().all()


def test_padding_sees_itself_and_the_rest_sees_no_padding():
    visible = visible_keys(torch.tensor([[0, 0, 1, 1]]))[0, 0].int().tolist()
    assert visible == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]


def test_only_positions_tell_attention_the_order_of_what_is_past():
    ids = token_ids(1, 9)
    shuffled = ids[:, [*torch.randperm(8, generator=torch.Generator().manual_seed(1)).tolist(), 8]]
    orders = {}
    for theta in (None, 10000.0):
        # In one layer; in two, the first would tell the second which token stands after which.
        model = model_of("attention", num_hidden_layers=1, rope_theta=theta)
        orders[theta] = relative(logits(model, shuffled)[:, -1], logits(model, ids)[:, -1])
    assert orders[None] < 1e-6
    assert orders[10000.0] > 1e-4
    assert MambaFormerConfig().rope_theta is None
    assert MadConfig().rope_theta == StripedHyenaConfig().rope_theta == 10000.0


@pytest.mark.parametrize("case", CASES)
def test_text_is_generated_without_a_cache(case):
    model, ids = model_of(case), token_ids(2, 6)
    mask = torch.ones_like(ids)
    mask[0, :2] = 0
    step_by_step, seen = ids, mask
    for _ in range(4):
        best = logits(model, step_by_step, attention_mask=seen)[:, -1:].argmax(-1)
        step_by_step, seen = torch.cat([step_by_step, best], 1), torch.cat([seen, torch.ones_like(best)], 1)
    options = {"attention_mask": mask, "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    for more in ({}, {"use_cache": True}):
        assert torch.equal(model.generate(ids, **options, **more), step_by_step)
    assert model.generate(ids, **options, num_beams=3).shape == step_by_step.shape
    assert not check(model).stack.caches


@pytest.mark.parametrize("case", CASES)
def test_training_moves_every_weight(case):
    model, ids = model_of(case).train(), token_ids(4, 12)
    model(input_ids=ids, labels=ids).loss.backward()
    still = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_other_precisions_run(case, dtype):
    model, ids = model_of(case).to(dtype), token_ids(2, 12)
    found = logits(model, ids)
    assert found.dtype == dtype
    expected = logits(model.float(), ids)  # the same weights in the usual precision
    assert relative(found.float(), expected) < (1e-5 if dtype == torch.float64 else 0.05)


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_size": 15, "num_attention_heads": 5, "rope_theta": None},  # heads of odd size
        {"hidden_size": 36, "num_attention_heads": 6},
        {"hidden_size": 32, "num_attention_heads": 16},
    ],
)
def test_sizes_that_no_kernel_takes_run_too(settings):
    for mixer in ("attention", "hyena", "multihead_hyena"):
        own = {"mixer": mixer, "num_hyena_heads": 3 if settings["hidden_size"] % 3 == 0 else 4, "hyena_groups": 1}
        model = load("mad", config={**SIZES, **settings, **own}).component.model
        assert logits(model, token_ids(2, 9)).isfinite().all()


# ----------------------------------------------------------------------------------------------------- saved, refused


@pytest.mark.parametrize("case", CASES)
def test_a_saved_model_is_the_same_when_loaded(case, tmp_path):
    model = model_of(case)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert again.config.to_diff_dict() == model.config.to_diff_dict()
    assert torch.equal(logits(again, token_ids(2, 9)), logits(model, token_ids(2, 9)))
    assert torch.equal(logits(load(tmp_path).component.model, token_ids(2, 9)), logits(model, token_ids(2, 9)))


def test_sizes_equal_to_another_mixers_defaults_survive_saving(tmp_path):
    settings = {"mixer": "mamba", "intermediate_size": MadConfig().intermediate_size}
    load("mad", config=settings).component.model.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).intermediate_size == settings["intermediate_size"]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mad", {"mixer": "lstm"}, "mixer is 'lstm'; it must be one of attention, mamba, hyena, multihead_hyena"),
        ("mad", {"hidden_size": 100}, r"hidden_size is 100, which num_attention_heads \(16\) does not divide"),
        ("mad", {"hidden_size": 48}, "makes heads of 3, an odd number.*rope_theta to null"),
        ("mad", {"num_hidden_layers": 0}, "num_hidden_layers is 0; it must be 1 or more"),
        ("mad", {"intermediate_size": -1}, "intermediate_size is -1; it must be 0 or more"),
        ("hyena", {"hyena_groups": 7}, r"hidden_size × hyena_expand is 512, which hyena_groups \(7\) does not divide"),
        ("hyena", {"multi_head": True, "num_hyena_heads": 3}, r"is 128, which num_hyena_heads \(3\) does not divide"),
        ("striped_hyena", {"multihead": True}, "has no setting 'multihead'; near names: multi_head"),
        ("mambaformer", {"mixer": "mamba"}, "has no setting 'mixer'"),
    ],
)
def test_what_makes_no_model_is_refused(name, settings, message):
    with pytest.raises(ManticoreError, match=message):
        load(name, config=settings)
