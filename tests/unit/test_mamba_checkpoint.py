"""Checkpoints in the layout of the original Mamba code give the model that transformers' own layout gives."""

import json
import os
from pathlib import Path

import pytest
import torch
from families import tiny
from transformers import MambaConfig, MambaForCausalLM

from manticore_kit.components import describe, load
from manticore_kit.errors import ManticoreError

IDS = torch.randint(0, 96, (2, 9), generator=torch.Generator().manual_seed(0))
# What the original code writes for a model of these sizes; 93 tokens are padded to 96.
CONFIG = {
    "d_model": 32,
    "n_layer": 3,
    "vocab_size": 93,
    "ssm_cfg": {},
    "rms_norm": True,
    "residual_in_fp32": True,
    "fused_add_norm": True,
    "pad_vocab_size_multiple": 8,
}


def reference(**settings) -> MambaForCausalLM:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = MambaConfig(**{"hidden_size": 32, "num_hidden_layers": 3, "vocab_size": 96, **settings})
        return MambaForCausalLM(config).eval()


def write(folder: Path, model: MambaForCausalLM, config: dict | None = None, **extra) -> Path:
    """Saves `model` as the original code would."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    weights = {n.replace("backbone.embeddings.", "backbone.embedding."): t for n, t in model.state_dict().items()}
    weights = {name: t for name, t in {**weights, **extra}.items() if t is not None}
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS, use_cache=False).logits


@pytest.mark.parametrize("with_head", [True, False])
def test_the_logits_are_the_same_bit_for_bit(with_head, tmp_path):
    model = reference()
    folder = write(tmp_path / "mamba", model, **({} if with_head else {"lm_head.weight": None}))
    component = load(folder).component
    assert torch.equal(logits(component.model), logits(model))
    assert torch.equal(component.compose(IDS), logits(model))
    assert component.model.lm_head.weight is component.model.backbone.embeddings.weight
    assert describe(folder).layer_kinds == ("ssm",) * 3


def test_settings_other_than_the_defaults(tmp_path):
    model = reference(
        state_size=8,
        conv_kernel=3,
        expand=3,
        time_step_rank=5,
        use_bias=True,
        use_conv_bias=False,
        tie_word_embeddings=False,
    )
    ssm = {"d_state": 8, "d_conv": 3, "expand": 3, "dt_rank": 5, "bias": True, "conv_bias": False, "dt_min": 0.01}
    folder = write(tmp_path / "mamba", model, {"ssm_cfg": ssm, "tie_embeddings": False})
    assert torch.equal(logits(load(folder).component.model), logits(model))


def test_the_precision_is_the_checkpoints(tmp_path):
    model = reference().bfloat16()
    component = load(write(tmp_path / "mamba", model)).component
    assert component.model.dtype == torch.bfloat16
    assert torch.equal(logits(component.model), logits(model))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"ssm_cfg": {"layer": "Mamba2"}}, r"has Mamba2 layers, and the original layout .* pure Mamba-1 .* `-hf`"),
        ({"attn_layer_idx": [1]}, r"has attention at layers \[1\]"),
        ({"d_intermediate": 64}, r"has MLPs between its layers"),
        ({"rms_norm": False}, r"has LayerNorm"),
        ({"vocab_size": None}, r"gives vocab_size as None, and it must be a whole number"),
        ({"d_model": "32"}, r"gives d_model as '32'"),
        ({"n_layer": 0}, r"gives n_layer as 0"),
        ({"d_model": 48}, r"in the shape \(.*\); by config.json it must be \(.*48.*\)\. Weights and config.json must"),
        ({"n_layer": 4}, r"lacks weights \(10 in all\), the first backbone\.layers\.3"),
    ],
)
def test_models_that_cannot_be_read_are_refused(config, says, tmp_path):
    folder = write(tmp_path / "mamba", reference(), config)
    with pytest.raises(ManticoreError, match=rf"mamba': .*{says}"):
        load(folder)


def test_an_embedding_is_needed(tmp_path):
    folder = write(tmp_path / "mamba", reference(), **{"backbone.embedding.weight": None, "lm_head.weight": None})
    with pytest.raises(ManticoreError, match=r"lacks weights \(2 in all\), the first backbone\.embeddings"):
        load(folder)


def test_a_missing_or_truncated_file(tmp_path):
    folder = write(tmp_path / "mamba", reference())
    file = folder / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ManticoreError, match="a weights file is damaged or cut short"):
        load(folder)
    file.unlink()
    with pytest.raises(ManticoreError, match=r"cannot be read .*pytorch_model.bin"):
        load(folder)


class Trap:
    """Unpickled without care, it makes a folder."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(tmp_path):
    folder = write(tmp_path / "mamba", reference(), trap=Trap(tmp_path / "ran"))
    with pytest.raises(ManticoreError, match=r"a pickle that would run code.*refused"):
        load(folder)
    assert not (tmp_path / "ran").exists()


def test_transformers_own_layout_is_left_to_transformers(tmp_path):
    tiny("mamba").save_pretrained(tmp_path / "mamba")
    assert torch.equal(logits(load(tmp_path / "mamba").component.model), logits(tiny("mamba")))
