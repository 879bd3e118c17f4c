"""No search leaves the simplex, whatever the gradient; GAEA is the textbook's; DASH draws once a forward."""

import numpy as np
import pytest
import torch
from families import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from manticore_kit import ManticoreForCausalLM
from manticore_kit.hybrid.mixture import Mixture
from manticore_kit.training.optimizer import SMALLEST_WEIGHT, PartsOptimizer, exponentiated_step

METHOD = pytest.mark.parametrize("method", ["darts", "gaea", "dash"])
EXTREME = [0.0, 1e-45, 1e-3, 1.0, 1e10, 1e30, 3e38, float("inf"), float("nan")]
gradients = st.lists(
    st.lists(
        st.sampled_from([sign * x for x in EXTREME for sign in (1, -1)]) | st.floats(-2, 2, width=32),
        min_size=3,
        max_size=3,
    ),
    min_size=2,
    max_size=2,
)
starts = st.sampled_from(
    [
        [[1 / 3, 1 / 3, 1 / 3], [0.2, 0.3, 0.5]],
        [[1, 0, 0], [0.5, 0, 0.5]],
        [[1 - 1e-30, 1e-30, 0], [1e-7, 1e-7, 1 - 2e-7]],
    ]
)


def optimizer_of(mixture: Mixture, method: str, rate: float = 0.1) -> PartsOptimizer:
    group = {"params": [mixture.logits], "part": "mixture", "lr": rate, "weight_decay": 0.0}
    return PartsOptimizer([group], exponentiated=method == "gaea")


@METHOD
@settings(deadline=None, max_examples=80)
@given(start=starts, several=st.lists(gradients, min_size=1, max_size=4), rate=st.sampled_from([1e-3, 0.1, 10.0]))
def test_rows_stay_on_the_simplex_after_every_step(method, start, several, rate):
    mixture = Mixture(2, 3)
    mixture.set(start)
    mixture.temperature = 1.0 if method == "dash" else None
    zeros = mixture.weights == 0
    optimizer = optimizer_of(mixture, method, rate)
    for gradient in several:
        mixture.logits.grad = torch.tensor(gradient)
        optimizer.step()
        for weights in (mixture.weights, mixture.draw()):
            assert weights.isfinite().all()
            assert (weights >= 0).all()
            assert weights.sum(dim=-1).allclose(torch.ones(2), atol=1e-6)
        # What the user set to nothing stays nothing, as softmax gives it no gradient.
        assert (mixture.weights[zeros] == 0).all()


@settings(deadline=None, max_examples=50)
@given(start=starts, rate=st.sampled_from([1e-3, 0.1, 1e6]))
def test_gaea_with_a_zero_gradient_moves_nothing(start, rate):
    mixture = Mixture(2, 3)
    mixture.set(start)
    before = mixture.logits.detach().clone()
    mixture.logits.grad = torch.zeros(2, 3)
    optimizer_of(mixture, "gaea", rate).step()
    assert torch.equal(mixture.logits, before)


def test_gaea_is_the_exponentiated_gradient_of_the_weights():
    generator = torch.Generator().manual_seed(0)
    mixture = Mixture(3, 4)
    mixture.set(torch.distributions.Dirichlet(torch.ones(4)).sample((3,)))
    target = torch.rand(3, 4, generator=generator)
    weights = mixture.weights.detach().double()
    (torch.tanh(mixture.weights) * target).sum().backward()
    of_weights = target.double() * (1 - torch.tanh(weights) ** 2)  # ∂/∂w of the same, by hand
    wanted = weights * torch.exp(-0.7 * of_weights)
    wanted /= wanted.sum(dim=-1, keepdim=True)
    exponentiated_step(mixture.logits, mixture.logits.grad, 0.7)
    assert torch.allclose(mixture.weights.double(), wanted, atol=1e-6)


def test_gaea_stops_at_a_weight_from_where_it_comes_back():
    mixture = Mixture(1, 2)
    optimizer = optimizer_of(mixture, "gaea")
    for sign in (1.0, -1.0):
        for _ in range(400):
            weights = mixture.weights
            (sign * weights[0, 0]).backward()
            optimizer.step()
            mixture.logits.grad = None
        low = mixture.weights.min().item()
        assert low == pytest.approx(SMALLEST_WEIGHT, rel=1e-3)
        assert mixture.weights[0].argmin() == (0 if sign > 0 else 1)


def test_parts_apart_move_by_themselves_only():
    mixture, other = Mixture(1, 2), torch.nn.Parameter(torch.ones(3))
    groups = [
        {"params": [other], "part": "components", "lr": 0.1, "weight_decay": 0.0},
        {"params": [mixture.logits], "part": "mixture", "lr": 0.1, "weight_decay": 0.0},
    ]
    optimizer = PartsOptimizer(groups, apart={"mixture"})
    mixture.logits.grad, other.grad = torch.tensor([[1.0, -1.0]]), torch.ones(3)
    optimizer.step()
    assert (mixture.logits == 0).all()
    assert (other < 1).all()
    between = other.detach().clone()
    optimizer.step_part("mixture")
    assert (mixture.logits != 0).all()
    assert torch.equal(other, between)


@pytest.fixture
def hybrid():
    return ManticoreForCausalLM.from_components([tiny("gpt_neo"), tiny("mamba", seed=1)], blocks=2)


IDS = torch.arange(3, 27).view(2, 12)


def test_dash_draws_once_for_each_forward_in_training(hybrid, monkeypatch):
    draws = []
    draw = Mixture.draw
    monkeypatch.setattr(Mixture, "draw", lambda self: draws.append(draw(self)) or draws[-1])
    hybrid.mixture.temperature = 1.0
    hybrid.train()
    first, second = (hybrid(IDS, use_cache=False).logits for _ in range(2))
    assert len(draws) == 2
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(first, second)
    hybrid.set_mixture(draws[0].detach())
    hybrid.mixture.temperature = None
    assert torch.allclose(hybrid(IDS, use_cache=False).logits, first, atol=1e-4)


def test_dash_draws_nothing_in_evaluation(hybrid):
    plain = hybrid.eval()(IDS, use_cache=False).logits
    hybrid.mixture.temperature = 1.0
    for _ in range(2):
        assert torch.equal(hybrid(IDS, use_cache=False).logits, plain)


def test_gradients_pass_through_the_noise_to_the_logits(hybrid):
    hybrid.mixture.temperature = 0.5
    hybrid.train()(IDS, labels=IDS).loss.backward()
    assert hybrid.mixture.logits.grad.isfinite().all()
    assert (hybrid.mixture.logits.grad != 0).all()


def test_the_noise_of_dash_is_gumbels():
    """A component wins with its own weight as the probability (the Gumbel-max trick)."""
    mixture = Mixture(1, 3)
    mixture.set([[0.2, 0.3, 0.5]])
    mixture.temperature = 1.0
    torch.manual_seed(0)
    wins = np.bincount([mixture.draw().argmax().item() for _ in range(4000)], minlength=3) / 4000
    assert np.abs(wins - [0.2, 0.3, 0.5]).max() < 0.03
