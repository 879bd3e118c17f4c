"""What a model is made of is read off the model itself, for families that mix tokens in different ways."""

import json

import pytest
import torch
from families import tiny
from vocabularies import words

from manticore_kit import describe
from manticore_kit.components import Component, Stack, check, layer_kinds
from manticore_kit.components.anatomy import context_length, position_limit

FOUR_KINDS = {
    "gpt2": "attention, attention, attention, attention",
    "llama": "attention, attention, attention, attention",
    "gpt_neo": "attention, local attention, attention, local attention",
    "mistral": "local attention, local attention, local attention, local attention",
    "gemma2": "local attention, attention, local attention, attention",
    "qwen2_moe": "attention, attention, attention, attention",
    "mamba": "ssm, ssm, ssm, ssm",
    "mamba2": "ssm, ssm, ssm, ssm",
    "falcon_mamba": "ssm, ssm, ssm, ssm",
    "bamba": "ssm, attention, ssm, ssm",
    "jamba": "ssm, attention, ssm, attention",
    "granitemoehybrid": "ssm, attention, ssm, attention",
    "falcon_h1": "attention + ssm, attention + ssm, attention + ssm, attention + ssm",
    "nemotron_h": "ssm, mixture of experts, attention, MLP",
    "rwkv": "recurrence, recurrence, recurrence, recurrence",
    "xlstm": "recurrence, recurrence, recurrence, recurrence",
    "recurrent_gemma": "recurrence, recurrence, local attention, recurrence",
    "qwen3_next": "linear attention, attention, linear attention, attention",
    "olmo_hybrid": "linear attention, linear attention, linear attention, attention",
    "minimax": "attention, linear attention, attention, linear attention",
}


@pytest.mark.parametrize(("family", "kinds"), FOUR_KINDS.items())
def test_layers_are_told_by_what_they_mix_tokens_with(family, kinds):
    assert ", ".join(describe(tiny(family)).layer_kinds) == kinds


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({"layer_types": ["conv", "full_attention", "conv"]}, ("convolution", "attention", "convolution")),
        ({"layer_types": ["full_attention"] * 3}, ("attention",) * 3),
    ],
)
def test_convolutions_are_told_from_attention(settings, kinds):
    model = tiny_lfm2(settings)
    assert describe(model).layer_kinds == kinds


def tiny_lfm2(settings: dict):
    from transformers import Lfm2Config, Lfm2ForCausalLM

    config = Lfm2Config(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=32,
        vocab_size=97,
        **settings,
    )
    return Lfm2ForCausalLM(config).eval()


def test_latent_attention_is_attention():
    component = Component(tiny("longcat_flash"), Stack("model.layers", (0, 0)))
    assert layer_kinds(component) == ("attention", "attention")


def test_a_window_makes_attention_local_only_where_it_slides():
    model = tiny("mistral")
    assert describe(model).layer_kinds == ("local attention",) * 4
    model.config.sliding_window = None
    assert describe(model).layer_kinds == ("attention",) * 4


def test_what_is_described(tmp_path):
    model = tiny("gpt_neo", width=64, depth=3).bfloat16()
    model.save_pretrained(tmp_path / "small-neo")
    words(["?", *"abcdefgh"]).save_pretrained(tmp_path / "small-neo")
    description = describe(str(tmp_path / "small-neo"))
    assert description.family == "gpt_neo"
    assert description.architecture == "GPTNeoForCausalLM"
    assert (description.layers, description.width, description.vocabulary) == (3, 64, 97)
    assert description.parameters == sum(p.numel() for p in model.parameters())
    assert "9 tokens" in description.tokenizer
    assert (description.context, description.dtype, description.generates_with_cache) == (64, "bfloat16", True)
    assert json.loads(json.dumps(description.model_dump()))["layer_kinds"] == list(description.layer_kinds)
    assert describe(model).tokenizer == "none found"


def test_parameters_that_are_shared_count_once():
    model = tiny("gpt2")
    assert model.lm_head.weight is model.transformer.wte.weight
    assert describe(model).parameters == model.num_parameters()


# A table of positions ends; rotations, recurrences and sines that are computed on the way do not.
@pytest.mark.parametrize("family", ["gpt2", "opt", "biogpt", "gptj", "codegen", "ctrl", "openai-gpt", "llama", "xglm"])
def test_the_position_limit_is_where_a_model_stops(family):
    component = check(tiny(family))
    limit = position_limit(component)
    assert limit == (None if family in {"llama", "xglm"} else context_length(component))

    def runs(length: int) -> bool:
        try:
            with torch.no_grad():
                component.model(torch.full((1, length), 3), use_cache=False)
        except (IndexError, RuntimeError):
            return False
        return True

    assert runs(64)
    assert runs(70) == (limit is None)


def test_models_without_positions_have_no_context():
    assert describe(tiny("mamba")).context is None
    assert describe(tiny("bloom")).context is None
    assert describe(tiny("gpt_neox")).context == 64
