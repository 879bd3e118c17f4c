"""The long convolution by way of the Fourier transform is the sum that it stands for."""

import pytest
import torch
from torch import Tensor

from manticore_kit.models.hyena import MultiHeadHyena
from manticore_kit.models.long_convolution import long_convolution

LENGTHS = [1, 2, 3, 7, 16, 127]


def direct(states: Tensor, filters: Tensor) -> Tensor:
    """Σ_s filters[t − s] states[s], term by term."""
    length = states.shape[-1]
    lags = torch.arange(length)[:, None] - torch.arange(length)
    matrix = filters[..., lags.clamp(min=0)] * (lags >= 0)
    return (matrix * states.unsqueeze(-2)).sum(-1)


def draw(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("length", LENGTHS)
def test_it_is_the_direct_sum_and_so_are_its_gradients(length):
    states, filters = draw(3, 4, length), draw(4, length)
    expected = direct(states, filters)
    torch.testing.assert_close(long_convolution(states, filters), expected, rtol=0, atol=1e-12)
    grad = torch.randn_like(expected)
    found = torch.autograd.grad(long_convolution(states, filters), (states, filters), grad)
    for ours, theirs in zip(found, torch.autograd.grad(expected, (states, filters), grad), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("shapes", [((2, 3, 5), (3, 5)), ((2, 3, 2, 6), (2, 6)), ((2, 2, 3, 4), (2, 1, 4))])
def test_gradients_pass_gradcheck_where_filters_are_shared_too(shapes):
    assert torch.autograd.gradcheck(long_convolution, tuple(draw(*shape) for shape in shapes))


def test_half_precision_is_convolved_in_single_precision():
    states, filters = draw(2, 3, 40).detach(), draw(3, 40).detach()
    found = long_convolution(states.bfloat16(), filters.bfloat16())
    assert found.dtype == torch.bfloat16
    expected = direct(states.bfloat16().double(), filters.bfloat16().double())
    torch.testing.assert_close(found.double(), expected, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("length", LENGTHS)
def test_heads_convolve_the_outer_products_of_their_keys_and_values(length):
    heads, size = 3, 2
    mixer = MultiHeadHyena(5, heads * size, 1, 1, 2, 16, heads=heads).double()
    torch.nn.init.ones_(mixer.short)  # a short convolution that changes nothing
    projected, filters = draw(2, length, 3, heads * size), draw(length, heads)
    q, k, v = (x.unflatten(-1, (size, heads)) for x in projected.unbind(2))
    expected = torch.zeros(2, length, size, heads, dtype=torch.float64)
    for i in range(size):
        for j in range(size):
            convolved = direct((k[:, :, j] * v[:, :, i]).transpose(1, 2), filters.T).transpose(1, 2)
            expected[:, :, i] += q[:, :, j] * convolved
    torch.testing.assert_close(mixer.mix(projected, filters), expected.flatten(-2), rtol=0, atol=1e-11)
