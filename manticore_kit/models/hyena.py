"""Hyena: a long convolution between two gates, in its own form and in the multi-head form.

Poli et al. 2023, arXiv 2302.10866 (order 2), and Massaroli et al. 2023, arXiv 2310.18780, section 4 (heads). Three
projections of the state pass a short depthwise convolution. With h the long filter and ⊛ the causal convolution,

    y = q · (h ⊛ (k · v))                           for every channel
    y_i = Σ_j q_j (h ⊛ (k_j v_i))                   for all channels i of a head, which have one filter in common

The filter is implicit: a small network of sines gives its value at any lag, times a window that decays exponentially.
Nothing here has a bias but that network, so that states which are zero (padding) stay zero.

Up to `DIRECT_LENGTH` tokens, compiled kernels on the CPU convolve directly, where the second form is attention with the
filter in place of the softmax, y(t) = Σ_s h(t − s) (q(t) · k(s)) v(s); no token can then reach an earlier one, not even
by rounding. Longer sequences, other precisions and devices go by way of the Fourier transform.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manticore_kit.models import fused
from manticore_kit.models.long_convolution import long_convolution

DIRECT_LENGTH = 2048
SINE_FREQUENCY = 10.0


class ImplicitFilter(nn.Module):
    """Long filters as a function of the lag, for any length.

    The features of lag τ are t = τ / `time_scale`, sin 2πt and cos 2πt. The scale is fixed, so a filter's value at a
    lag does not depend on the length of the sequence, and there is no lag at which the filters end.
    """

    def __init__(self, filters: int, width: int, time_scale: int):
        super().__init__()
        self.time_scale = time_scale
        self.first, self.second = nn.Linear(3, width), nn.Linear(width, width)
        self.out = nn.Linear(width, filters, bias=False)
        self.log_decay = nn.Parameter(torch.empty(filters))
        self.skip = nn.Parameter(torch.empty(filters))

    def forward(self, length: int) -> Tensor:
        """The filters at lags 0 … L − 1, (L, filters), in float32 or float64; each one's skip is part of lag 0."""
        # Half precision can count no further than 256, and sines magnify its rounding.
        dtype, device = torch.promote_types(self.skip.dtype, torch.float32), self.skip.device
        with torch.autocast(device.type, enabled=False):
            t = torch.arange(length, device=device, dtype=dtype) / self.time_scale
            features = torch.stack([t, torch.sin(2 * math.pi * t), torch.cos(2 * math.pi * t)], dim=-1)
            for layer in (self.first, self.second):
                angles = F.linear(features, layer.weight.to(dtype), layer.bias.to(dtype))
                features = torch.sin(SINE_FREQUENCY * angles)
            windows = torch.exp(-torch.outer(t, self.log_decay.to(dtype).exp()))
            filters = F.linear(features, self.out.weight.to(dtype)) * windows
            return filters + F.pad(self.skip.to(dtype)[None], (0, 0, 0, length - 1))


class Hyena(nn.Module):
    """Hyena of order 2 with its projections shared in groups.

    Each projection has channels / groups channels and serves every group; what tells the groups apart are their own
    short and long filters.
    """

    def __init__(self, width: int, channels: int, groups: int, short_kernel: int, filter_width: int, time_scale: int):
        super().__init__()
        self.channels, self.groups = channels, groups
        self.in_proj = nn.Linear(width, 3 * channels // groups, bias=False)
        self.short = nn.Parameter(torch.empty(short_kernel, 3, groups, channels // groups))
        self.filter = ImplicitFilter(self.filters, filter_width, time_scale)
        self.out_proj = nn.Linear(channels, width, bias=False)

    @property
    def filters(self) -> int:
        """Number of long filters."""
        return self.channels

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(B, L, width) to the same shape."""
        projected = self.in_proj(hidden_states).unflatten(-1, (3, -1))
        filters = self.filter(projected.shape[1])
        return self.out_proj(self.mix(projected, filters))

    def mix(self, projected: Tensor, filters: Tensor) -> Tensor:
        """What is mixed (B, L, channels) of `projected` (B, L, 3, channels / groups) and `filters` (L, filters)."""
        if projected.shape[1] <= DIRECT_LENGTH and fused.fits(projected, projected.shape[-1]):
            return fused.hyena(projected, self.short, filters.unflatten(-1, (self.groups, -1))).flatten(-2)
        q, k, v = _short_convolution(projected.unsqueeze(-2), self.short).flatten(-2).transpose(1, -1).unbind(2)
        return (q * long_convolution(k * v, filters.T)).transpose(1, 2)


class MultiHeadHyena(Hyena):
    """Hyena whose gates are outer products within heads, with one long filter a head.

    Among the channels of a projection, the heads are the last axis.
    """

    def __init__(self, *sizes: int, heads: int):
        self.heads = heads
        super().__init__(*sizes)

    @property
    def filters(self) -> int:
        """Number of long filters."""
        return self.heads

    def mix(self, projected: Tensor, filters: Tensor) -> Tensor:
        """What is mixed (B, L, channels) of `projected` (B, L, 3, channels / groups) and `filters` (L, filters)."""
        size = self.channels // self.heads
        direct = self.groups == 1 and size % 4 == 0 and projected.shape[1] <= DIRECT_LENGTH
        if direct and fused.fits(projected, self.heads):
            short = self.short.view(-1, 3, size, self.heads)
            return fused.multihead_hyena(projected.unflatten(-1, (size, self.heads)), short, filters).flatten(-2)
        q, k, v = _short_convolution(projected.unsqueeze(-2), self.short).flatten(-2).transpose(1, -1).unbind(2)
        q, k, v = (x.unflatten(1, (size, self.heads)) for x in (q, k, v))  # each (B, size, heads, L)
        products = k.unsqueeze(1) * v.unsqueeze(2)  # (B, i, j, heads, L)
        mixed = (q.unsqueeze(1) * long_convolution(products, filters.T)).sum(2)
        return mixed.flatten(1, 2).transpose(1, 2)


def _short_convolution(projected: Tensor, short: Tensor) -> Tensor:
    """(B, L, 3, groups, channels) of `projected` (B, L, 3, 1, channels), causal, one filter a channel of each group."""
    width, length = len(short), projected.shape[1]
    padded = F.pad(projected, (0, 0) * 3 + (width - 1, 0))
    return torch.stack([short[j] * padded[:, j : j + length] for j in range(width)]).sum(0)
