"""The activation `gelu_new` in one operation is the one that the library writes out."""

import pytest
import torch
from families import tiny
from transformers.activations import NewGELUActivation

from manticore_kit.kernels import install_for, library_scan
from manticore_kit.kernels.compiled import kernels_off


@pytest.fixture(scope="module", autouse=True)
def installed():
    install_for(tiny("gpt2"))


def test_values_and_gradients_are_those_of_the_formula():
    x = torch.cat([torch.linspace(-12, 12, 4801), torch.tensor([-1e4, 0.0, 1e4])]).double()
    exact = x.clone().requires_grad_()
    with library_scan():
        wanted = NewGELUActivation()(exact)
    (gradient,) = torch.autograd.grad(wanted.sum(), exact)
    given = x.float().requires_grad_()
    result = NewGELUActivation()(given)
    assert ((result - wanted).abs() / wanted.abs().clamp(min=1)).max() < 1e-6
    assert (torch.autograd.grad(result.sum(), given)[0] - gradient).abs().max() < 2e-6


def test_it_can_be_switched_off():
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    fast = NewGELUActivation()(x)
    for off in (library_scan, kernels_off):
        with off():
            assert not torch.equal(NewGELUActivation()(x), fast)
            assert torch.allclose(NewGELUActivation()(x), fast, atol=1e-6)
