"""Hybrids of the trained zoo on real held-out text."""

import itertools

import pytest
import torch

import manticore_kit as mk
from manticore_kit import zoo
from manticore_kit.analysis import loss_surface, paired_difference
from manticore_kit.hybrid import alignment_text
from manticore_kit.tasks.language import builtin_text
from manticore_kit.tasks.language.evaluate import per_example_losses

PAIRS = list(itertools.combinations(zoo.names(), 2))
CORNERS = {0: [[1, 0], [1, 0]], 1: [[0, 1], [0, 1]]}


def held_out(tokenizer, count: int = 16) -> torch.Tensor:
    return torch.cat([builtin_text.held_out(tokenizer, kind, count=count) for kind in ("prose", "code")])


@pytest.mark.parametrize("pair", PAIRS)
def test_the_corner_of_a_component_has_the_loss_of_its_model_card(pair):
    hybrid = mk.ManticoreForCausalLM.from_components(pair)
    for k, name in enumerate(pair):
        hybrid.set_mixture(CORNERS[k])
        card = zoo.card(name)["held_out"]
        for kind in ("prose", "code"):
            losses = per_example_losses(hybrid, builtin_text.held_out(hybrid.tokenizer, kind))
            same_text = builtin_text.fingerprint(kind, "held-out") == card["fingerprint"][kind]
            assert losses.mean().item() == pytest.approx(card["loss"][kind], abs=1e-3 if same_text else 0.1)


@pytest.mark.parametrize("pair", PAIRS)
def test_the_aligned_start_beats_the_identity_start(pair):
    hybrid = mk.ManticoreForCausalLM.from_components(pair)
    text = held_out(hybrid.tokenizer)
    identity = per_example_losses(hybrid, text)
    hybrid.align(alignment_text(hybrid.tokenizer))
    difference = paired_difference(per_example_losses(hybrid, text), identity)
    assert difference.mean < -0.2
    assert difference.verdict == "better"


@pytest.mark.parametrize("pair", PAIRS)
def test_with_the_summed_width_the_aligned_hybrid_is_the_logit_ensemble(pair):
    hybrid = mk.ManticoreForCausalLM.from_components(pair)
    ids = alignment_text(hybrid.tokenizer)
    hybrid.align(ids, width=sum(hybrid.component(k).width for k in range(2)))
    ensemble = mk.ManticoreForCausalLM.from_components(pair, blocks=1)
    with torch.inference_mode():
        difference = hybrid(ids, use_cache=False).logits - ensemble(ids, use_cache=False).logits
    assert difference.abs().max() < 1e-3


def test_three_components_have_a_triangle_with_each_of_them_at_a_corner():
    hybrid = mk.ManticoreForCausalLM.from_components(zoo.names(), blocks=1)
    text = held_out(hybrid.tokenizer, count=4)
    surface = loss_surface(hybrid, text, points=3)
    assert surface.kind == "triangle"
    for corner in surface.corners:
        own = per_example_losses(hybrid.component(corner.component).model, text)
        assert surface.losses[corner.point].tolist() == own.double().tolist()


def test_a_recipe_builds_the_same_hybrid_twice():
    recipe = mk.Recipe.from_yaml("components:\n- model: tiny-gptneo\n  cuts: [1]\n- model: tiny-mamba\n  cuts: [4]\n")
    first, second = mk.build(recipe), mk.build(recipe)
    text = held_out(first.tokenizer, count=2)
    assert torch.equal(per_example_losses(first, text), per_example_losses(second, text))
    assert first.recipe == second.recipe
    assert first.recipe.projector.init == "aligned"
