"""Causal multi-head attention with rotary positions or with none.

Positions: Su et al. 2021, arXiv 2104.09864. Channels i and i + size / 2 of a head are turned in their plane by the
angle position · theta^(−2i/size). Only the difference of two positions matters, so padding on the left shifts nothing,
and positions count from the first column. Among the channels of a projection, the heads are the last axis.

On the CPU one compiled kernel does the whole of it where nothing is padded; otherwise it is PyTorch's
`scaled_dot_product_attention`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manticore_kit.models import fused


class CausalAttention(nn.Module):
    """Softmax attention over a token's past and itself, without biases."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, hidden_states: Tensor, turns: Tensor | None = None, visible: Tensor | None = None) -> Tensor:
        """(B, L, width) to the same shape.

        `turns` (2, L, head size / 2) are cosines and sines of the positions' angles, None for attention without
        positions. `visible` (B, 1, L, L) says which key each query may see, None where that is its past and itself.
        """
        qkv = self.qkv(hidden_states).unflatten(-1, (3, -1, self.heads))
        length, _, size, _ = qkv.shape[1:]
        if visible is None and size % 4 == 0 and fused.fits(qkv, self.heads):
            mixed = fused.attention(qkv, turns_of(length, size, None, qkv) if turns is None else turns)
        else:
            mixed = _attention(qkv, turns, visible)
        return self.out(mixed.flatten(-2))


def _attention(qkv: Tensor, turns: Tensor | None, visible: Tensor | None) -> Tensor:
    """(B, L, size, heads) of `qkv` (B, L, 3, size, heads)."""
    q, k, v = qkv.permute(2, 0, 4, 1, 3).contiguous()  # each (B, heads, L, size)
    if turns is not None:
        q, k = _turn(q, turns), _turn(k, turns)
    states = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=visible is None)
    return states.permute(0, 2, 3, 1)


def _turn(states: Tensor, turns: Tensor) -> Tensor:
    """`states` (…, L, size), each channel and its partner half a head away turned by `turns` (2, L, size / 2)."""
    (x, y), (cos, sin) = states.chunk(2, dim=-1), turns.to(states.dtype)
    return torch.cat([x * cos - y * sin, x * sin + y * cos], dim=-1)


def turns_of(length: int, size: int, theta: float | None, like: Tensor) -> Tensor:
    """Cosines and sines (2, L, size / 2) of the positions' angles, which are 0 without `theta`; for states `like`."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    rates = torch.zeros(size // 2, device=like.device, dtype=dtype)
    if theta is not None:
        rates = theta ** (-torch.arange(0, size, 2, device=like.device, dtype=dtype) / size)
    angles = torch.outer(torch.arange(length, device=like.device, dtype=dtype), rates)
    return torch.stack([angles.cos(), angles.sin()])


def visible_keys(attention_mask: Tensor) -> Tensor:
    """Which key each query may see (B, 1, L, L), from a mask (B, L) that is 0 for padding.

    That is what is no padding in its past, and always itself, since a softmax over nothing is not a number.
    """
    length = attention_mask.shape[-1]
    past = torch.ones(length, length, dtype=torch.bool, device=attention_mask.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=attention_mask.device)
    return (past & attention_mask.bool()[:, None, None, :]) | itself
