"""What compiled kernels share: whether they can be used, their threads, and their place in the autograd graph."""

import functools
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

SWITCH = "MANTICORE_KERNELS"

_switched_off: ContextVar[bool] = ContextVar("kernels_off", default=False)
_pools: dict[int, ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_pools.clear)  # threads do not survive a fork


@contextmanager
def kernels_off() -> Iterator[None]:
    """Inside the context none of the fast paths is taken; MANTICORE_KERNELS=off does the same for a whole process.

    What then runs is PyTorch alone: the selective scan as a time loop, the other functions as the library has them.
    """
    token = _switched_off.set(True)
    try:
        yield
    finally:
        _switched_off.reset(token)


def switched_off() -> str | None:
    """Return by what the fast paths are switched off, as a clause, or None."""
    if _switched_off.get():
        return "kernels_off() is active"
    return f"{SWITCH}=off is set" if os.environ.get(SWITCH, "").lower() == "off" else None


def obstacle() -> str | None:
    """Return why the compiled kernels are not in use, as a clause, or None if they are."""
    return switched_off() or _failure()


@functools.cache
def _failure() -> str | None:
    try:
        from manticore_kit.kernels import numba_kernels  # numba takes a second to import

        numba_kernels.scan_forward()
    except Exception as error:  # whatever numba meets on this machine, the PyTorch loop still works
        return f"numba cannot compile them here ({type(error).__name__}: {' '.join(str(error).split())})"
    return None


def share_out(kernel: Callable[..., None], tasks: int, *arguments: object) -> None:
    """Call `kernel(begin, end, *arguments)` so that its calls cover range(tasks), on as many threads as PyTorch uses.

    The kernel must release the interpreter's lock, and tasks must not depend on each other.
    """
    threads = min(torch.get_num_threads(), tasks)
    bounds = [tasks * i // threads for i in range(threads + 1)] if threads > 1 else [0, tasks]
    *others, own = itertools.pairwise(bounds)
    if others and threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads - 1, thread_name_prefix="manticore-kernels")
    waiting = [_pools[threads].submit(kernel, begin, end, *arguments) for begin, end in others]
    kernel(*own, *arguments)
    for future in waiting:
        future.result()


class FirstOrderGradients(torch.autograd.Function):
    """A backward pass as a node of its own: differentiating it again is refused, whichever input that would lead to.

    PyTorch's `once_differentiable` looks at the incoming gradient only, which may well be a constant.
    """

    @staticmethod
    def forward(ctx, compute: Callable[..., Any], *arguments: Any) -> Any:
        """Return `compute(*arguments)`, a tuple of gradients."""
        return compute(*arguments)

    @staticmethod
    def backward(ctx, *_: Any) -> Any:
        raise RuntimeError(
            "Manticore's compiled kernels are once_differentiable: their gradients cannot be differentiated again. "
            "Inside `manticore_kit.kernels.library_scan()` they can, with the library's own functions."
        )
