"""Which functions a model calls: ours for CPU tensors, the library's for everything else.

The mixers of transformers' state-space models call functions of their own module by name: `mamba_selective_scan` in
Mamba, FalconMamba, Jamba and Zamba, `mamba2_chunk_scan` in Mamba-2 and its hybrids, and `causal_conv1d_fn` in all of
them. Such a function is a CUDA kernel where its package is installed and otherwise plain PyTorch. `install_for` puts a
dispatcher under these names in the modules of the model at hand, so it needs no list of families and no import of a
family that is not in use.

The activation `gelu_new` (GPT-2, GPT-Neo, GPT-J and others) is written out in eight operations, each of which passes
over the widest states of the model; PyTorch has the same function as one.
"""

import functools
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad as fwAD
from transformers.activations import NewGELUActivation

from manticore_kit.kernels import compiled
from manticore_kit.kernels.chunk_scan import chunk_scan
from manticore_kit.kernels.selective_scan import selective_scan

_library_scan_wanted: ContextVar[bool] = ContextVar("library_scan_wanted", default=False)


def install_for(model: nn.Module) -> list[str]:
    """Give every module of code that `model` is made of this package's functions; return the names of those changed.

    Installing again changes nothing. Models of the same family share their code, so they share the functions too.
    """
    # Adding a filter that is there already changes nothing.
    logging.getLogger("transformers.integrations.hub_kernels").addFilter(_is_advice_of_use)
    changed: set[str] = set()
    for name in sorted({type(part).__module__ for part in model.modules()}):
        code = sys.modules[name]
        for function_name, ours in OURS.items():
            library_function = getattr(code, function_name, None)
            if library_function is not None and not isinstance(library_function, _Dispatcher):
                setattr(code, function_name, _Dispatcher(library_function, ours))
                changed.add(name)
    NewGELUActivation.forward = _gelu
    return sorted(changed)


@contextmanager
def library_scan() -> Iterator[None]:
    """Inside the context every model calls the library's own functions, for comparison."""
    token = _library_scan_wanted.set(True)
    try:
        yield
    finally:
        _library_scan_wanted.reset(token)


def status() -> str:
    """Return one sentence that says which selective scan is in use on this machine, and why."""
    if (obstacle := compiled.obstacle()) is None:
        ours = "Selective scan on the CPU: Manticore's kernels, compiled by numba"
    else:
        ours = f"Selective scan on the CPU: Manticore's slower time loop in PyTorch, as {obstacle}"
    if _library_scan_wanted.get():
        return "Selective scan: the library's own everywhere, because library_scan() is active."
    if not torch.cuda.is_available():
        return f"{ours}, and PyTorch sees no GPU."
    if importlib.util.find_spec("mamba_ssm") is None:
        return f"{ours}; on the GPU the library's Python loop, because mamba-ssm is not installed."
    return f"{ours}; on the GPU mamba-ssm's fused kernel, because it is installed."


def _is_advice_of_use(record: logging.LogRecord) -> bool:
    """Drop the advice to install CUDA packages, which a machine without a GPU cannot follow."""
    return torch.cuda.is_available() or "is falling back to its reference PyTorch" not in record.getMessage()


class _Dispatcher:
    """Stands in for a function of a module of the library and chooses the implementation at each call."""

    def __init__(self, library_function: Callable[..., Any], ours: Callable[..., Any]):
        functools.update_wrapper(self, library_function)
        self.library_function = library_function
        self.ours = ours

    def __call__(self, hidden_states: Tensor, *args, **kwargs) -> Any:
        # Packed sequences are the library's to run or refuse.
        packed = kwargs.get("cu_seqlens") is not None or kwargs.get("seq_idx") is not None
        if packed or is_the_librarys(hidden_states):
            return self.library_function(hidden_states, *args, **kwargs)
        return self.ours(self.library_function, hidden_states, *args, **kwargs)


def is_the_librarys(states: Tensor) -> bool:
    """Whether `states` are for the library's own functions: no CPU tensor, or a setting that kernels do not serve."""
    # A compiled graph takes the library's associative scan and fuses what is written out; forward-mode derivatives
    # would get lost in compiled kernels.
    derived = fwAD._current_level >= 0
    return not states.is_cpu or derived or torch.compiler.is_compiling() or _library_scan_wanted.get()


_library_gelu = NewGELUActivation.forward


def _gelu(self: NewGELUActivation, input: Tensor) -> Tensor:
    if is_the_librarys(input) or compiled.switched_off():
        return _library_gelu(self, input)
    return F.gelu(input, approximate="tanh")


def _scan(library_function: Callable[..., Any], *args, **kwargs) -> Any:
    return selective_scan(*args, **kwargs)


def _convolution(
    library_function: Callable[..., Any], hidden_states: Tensor, weight: Tensor, bias: Tensor | None = None,
    activation: str | None = None, **kwargs,
) -> Tensor:  # fmt: skip
    if compiled.obstacle() is None:
        from manticore_kit.kernels import causal_convolution  # numba takes a second to import

        if causal_convolution.fits(hidden_states, weight, bias, activation):
            return causal_convolution.causal_convolution(hidden_states, weight, bias, activation)
    return library_function(hidden_states, weight, bias, activation=activation, **kwargs)


def _chunk_scan(library_function: Callable[..., Any], *args, **kwargs) -> Any:
    return library_function(*args, **kwargs) if compiled.switched_off() else chunk_scan(*args, **kwargs)


OURS = {"mamba_selective_scan": _scan, "causal_conv1d_fn": _convolution, "mamba2_chunk_scan": _chunk_scan}
