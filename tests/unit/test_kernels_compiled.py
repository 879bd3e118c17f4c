"""Compiled kernels: the same result on any number of threads, after a fork, and a way back to PyTorch."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from manticore_kit.kernels import selective_scan
from manticore_kit.kernels.causal_convolution import causal_convolution

ASK = "from manticore_kit.kernels import status; print(status())"


@pytest.fixture(autouse=True)
def same_threads_afterwards() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def scan_and_gradients() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(3, 70, 40, generator=generator), torch.randn(3, 70, 40, generator=generator)]
    inputs += [-torch.rand(70, 5, generator=generator)]
    inputs += [torch.randn(3, 5, 40, generator=generator) for _ in "BC"]
    inputs = [tensor.requires_grad_() for tensor in inputs]
    y = selective_scan(*inputs, delta_softplus=True)
    weight = torch.ones(70, 4, requires_grad=True)
    return [y, *torch.autograd.grad(causal_convolution(y, weight).square().sum(), [*inputs, weight])]


def test_any_number_of_threads_gives_the_same_bits():
    torch.set_num_threads(1)
    alone = scan_and_gradients()
    for threads in (2, 3, 5):
        torch.set_num_threads(threads)
        for mine, other in zip(scan_and_gradients(), alone, strict=True):
            assert torch.equal(mine, other)


def test_threads_survive_a_fork():
    code = (
        "import os, torch\n"
        "torch.set_num_threads(2)\n"
        "from manticore_kit.kernels import selective_scan\n"
        "u, A, B = torch.ones(4, 64, 9), -torch.ones(64, 2), torch.ones(4, 2, 9)\n"
        "scan = lambda: selective_scan(u, u, A, B, B, delta_softplus=True).sum().item()\n"
        "before = scan()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if scan() == before else 1)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_an_environment_variable_switches_them_off():
    said = subprocess.check_output(
        [sys.executable, "-c", ASK], text=True, env={**os.environ, "MANTICORE_KERNELS": "off"}
    )
    assert "slower time loop in PyTorch, as MANTICORE_KERNELS=off is set" in said


def test_without_numba_the_loop_in_pytorch_runs():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import torch\n"
        "from manticore_kit.kernels import selective_scan\n"
        "u, A, B = torch.ones(1, 2, 3), -torch.ones(2, 2), torch.ones(1, 2, 3)\n"
        "assert selective_scan(u, u, A, B, B, delta_softplus=True).isfinite().all()\n"
    )
    said = subprocess.check_output([sys.executable, "-c", code + ASK], text=True)
    assert "slower time loop in PyTorch, as numba cannot compile them here (ModuleNotFoundError:" in said
    assert len(said.splitlines()) == 1


def test_without_a_cache_the_status_says_why():
    nowhere = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator", "NUMBA_CACHE_DIR": "/proc/nowhere"}
    said = subprocess.check_output([sys.executable, "-c", ASK], text=True, env=os.environ | nowhere)
    assert "slower time loop in PyTorch, as numba cannot compile them here (RuntimeError: cannot cache" in said


@pytest.mark.parametrize("name", ["hidden_states", "dt", "A", "B", "C", "D", "z", "delta_bias"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_bad_input_gives_no_plausible_number(name, value):
    inputs = {
        "hidden_states": torch.ones(2, 3, 40), "dt": torch.ones(2, 3, 40), "A": -torch.ones(3, 2),
        "B": torch.ones(2, 2, 40), "C": torch.ones(2, 2, 40), "D": torch.ones(3), "z": torch.ones(2, 3, 40),
        "delta_bias": torch.zeros(3),
    }  # fmt: skip
    inputs[name].view(-1)[0] = value
    y = selective_scan(**inputs, delta_softplus=True)
    assert not y[0, 0, 0].isfinite()
    assert y[1, 1].isfinite().all()
