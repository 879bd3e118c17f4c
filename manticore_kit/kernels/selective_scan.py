"""The selective scan of Mamba on the CPU: compiled kernels, or a time loop in PyTorch.

The recurrence, for every sequence, channel d and state n (Gu and Dao, arXiv 2312.00752, equation 2 and section 3.2):

    h[t] = exp(dt[t] A) h[t-1] + dt[t] u[t] B[t]        y[t] = sum over n of C[t] h[t]
"""

import torch
from torch import Tensor

from manticore_kit.errors import ManticoreError
from manticore_kit.kernels import compiled, scan_loop


def selective_scan(
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    **_: object,
) -> Tensor | tuple[Tensor, Tensor]:
    """Return what `mamba_selective_scan` of transformers returns, in the same dtypes, only sooner.

    `hidden_states`, `dt` and `z` are (batch, channels, length), `A` is (channels, state), `B` and `C` are
    (batch, state, length), `D` and `delta_bias` are (channels,). The recurrence (arXiv 2312.00752, section 3.2) starts
    at zero and runs in float32, or in float64 where an input is float64. With `return_last_state` the result is a pair
    with the state after the last step, (batch, channels, state). Keywords that only choose among the library's own
    loops are ignored.

    Gradients are of first order: differentiating them again raises PyTorch's `once_differentiable` error.
    Raises `ManticoreError` for an input whose shape does not fit the others.
    """
    _check_shapes(hidden_states, dt, A, B, C)
    tensors = (hidden_states, dt, A, B, C, D, z, delta_bias)
    if compiled.obstacle() is not None or not _fits_the_kernels(A, tensors, delta_softplus):
        y, last_state = scan_loop.scan(*tensors, delta_softplus)
    else:
        from manticore_kit.kernels import scan_compiled  # numba takes a second to import

        y, last_state = scan_compiled.scan(*tensors, delta_softplus)
    return (y, last_state) if return_last_state else y


def _fits_the_kernels(A: Tensor, tensors: tuple[Tensor | None, ...], delta_softplus: bool) -> bool:
    # The kernels compute exponentials of numbers that are not positive, as every Mamba has them.
    wide = any(tensor.dtype == torch.float64 for tensor in tensors if tensor is not None)
    return not wide and delta_softplus and bool(((A <= 0) & A.isfinite()).all())


def _check_shapes(hidden_states: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
    # Broadcasting would otherwise accept some of these and return numbers that mean nothing.
    batch, channels, length = hidden_states.shape
    state_size = A.shape[-1]
    expected = {
        "dt": (dt, (batch, channels, length), "(batch, channels, length)"),
        "A": (A, (channels, state_size), "(channels, state)"),
        "B": (B, (batch, state_size, length), "(batch, state, length)"),
        "C": (C, (batch, state_size, length), "(batch, state, length)"),
    }
    for name, (tensor, shape, meaning) in expected.items():
        if tensor.shape != shape:
            raise ManticoreError(
                f"selective_scan: {name} has shape {tuple(tensor.shape)}; with hidden_states of shape "
                f"{(batch, channels, length)} and {state_size} states it must be {shape}, which is {meaning}. "
                "Transpose or expand it before the call."
            )
