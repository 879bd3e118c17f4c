"""The compiled selective scan as one node of the autograd graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from manticore_kit.kernels import numba_kernels
from manticore_kit.kernels.compiled import FirstOrderGradients, share_out
from manticore_kit.kernels.numba_kernels import CHUNK, LANES, LOG2_E


def scan(
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> tuple[Tensor, Tensor]:
    """What `selective_scan` computes, in float32."""
    if dt.dtype != torch.float32:  # the library rounds the time step to low precision, and so must who replaces it
        dt = dt if delta_bias is None else dt + delta_bias.to(dt.dtype)[..., None]
        dt = F.softplus(dt) if delta_softplus else dt
        delta_bias, delta_softplus = None, False
    result_dtype = hidden_states.dtype
    for tensor in (D, z):
        if tensor is not None:
            result_dtype = torch.promote_types(result_dtype, tensor.dtype)
    inputs = [None if tensor is None else tensor.float() for tensor in (hidden_states, dt, A, B, C, D, z, delta_bias)]
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in inputs):
        y, last_state = _Scan.apply(delta_softplus, *inputs)
    else:
        y, last_state, _ = _forward(delta_softplus, inputs, training=False)
    return y.to(result_dtype), last_state


def _arrays(
    softplus: bool, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
    bias: Tensor | None,
) -> list[Any]:  # fmt: skip
    """What both kernels take: the inputs without copies, and what belongs to a channel padded to whole tiles."""
    channels, states = A.shape
    width = -(-channels // LANES) * LANES
    per_channel = np.zeros((states + 2, width), np.float32)
    np.multiply(A.detach().numpy().T, LOG2_E, out=per_channel[:states, :channels])
    for row, tensor in ((states, D), (states + 1, bias)):
        if tensor is not None:
            per_channel[row, :channels] = tensor.detach().numpy()
    u_, dt_, B_, C_, z_ = (tensor.detach().numpy() for tensor in (u, dt, B, C, u if z is None else z))
    return [u_, dt_, per_channel[:states], B_, C_, per_channel[-2], z_, per_channel[-1], softplus, z is not None]


def _forward(softplus: bool, inputs: Sequence[Any], *, training: bool) -> tuple[Tensor, Tensor, Tensor]:
    arrays = _arrays(softplus, *inputs)
    batch, channels, length = arrays[0].shape
    states, width = arrays[2].shape
    tasks, chunks = batch * width // LANES, -(-length // CHUNK)
    y, last_state = torch.empty(batch, length, channels), torch.empty(batch, channels, states)
    checkpoints = torch.empty((tasks, chunks, states, LANES) if training else (0, 0, 0, 0))
    share_out(numba_kernels.scan_forward(), tasks, *arrays, y.numpy(), last_state.numpy(), checkpoints.numpy())
    return y.transpose(1, 2), last_state, checkpoints


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, softplus: bool, *inputs: Any) -> tuple[Tensor, Tensor]:
        y, last_state, checkpoints = _forward(softplus, inputs, training=True)
        ctx.softplus = softplus
        ctx.save_for_backward(checkpoints, *inputs)
        return y, last_state

    @staticmethod
    def backward(ctx, grad_y: Tensor, grad_last: Tensor) -> Any:
        return None, *FirstOrderGradients.apply(_gradients, ctx.softplus, grad_y, grad_last, *ctx.saved_tensors)


def _gradients(softplus: bool, grad_y: Tensor, grad_last: Tensor, checkpoints: Tensor, *inputs: Any) -> Any:
    arrays = _arrays(softplus, *inputs)
    batch, channels, length = arrays[0].shape
    states, width = arrays[2].shape
    tiles = width // LANES
    grad_u, grad_dt, grad_z = (np.empty((batch, length, channels), np.float32) for _ in range(3))
    grad_A = np.empty((batch, states, channels), np.float32)
    grad_B, grad_C = (np.empty((tiles, batch, length, states), np.float32) for _ in range(2))
    grad_D, grad_bias = (np.empty((batch, channels), np.float32) for _ in range(2))
    share_out(
        numba_kernels.scan_backward(), batch * tiles, *arrays,
        grad_y.detach().numpy(), grad_last.detach().numpy(), checkpoints.numpy(),
        grad_u, grad_dt, grad_z, grad_A, grad_B, grad_C, grad_D, grad_bias,
    )  # fmt: skip
    gradients = (
        grad_u.transpose(0, 2, 1), grad_dt.transpose(0, 2, 1), grad_A.sum(0).T, grad_B.sum(0).transpose(0, 2, 1),
        grad_C.sum(0).transpose(0, 2, 1), grad_D.sum(0), grad_z.transpose(0, 2, 1), grad_bias.sum(0),
    )  # fmt: skip
    return tuple(
        None if tensor is None else torch.from_numpy(gradient)
        for tensor, gradient in zip(inputs, gradients, strict=True)
    )
