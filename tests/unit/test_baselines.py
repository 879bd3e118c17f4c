"""Ensembles are what their formulas say, frankenmerges what their labels say, and a beam finds the best of all."""

import itertools

import pytest
import torch
from families import tiny
from toys import hybrid_of

from manticore_kit import ManticoreForCausalLM
from manticore_kit.analysis.discrete import beam_one_hots, nearest_one_hot, one_hot_rows
from manticore_kit.baselines import as_frankenmerge, choose_weight, ensemble_losses, frankenmerges
from manticore_kit.errors import ManticoreError
from manticore_kit.tasks.language import per_example_losses

WINDOWS = torch.randint(3, 97, (6, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def models():
    return [tiny("gpt_neo"), tiny("mamba", seed=1)]


def test_an_ensemble_of_logits_is_the_hybrid_of_one_block(models):
    hybrid = ManticoreForCausalLM.from_components(models, blocks=1, mixture=[[0.3, 0.7]])
    ours = ensemble_losses(models, WINDOWS, of="logits", weights=[0.3, 0.7], batch_size=4)
    assert torch.allclose(ours, per_example_losses(hybrid, WINDOWS), atol=1e-5)


def test_an_ensemble_of_probabilities_is_the_mean_of_softmaxes(models):
    with torch.no_grad():
        mixed = sum(w * model(WINDOWS).logits.double().softmax(-1) for w, model in zip((0.3, 0.7), models, strict=True))
    tokens = mixed[:, :-1].gather(-1, WINDOWS[:, 1:, None]).squeeze(-1)
    ours = ensemble_losses(models, WINDOWS, of="probabilities", weights=[0.3, 0.7])
    assert torch.allclose(ours.double(), -tokens.log().mean(dim=1), atol=1e-5)


@pytest.mark.parametrize("of", ["probabilities", "logits"])
def test_weight_on_one_model_is_that_model(models, of):
    alone = ensemble_losses(models, WINDOWS, of=of, weights=[0, 1])
    assert torch.allclose(alone, per_example_losses(models[1], WINDOWS), atol=1e-5)


@pytest.mark.parametrize("of", ["probabilities", "logits"])
def test_the_chosen_weight_has_the_lowest_loss_of_the_grid(models, of):
    chosen = choose_weight(models, WINDOWS, of, points=5)
    losses = {w: ensemble_losses(models, WINDOWS, of=of, weights=[w, 1 - w]).mean() for w in (0, 0.25, 0.5, 0.75, 1)}
    assert chosen[0] == min(losses, key=losses.__getitem__)


def test_ensembles_of_nothing_and_of_noise_are_refused(models):
    with pytest.raises(ManticoreError, match="list of models is empty"):
        ensemble_losses([], WINDOWS, of="logits")
    with pytest.raises(ManticoreError, match="probabilities"):
        ensemble_losses(models, WINDOWS, of="votes")
    with pytest.raises(ManticoreError):
        ensemble_losses(models, WINDOWS, of="logits", weights=[0.5, 0.6])


def test_frankenmerges_are_all_corners_that_are_no_component():
    hybrid = hybrid_of("gpt_neo", "mamba", blocks=3)
    found = {merge.path: merge for merge in frankenmerges(hybrid)}
    assert set(found) == set(itertools.product(range(2), repeat=3)) - {(0, 0, 0), (1, 1, 1)}
    names = hybrid.config.component_names
    assert found[0, 1, 1].label == f"{names[0]} → {names[1]} → {names[1]}"
    small = as_frankenmerge(hybrid, (0, 1, 1))
    hybrid.set_mixture(found[0, 1, 1].rows)
    assert torch.equal(per_example_losses(small, WINDOWS), per_example_losses(hybrid, WINDOWS))
    with pytest.raises(ManticoreError, match="path is"):
        as_frankenmerge(hybrid, (0, 2, 1))


def test_the_nearest_one_hot_is_the_largest_weight():
    assert nearest_one_hot([[0.2, 0.8], [0.5, 0.5], [1, 0]]) == [[0, 1], [1, 0], [1, 0]]


@pytest.mark.parametrize("families", [("gpt_neo", "mamba"), ("gpt_neo", "mamba", "gpt_neox")])
def test_a_wide_beam_finds_the_best_of_all(families):
    hybrid = hybrid_of(*families, blocks=3)
    before = hybrid.mixture.logits.detach().clone()
    choice = beam_one_hots(hybrid, WINDOWS, width=len(families) ** 3)
    assert torch.equal(hybrid.mixture.logits, before)
    losses = {}
    for path in itertools.product(range(len(families)), repeat=3):
        hybrid.set_mixture(one_hot_rows(path, len(families)))
        losses[path] = per_example_losses(hybrid, WINDOWS).mean().item()
    best = min(losses, key=losses.__getitem__)
    assert choice.exhaustive
    assert choice.loss == pytest.approx(losses[best], abs=1e-5)
    assert losses[choice.best.path] == pytest.approx(losses[best], abs=1e-5)
    narrow = beam_one_hots(hybrid, WINDOWS, width=1)
    assert losses[narrow.best.path] == pytest.approx(narrow.loss, abs=1e-5)


def test_a_beam_needs_windows_and_puts_the_mixture_back_after_an_error():
    hybrid = hybrid_of(blocks=2)
    before = hybrid.mixture.logits.detach().clone()
    with pytest.raises(ManticoreError):
        beam_one_hots(hybrid, WINDOWS[:1])
    with pytest.raises(ManticoreError, match="200"):
        beam_one_hots(hybrid, torch.full((4, 8), 200))
    assert torch.equal(hybrid.mixture.logits, before)
