"""The inner part of each mixer, and SwiGLU's, as one node of autograd that compiled kernels compute on the CPU.

What each function returns is what the module that calls it writes out in PyTorch's operators, to rounding; `fits` says
where it may be called. Gradients are of first order.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from manticore_kit.kernels import compiled
from manticore_kit.kernels.use import is_the_librarys

Result = tuple[Tensor, ...]


def fits(states: Tensor, *lanes: int) -> bool:
    """Whether the kernels take float32 `states` that have `lanes` heads or channels side by side."""
    if is_the_librarys(states) or states.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    if compiled.obstacle() is not None:
        return False
    return all(count % _kernels().LANES == 0 for count in lanes)


def attention(qkv: Tensor, turns: Tensor) -> Tensor:
    """Causal attention (B, L, size, heads) of queries, keys and values (B, L, 3, size, heads).

    `turns` (2, L, size / 2) are the cosines and sines of the rotations; they have no gradient.
    """
    return _node(_attention, _attention_gradients, qkv, turns)


def multihead_hyena(projected: Tensor, short: Tensor, filters: Tensor) -> Tensor:
    """Multi-head Hyena (B, L, size, heads) of projections (B, L, 3, size, heads).

    `short` (width, 3, size, heads) are the short filters and `filters` (L, heads) the long ones.
    """
    return _node(_multihead, _multihead_gradients, projected, short, filters)


def hyena(projected: Tensor, short: Tensor, filters: Tensor) -> Tensor:
    """Hyena (B, L, groups, channels) of projections (B, L, 3, channels) that the groups share.

    `short` (width, 3, groups, channels) are the short filters and `filters` (L, groups, channels) the long ones.
    """
    return _node(_hyena, _hyena_gradients, projected, short, filters)


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) · up, (tokens, channels) of `gate_up` (tokens, 2, channels)."""
    return _node(_swiglu, _swiglu_gradients, gate_up)


# -------------------------------------------------------------------------------------------------- nodes of autograd


def _node(compute: Callable[..., Result], gradients: Callable[..., Result], *inputs: Tensor) -> Tensor:
    inputs = tuple(tensor.contiguous() for tensor in inputs)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        return _Node.apply(compute, gradients, *inputs)
    return compute(*inputs)[0]


class _Node(torch.autograd.Function):
    """`compute` gives the result and what else `gradients` wants, which takes these, the inputs and the gradient."""

    @staticmethod
    def forward(ctx, compute: Callable[..., Result], gradients: Callable[..., Result], *inputs: Any) -> Tensor:
        ctx.gradients = gradients
        result, *others = compute(*inputs)
        ctx.save_for_backward(*inputs, *others)
        return result

    @staticmethod
    def backward(ctx, grad: Tensor) -> Any:
        arguments = (*ctx.saved_tensors, grad.contiguous())
        return None, None, *compiled.FirstOrderGradients.apply(ctx.gradients, *arguments)


def _kernels() -> Any:
    from manticore_kit.models import vector_kernels  # numba takes a second to import

    return vector_kernels


def _run(kernel: Callable[..., None], tasks: int, tensors: Sequence[Tensor]) -> None:
    compiled.share_out(kernel, tasks, *(tensor.detach().numpy() for tensor in tensors))


def _tiles(lanes: int) -> int:
    return lanes // _kernels().LANES


def _attention(qkv: Tensor, turns: Tensor) -> Result:
    batch, length, _, size, heads = qkv.shape
    out, stats = qkv.new_empty(batch, length, size, heads), qkv.new_empty(batch, length, 2, heads)
    _run(_kernels().attention_forward(), batch * _tiles(heads), (qkv, turns, out, stats))
    return out, out, stats


def _attention_gradients(qkv: Tensor, turns: Tensor, out: Tensor, stats: Tensor, grad: Tensor) -> Any:
    grad_qkv = torch.empty_like(qkv)
    tasks = len(qkv) * _tiles(qkv.shape[-1])
    _run(_kernels().attention_backward(), tasks, (qkv, turns, out, stats, grad, grad_qkv))
    return grad_qkv, None


def _multihead(projected: Tensor, short: Tensor, filters: Tensor) -> Result:
    batch, length, _, size, heads = projected.shape
    out = projected.new_empty(batch, length, size, heads)
    _run(_kernels().multihead_forward(), batch * _tiles(heads), (projected, short, filters, out))
    return (out,)


def _multihead_gradients(projected: Tensor, short: Tensor, filters: Tensor, grad: Tensor) -> Any:
    batch = len(projected)
    gradients = (
        torch.empty_like(projected),
        short.new_empty(batch, *short.shape),
        filters.new_empty(batch, *filters.shape),
    )
    tasks = batch * _tiles(projected.shape[-1])
    _run(_kernels().multihead_backward(), tasks, (projected, short, filters, grad, *gradients))
    return gradients[0], gradients[1].sum(0), gradients[2].sum(0)


def _hyena(projected: Tensor, short: Tensor, filters: Tensor) -> Result:
    out = projected.new_empty(len(projected), *filters.shape)
    _run(_kernels().hyena_forward(), len(projected) * _tiles(filters.shape[-1]), (projected, short, filters, out))
    return (out,)


def _hyena_gradients(projected: Tensor, short: Tensor, filters: Tensor, grad: Tensor) -> Any:
    shares = -(-len(projected) // _kernels().BATCH_SHARE)
    gradients = (
        torch.zeros_like(projected),
        short.new_zeros(shares, *short.shape),
        filters.new_zeros(shares, *filters.shape),
    )
    tasks = shares * _tiles(filters.shape[-1])
    _run(_kernels().hyena_backward(), tasks, (projected, short, filters, grad, *gradients))
    return gradients[0], gradients[1].sum(0), gradients[2].sum(0)


def _swiglu(gate_up: Tensor) -> Result:
    out = gate_up.new_empty(len(gate_up), gate_up.shape[-1])
    _run(_kernels().swiglu_forward(), len(gate_up), (gate_up, out))
    return (out,)


def _swiglu_gradients(gate_up: Tensor, grad: Tensor) -> Any:
    grad_gate_up = torch.empty_like(gate_up)
    _run(_kernels().swiglu_backward(), len(gate_up), (gate_up, grad, grad_gate_up))
    return (grad_gate_up,)
