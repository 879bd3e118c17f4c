"""The compiled kernels of attention, Hyena and SwiGLU give what PyTorch gives, forward and backward."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from manticore_kit.kernels import kernels_off, library_scan
from manticore_kit.models import fused, hyena
from manticore_kit.models.attention import CausalAttention, turns_of
from manticore_kit.models.hyena import Hyena, MultiHeadHyena
from manticore_kit.models.swiglu import SwiGLU

# (width, what is made of it); lanes of one tile and of two, heads of several sizes, shared and own projections.
MODULES: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "attention, 16 heads of 8": (128, lambda: CausalAttention(128, 16)),
    "attention, 32 heads of 4": (128, lambda: CausalAttention(128, 32)),
    "hyena, 4 groups": (32, lambda: Hyena(32, 128, 4, 3, 4, 16)),
    "hyena, 1 group": (24, lambda: Hyena(24, 48, 1, 4, 4, 16)),
    "multi-head hyena, 16 heads of 8": (128, lambda: MultiHeadHyena(128, 128, 1, 3, 2, 16, heads=16)),
    "multi-head hyena, 32 heads of 4": (16, lambda: MultiHeadHyena(16, 128, 1, 2, 2, 16, heads=32)),
    "swiglu": (24, lambda: SwiGLU(24, 48)),
}
LENGTHS = [1, 2, 7, 8, 9, 40]


@pytest.fixture(params=MODULES)
def module(request) -> nn.Module:
    width, make = MODULES[request.param]
    torch.manual_seed(0)
    module = make()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    module.width = width  # pyright: ignore[reportArgumentType]
    return module


def run(module, states: Tensor) -> tuple[Tensor, ...]:
    """What the module makes of `states`, and all gradients of a sum over it."""
    states = states.detach().requires_grad_()
    turned = isinstance(module, CausalAttention)
    turns = (turns_of(states.shape[1], module.width // module.heads, 10000.0, states),) if turned else ()
    out = module(states, *turns)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return (out, *torch.autograd.grad((out * weights.sin()).sum(), (states, *module.parameters())))


def assert_near(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        allowed = 2e-5 * theirs.abs().max().item() + 1e-12
        torch.testing.assert_close(ours.double(), theirs.double(), rtol=0, atol=allowed)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_kernels_give_what_pytorch_gives_in_double_precision(module, length):
    states = torch.randn(19, length, module.width)
    found = run(module, states)
    assert_near(found, run(module.double(), states.double()))
    assert all(tensor.dtype == torch.float32 for tensor in found)


INPUTS = {
    fused.attention: [(37, 9, 3, 4, 32), (2, 9, 2)],
    fused.hyena: [(37, 9, 3, 32), (3, 3, 2, 32), (9, 2, 32)],
    fused.multihead_hyena: [(37, 9, 3, 4, 32), (3, 3, 4, 32), (9, 32)],
    fused.swiglu: [(37, 2, 16)],
}


@pytest.mark.parametrize("function", INPUTS, ids=lambda function: function.__name__)
def test_any_number_of_threads_gives_the_same_bits(function):
    inputs = [torch.randn(*shape) for shape in INPUTS[function]]
    learned = inputs[:1] if function is fused.attention else inputs  # rotations are not learned
    for tensor in learned:
        tensor.requires_grad_()
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            out = function(*inputs)
            results.append((out, *torch.autograd.grad(out.square().sum(), learned)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))


@pytest.mark.parametrize("length", [9, 130])
def test_a_token_changes_nothing_before_it_not_even_by_rounding(module, length):
    states = torch.randn(2, length, module.width)
    changed = states.clone()
    changed[:, length // 2] += 1
    with torch.no_grad():
        before, after = (module(x)[:, : length // 2] for x in (states, changed))
    assert torch.equal(before, after)


def test_scores_far_below_zero_are_weighed_as_others():
    qkv = torch.randn(1, 12, 3, 4, 16)
    qkv[:, :, 0] = 100 * qkv[:, :, 0].abs()
    qkv[:, :, 1] = -qkv[:, :, 1].abs()
    turns = turns_of(12, 4, None, qkv)
    assert fused.fits(qkv, 16)
    q, k, v = qkv.double().permute(2, 0, 4, 1, 3)
    expected = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).permute(0, 2, 3, 1)
    torch.testing.assert_close(fused.attention(qkv, turns).double(), expected, rtol=0, atol=1e-4)


def test_swiglu_stays_finite_where_its_exponential_would_not():
    gates = torch.tensor([-1e4, -200.0, -88.0, -1.0, 0.0, 1.0, 88.0, 1e4]).repeat(2)
    gate_up = torch.stack([gates, torch.ones(16)])[None].requires_grad_()
    assert fused.fits(gate_up, 16)
    out = fused.swiglu(gate_up)
    expected = nn.functional.silu(gates)
    torch.testing.assert_close(out[0], expected, rtol=1e-5, atol=1e-30)
    assert torch.autograd.grad(out.sum(), gate_up)[0].isfinite().all()


def test_switches_and_other_inputs_lead_to_pytorch():
    states = torch.zeros(1, 16)
    assert fused.fits(states, 16, 32)
    assert not fused.fits(states, 16, 24)
    assert not fused.fits(states.double(), 16)
    assert not fused.fits(states.to("meta"), 16)
    for switch in (kernels_off, library_scan):
        with switch():
            assert not fused.fits(states, 16)
    with torch.autocast("cpu"):
        assert not fused.fits(states, 16)


def test_gradients_are_of_first_order(module):
    states = torch.randn(2, 5, module.width, requires_grad=True)
    (grad,) = torch.autograd.grad(module(states).square().sum(), states, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_long_sequences_go_by_way_of_the_transform(monkeypatch):
    torch.manual_seed(0)
    for mixer in (Hyena(16, 64, 4, 3, 4, 16), MultiHeadHyena(16, 128, 1, 3, 2, 16, heads=16)):
        for parameter in mixer.parameters():
            nn.init.normal_(parameter, std=0.3)
        mixer.width = 16  # pyright: ignore[reportArgumentType]
        states = torch.randn(3, 21, 16)
        direct = run(mixer, states)
        with monkeypatch.context() as patch:
            patch.setattr(hyena, "DIRECT_LENGTH", 20)
            patch.setattr(fused, "hyena", None)
            patch.setattr(fused, "multihead_hyena", None)
            assert_near(run(mixer, states), direct)
