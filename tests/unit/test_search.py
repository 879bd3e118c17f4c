"""Every search finds the best mixture of a toy problem where that is known, from every start."""

import pytest
import torch
from families import tiny
from toys import counting, taught, text_of

from manticore_kit import ManticoreForCausalLM
from manticore_kit.tasks.language import per_example_losses
from manticore_kit.training.fit import fit
from manticore_kit.training.settings import TrainingSettings

RULES = {
    "simultaneous, single-level": {},
    "alternating, single-level": {"updates": "alternating"},
    "simultaneous, bilevel": {"level": "bilevel"},
    "alternating, bilevel": {"level": "bilevel", "updates": "alternating"},
}
METHOD = pytest.mark.parametrize("method", ["darts", "gaea", "dash"])
START = pytest.mark.parametrize("start", [(0.5, 0.5), (0.9, 0.1), (0.1, 0.9)], ids=str)


def searched(parts, windows, folder, *, blocks, start, search, steps, batch_size=16):
    """The mixture that a search finds when nothing else moves."""
    hybrid = ManticoreForCausalLM.from_components(parts, blocks=blocks)
    hybrid.set_mixture([start] * blocks)
    settings = TrainingSettings.parse(
        {
            "steps": steps,
            "batch_size": batch_size,
            "search": search,
            "freeze": ["components", "projectors", "embeddings"],
            "learning_rates": {"mixture": 1.0 if search["method"] == "gaea" else 0.3},
            "evaluate_every": 0,
            "checkpoint_every": steps,
            "warmup": 0,
        }
    )
    return fit(hybrid, text_of(windows), settings, folder, keep_model=False).mixture


@pytest.fixture(scope="module")
def right_and_noise():
    windows = counting(1, 64, seed=0)
    return [taught("gpt_neo", windows, steps=150), tiny("mamba", seed=1, depth=2)], windows


@METHOD
@START
@pytest.mark.parametrize("rule", RULES)
def test_of_one_that_is_right_and_one_that_is_noise_the_right_one_is_found(
    right_and_noise, tmp_path, method, start, rule
):
    parts, windows = right_and_noise
    search = {"method": method, **RULES[rule]}
    found = searched(parts, windows, tmp_path / "run", blocks=2, start=start, search=search, steps=40)
    assert all(row[0] > 0.9 for row in found), found


@pytest.fixture(scope="module")
def two_halves():
    """Two models that each know one rule, on text of both, and the best weight of the first by a fine grid."""
    first, second = counting(1, 64, seed=0), counting(5, 64, seed=1)
    parts = [taught("gpt_neo", first, steps=60), taught("mamba", second, steps=60, seed=1)]
    windows = torch.cat([first, second[:32]])
    hybrid = ManticoreForCausalLM.from_components(parts, blocks=1)
    losses = {}
    for weight in (n / 100 for n in range(101)):
        hybrid.set_mixture([[weight, 1 - weight]])
        losses[weight] = per_example_losses(hybrid, windows).mean().item()
    best = min(losses, key=losses.__getitem__)
    assert 0.2 < best < 0.8
    return parts, windows, best


@METHOD
@START
@pytest.mark.parametrize("rule", ["simultaneous, single-level", "alternating, bilevel"])
def test_an_optimum_inside_is_reached_within_a_twentieth(two_halves, tmp_path, method, start, rule):
    """DASH with little noise: at temperature 1 the noise draws it towards a corner, see below."""
    parts, windows, best = two_halves
    search = {"method": method, **RULES[rule], "temperature": 10.0}
    found = searched(parts, windows, tmp_path / "run", blocks=1, start=start, search=search, steps=100, batch_size=32)
    assert found[0][0] == pytest.approx(best, abs=0.05)


def test_the_noise_of_dash_draws_weights_towards_a_corner(two_halves, tmp_path):
    """What it minimises is the expected loss under noise, and larger logits are moved less by it."""
    parts, windows, best = two_halves
    found = {}
    for temperature in (1.0, 10.0):
        search = {"method": "dash", "temperature": temperature}
        folder = tmp_path / f"{temperature}"
        rows = searched(parts, windows, folder, blocks=1, start=(0.5, 0.5), search=search, steps=100, batch_size=32)
        found[temperature] = rows[0][0]
    assert found[1.0] > best + 0.1 > found[10.0]
