"""The selective scan as a time loop in PyTorch with its backward pass written by hand.

It runs where the compiled kernels do not: for float64, and where numba cannot be used. Notable here:
- the loop is time-major and writes into buffers that it reuses, so a step touches memory that is already in the cache;
- autograd sees one node for the whole scan instead of several per step; it keeps the states and recomputes the decays;
- without gradients one state is kept, whatever the length;
- products are written with `out=`, which autocast leaves alone: the recurrence keeps its precision inside it.

Shape suffixes: `L` time steps, `T` states along time (L + 1 of them with the first, or the last alone), `B` sequences
in the batch, `D` channels, `N` states of a channel. Channels come last because they are many and N is small: every
elementwise operation then has a long contiguous inner axis.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


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
    """What `selective_scan` computes, in float64 where an input is float64 and otherwise in float32."""
    if delta_bias is not None:
        dt = dt + delta_bias.to(dt.dtype)[..., None]
    if delta_softplus:
        dt = F.softplus(dt)

    compute_dtype = torch.float32
    for tensor in (hidden_states, dt, A, B, C):
        compute_dtype = torch.promote_types(compute_dtype, tensor.dtype)
    inputs = [tensor.to(compute_dtype) for tensor in (hidden_states, dt, A, B, C)]

    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        y_BDL, last_BDN = _Scan.apply(*inputs)
    else:
        y_LBD, states = _forward(*_time_major(*inputs), keep_states=False)
        y_BDL, last_BDN = y_LBD.permute(1, 2, 0), _last_state(states)

    y_BDL = y_BDL.to(hidden_states.dtype)
    if D is not None:
        y_BDL = y_BDL + hidden_states * D[None, :, None]
    if z is not None:
        y_BDL = y_BDL * F.silu(z)
    return y_BDL, last_BDN


def _time_major(u_BDL: Tensor, dt_BDL: Tensor, A_DN: Tensor, B_BNL: Tensor, C_BNL: Tensor) -> tuple[Tensor, ...]:
    u_LBD, dt_LBD, B_LBN, C_LBN = (tensor.permute(2, 0, 1).contiguous() for tensor in (u_BDL, dt_BDL, B_BNL, C_BNL))
    return u_LBD, dt_LBD, A_DN.T.contiguous(), B_LBN, C_LBN


def _last_state(states_TBND: Tensor) -> Tensor:
    """The last state as (batch, channels, state), in memory of its own so that it does not hold the others."""
    return states_TBND[-1].transpose(1, 2).clone(memory_format=torch.contiguous_format)


def _forward(
    u_LBD: Tensor, dt_LBD: Tensor, A_ND: Tensor, B_LBN: Tensor, C_LBN: Tensor, *, keep_states: bool
) -> tuple[Tensor, Tensor]:
    """The outputs `y_LBD`, and the states: before the first step and after each, or only the last in one row."""
    length, batch, channels = u_LBD.shape
    state_size = A_ND.shape[0]
    y_LBD = torch.empty_like(u_LBD)
    states_TBND = u_LBD.new_empty(length + 1 if keep_states else 1, batch, state_size, channels)
    states_TBND[0] = 0
    x_LBD = dt_LBD * u_LBD
    decay_BND = torch.empty_like(states_TBND[0])
    for t in range(length):
        before_BND, after_BND = (states_TBND[t], states_TBND[t + 1]) if keep_states else (states_TBND[0],) * 2
        torch.mul(dt_LBD[t][:, None], A_ND, out=decay_BND).exp_()
        torch.mul(decay_BND, before_BND, out=after_BND).addcmul_(B_LBN[t][..., None], x_LBD[t][:, None])
        torch.bmm(C_LBN[t][:, None], after_BND, out=y_LBD[t][:, None])
    return y_LBD, states_TBND


class _Scan(torch.autograd.Function):
    """The scan as one node of the autograd graph."""

    @staticmethod
    def forward(ctx, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        time_major = _time_major(*inputs)
        y_LBD, states_TBND = _forward(*time_major, keep_states=True)
        ctx.save_for_backward(*time_major, states_TBND)
        return y_LBD.permute(1, 2, 0), _last_state(states_TBND)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y_BDL: Tensor, grad_last_BDN: Tensor) -> tuple[Tensor, ...]:
        """Carry `grad_h`, the gradient of the state, from the last step to the first (Mamba's adjoint recurrence)."""
        u_LBD, dt_LBD, A_ND, B_LBN, C_LBN, states_TBND = ctx.saved_tensors
        grad_y_LBD = grad_y_BDL.permute(2, 0, 1).contiguous()
        grad_h_BND = grad_last_BDN.transpose(1, 2).clone(memory_format=torch.contiguous_format)
        grad_u_LBD, grad_dt_LBD, grad_B_LBN, grad_C_LBN = (
            torch.empty_like(tensor) for tensor in (u_LBD, dt_LBD, B_LBN, C_LBN)
        )
        grad_A_BND = torch.zeros_like(grad_h_BND)  # summed over the batch only once, after the loop
        grad_x_BD = torch.empty_like(u_LBD[0])
        x_LBD = dt_LBD * u_LBD
        decay_BND, through_decay_BND = torch.empty_like(grad_h_BND), torch.empty_like(grad_h_BND)

        for t in reversed(range(len(u_LBD))):
            torch.bmm(states_TBND[t + 1], grad_y_LBD[t][..., None], out=grad_C_LBN[t][..., None])
            grad_h_BND.addcmul_(C_LBN[t][..., None], grad_y_LBD[t][:, None])
            torch.bmm(B_LBN[t][:, None], grad_h_BND, out=grad_x_BD[:, None])
            torch.bmm(grad_h_BND, x_LBD[t][..., None], out=grad_B_LBN[t][..., None])

            torch.mul(dt_LBD[t][:, None], A_ND, out=decay_BND).exp_()
            grad_h_BND.mul_(decay_BND)  # from here on the gradient of the state before the step
            torch.mul(grad_h_BND, states_TBND[t], out=through_decay_BND)  # the gradient of dt A
            grad_A_BND.addcmul_(through_decay_BND, dt_LBD[t][:, None])
            torch.sum(through_decay_BND.mul_(A_ND), dim=1, out=grad_dt_LBD[t])
            grad_dt_LBD[t].addcmul_(grad_x_BD, u_LBD[t])
            torch.mul(grad_x_BD, dt_LBD[t], out=grad_u_LBD[t])

        grad_u_BDL, grad_dt_BDL, grad_B_BNL, grad_C_BNL = (
            tensor.permute(1, 2, 0) for tensor in (grad_u_LBD, grad_dt_LBD, grad_B_LBN, grad_C_LBN)
        )
        return grad_u_BDL, grad_dt_BDL, grad_A_BND.sum(0).T, grad_B_BNL, grad_C_BNL
