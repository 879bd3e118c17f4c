"""The aligned start: with room for all states the hybrid is the logit ensemble; with less it is the best linear one."""

import pytest
import torch
from families import tiny

from manticore_kit import ManticoreForCausalLM
from manticore_kit.errors import ManticoreError

IDS = torch.randint(3, 97, (16, 32), generator=torch.Generator().manual_seed(0))


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS, use_cache=False).logits


@pytest.mark.parametrize("blocks", [2, 3])
@pytest.mark.parametrize("row", [[0.5, 0.5], [0.2, 0.8]])
def test_with_the_summed_width_the_hybrid_is_the_logit_ensemble(row, blocks):
    models = [tiny("gpt_neo"), tiny("mamba", width=64, depth=3, seed=1)]
    hybrid = ManticoreForCausalLM.from_components(models, blocks=blocks, mixture=[[0.7, 0.3]] * (blocks - 1) + [row])
    hybrid.align(IDS, width=32 + 64)
    ensemble = sum(weight * logits(model) for weight, model in zip(row, models, strict=True))
    assert (logits(hybrid) - ensemble).abs().max() < 1e-3
    assert hybrid.recipe.projector.init == "aligned"
    assert hybrid.recipe.projector.width == 96


@pytest.mark.parametrize("ends", ["own", "shared"])
def test_aligned_states_are_nearer_to_the_ensemble_than_identity_ones(ends):
    models = [tiny("gpt_neo"), tiny("mamba", width=64, depth=3, seed=1)]
    hybrid = ManticoreForCausalLM.from_components(models, ends=ends)
    ensemble = (logits(models[0]) + logits(models[1])) / 2
    before = (logits(hybrid) - ensemble).square().mean()
    hybrid.align(IDS)
    assert hybrid.config.width == 64
    assert (logits(hybrid) - ensemble).square().mean() < 0.5 * before


def test_one_hot_rows_stay_their_component_after_aligning():
    models = [tiny("gpt_neo"), tiny("mamba", width=64, depth=3, seed=1)]
    hybrid = ManticoreForCausalLM.from_components(models, mixture=[[1, 0], [0.5, 0.5]])
    hybrid.align(IDS)
    for k, model in enumerate(models):
        hybrid.set_mixture([[float(k == 0), float(k == 1)]] * 2)
        assert torch.equal(logits(hybrid), logits(model))


def test_too_few_tokens_are_refused():
    hybrid = ManticoreForCausalLM.from_components([tiny("gpt_neo"), tiny("mamba", width=64, depth=3, seed=1)])
    with pytest.raises(ManticoreError, match=r"9 tokens.*at least 96"):
        hybrid.align(IDS[:1, :9])
    with pytest.raises(ManticoreError, match="shape"):
        hybrid.align(IDS[0])
