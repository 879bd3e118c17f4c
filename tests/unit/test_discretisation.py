"""A discretised hybrid gives what its one-hot parent gives, and holds only what it uses."""

from pathlib import Path

import pytest
import torch
from families import tiny
from transformers import AutoModelForCausalLM

from manticore_kit import ManticoreForCausalLM
from manticore_kit.errors import ManticoreError

pytestmark = pytest.mark.usefixtures("paths")

IDS = torch.randint(3, 97, (2, 9), generator=torch.Generator().manual_seed(0))
FAMILIES = [("gpt_neo", "mamba"), ("opt", "recurrent_gemma"), ("gemma2", "falcon_mamba")]
ONE_HOT = [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, 1], [0, 1]]]


def logits(model, **options) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS, **options).logits


def size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.glob("*.safetensors"))


@pytest.mark.parametrize("ends", ["own", "shared"])
@pytest.mark.parametrize("rows", ONE_HOT)
@pytest.mark.parametrize("families", FAMILIES)
def test_same_logits_and_text_as_the_one_hot_parent(families, rows, ends, tmp_path):
    models = [tiny(families[0]), tiny(families[1], width=64, depth=3, seed=1)]
    hybrid = ManticoreForCausalLM.from_components(models, ends=ends, mixture=rows)
    small = hybrid.discretize()
    mask = torch.ones_like(IDS)
    mask[0, :4] = 0
    assert torch.equal(logits(small), logits(hybrid))
    assert torch.equal(logits(small, attention_mask=mask), logits(hybrid, attention_mask=mask))
    options = {"attention_mask": mask, "max_new_tokens": 6, "do_sample": False}
    for more in ({}, {"num_beams": 3}):
        assert torch.equal(small.generate(IDS, **options, **more), hybrid.generate(IDS, **options, **more))
    small.save_pretrained(tmp_path / "small")
    hybrid.save_pretrained(tmp_path / "hybrid")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "small")
    assert torch.equal(logits(again), logits(small))
    assert again.num_parameters() == small.num_parameters() < hybrid.num_parameters()
    assert size(tmp_path / "small") < size(tmp_path / "hybrid")


def test_soft_rows_go_to_their_largest_weight():
    models = [tiny("gpt_neo"), tiny("mamba", width=64, depth=3, seed=1)]
    hybrid = ManticoreForCausalLM.from_components(models, mixture=[[0.6, 0.4], [0.2, 0.8]])
    small = hybrid.discretize()
    hybrid.set_mixture([[1, 0], [0, 1]])
    assert torch.equal(logits(small), logits(hybrid))
    assert small.recipe == hybrid.recipe


def test_only_what_the_kept_blocks_use_is_kept():
    models = [tiny("gpt_neo"), tiny("mamba", width=64, depth=3, seed=1), tiny("gpt2", seed=2)]
    small = ManticoreForCausalLM.from_components(models, mixture=[[1, 0, 0], [0, 1, 0]]).discretize()
    assert small.config.component_names == ["gpt_neo", "mamba"]
    names = {name for name, _ in small.named_parameters() if not name.startswith("mixture")}
    kept = ("component_0.transformer.wte", "component_0.transformer.wpe", "component_0.transformer.h.0",
            "component_0.transformer.h.1", "component_1.backbone.layers.2", "component_1.backbone.norm_f",
            "component_1.lm_head")  # fmt: skip
    assert all(name.startswith(kept) for name in names)
    assert all(any(name.startswith(k) for name in names) for k in kept)


def test_the_parent_is_unchanged_and_shares_nothing():
    models = [tiny("gpt_neo"), tiny("mamba", width=64, depth=3, seed=1)]
    hybrid = ManticoreForCausalLM.from_components(models, mixture=[[0.6, 0.4], [0.2, 0.8]])
    before = logits(hybrid)
    small = hybrid.discretize()
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.zero_()
    assert torch.equal(logits(hybrid), before)


def test_its_mixture_is_fixed():
    models = [tiny("gpt_neo"), tiny("mamba", width=64, depth=3, seed=1)]
    small = ManticoreForCausalLM.from_components(models).discretize()
    small.train()(IDS, labels=IDS).loss.backward()
    assert small.mixture.logits.grad is None
    with pytest.raises(ManticoreError, match="discretised"):
        small.set_mixture([[1, 0], [0, 1]])
    with pytest.raises(ManticoreError, match="no projectors"):
        small.align(IDS)
    with pytest.raises(ManticoreError, match="already"):
        small.discretize()
