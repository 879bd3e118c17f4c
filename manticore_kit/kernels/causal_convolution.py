"""The short causal convolution of Mamba's mixers on the CPU, with its activation, as one compiled node of autograd.

    y[t] = act(bias + sum over k of weight[k] x[t - width + 1 + k])        for every sequence and channel

(Gu and Dao, arXiv 2312.00752, section 3.4; the same stands in Mamba-2 and in the hybrids' mixers.)
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from manticore_kit.kernels import numba_kernels
from manticore_kit.kernels.compiled import FirstOrderGradients, share_out
from manticore_kit.kernels.numba_kernels import LANES, LONGEST_FILTER

ACTIVATIONS = (None, "silu", "swish")  # the last two are names of the same function


def causal_convolution(
    hidden_states: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None, **_: object
) -> Tensor:
    """Return what `causal_conv1d_fn` of transformers returns.

    `hidden_states` is (batch, channels, length), `weight` (channels, width) and `bias` (channels,), in float32.
    Gradients are of first order. What it accepts is for `fits` to say.
    """
    inputs = (activation is not None, hidden_states, weight, bias)
    if torch.is_grad_enabled() and any(isinstance(tensor, Tensor) and tensor.requires_grad for tensor in inputs):
        return _Convolution.apply(*inputs)
    return _forward(*inputs)


def fits(hidden_states: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None) -> bool:
    """Whether the kernels take these inputs: float32 outside autocast, a short filter, SiLU or nothing after it."""
    tensors = (hidden_states, weight) if bias is None else (hidden_states, weight, bias)
    return (
        all(tensor.dtype == torch.float32 for tensor in tensors)
        and weight.shape[-1] <= LONGEST_FILTER
        and activation in ACTIVATIONS
        and not torch.is_autocast_enabled("cpu")
    )


def _padded(weight: Tensor, bias: Tensor | None) -> np.ndarray:
    channels, width = weight.shape
    rows = np.zeros((width + 1, -(-channels // LANES) * LANES), np.float32)
    rows[:width, :channels] = weight.detach().numpy().T
    if bias is not None:
        rows[width, :channels] = bias.detach().numpy()
    return rows


def _forward(with_silu: bool, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    batch, channels, length = x.shape
    rows = _padded(weight, bias)
    y = torch.empty(batch, length, channels)
    tasks = batch * rows.shape[1] // LANES
    share_out(numba_kernels.convolution_forward(), tasks, x.detach().numpy(), rows, with_silu, y.numpy())
    return y.transpose(1, 2)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, with_silu: bool, *inputs: Any) -> Tensor:
        ctx.with_silu = with_silu
        ctx.save_for_backward(*inputs)
        return _forward(with_silu, *inputs)

    @staticmethod
    def backward(ctx, grad_y: Tensor) -> Any:
        return None, *FirstOrderGradients.apply(_gradients, ctx.with_silu, grad_y, *ctx.saved_tensors)


def _gradients(with_silu: bool, grad_y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
    batch, channels, length = x.shape
    rows = _padded(weight, bias)
    grad_x = np.empty((batch, length, channels), np.float32)
    grad_rows = np.empty((batch, len(rows), channels), np.float32)
    share_out(
        numba_kernels.convolution_backward(), batch * rows.shape[1] // LANES,
        x.detach().numpy(), rows, with_silu, grad_y.detach().numpy(), grad_x, grad_rows,
    )  # fmt: skip
    grad_weight, grad_bias = torch.from_numpy(grad_rows.sum(0)).split([len(rows) - 1, 1])
    return torch.from_numpy(grad_x).transpose(1, 2), grad_weight.T, None if bias is None else grad_bias[0]
