"""The causal convolution of sequences with filters as long as they are, by way of the Fourier transform.

    y[t] = Σ_{s ≤ t} filters[t − s] states[s]

Both are padded to twice their length, so that the end of a product does not come round to its start. In float32 the
transform spreads rounding errors over the whole sequence: a token changes earlier results too, by some 1e-7 of the
largest.
"""

from typing import Any

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.autograd.function import once_differentiable


def long_convolution(states: Tensor, filters: Tensor) -> Tensor:
    """y (B, …, L) of `states` (B, …, L) and `filters` (…, L), in float32 or, where `states` have it, float64.

    The dimensions between first and last are the same for both, or 1 for `filters`. Gradients are of first order.
    """
    dtype = torch.promote_types(states.dtype, torch.float32)
    return _LongConvolution.apply(states.to(dtype), filters.to(dtype)).to(states.dtype)


class _LongConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states: Tensor, filters: Tensor) -> Tensor:
        length = states.shape[-1]
        size = next_fast_len(2 * length - 1, real=True)
        spectrum, transfer = torch.fft.rfft(states, n=size), torch.fft.rfft(filters, n=size)
        ctx.size, ctx.length = size, length
        ctx.save_for_backward(spectrum, transfer)
        return torch.fft.irfft(spectrum * transfer, n=size)[..., :length]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Any:
        spectrum, transfer = ctx.saved_tensors
        grad = torch.fft.rfft(grad, n=ctx.size)
        # A product with the conjugate correlates; the batch and shared filters are summed before they are transformed.
        grad_states = torch.fft.irfft(grad * transfer.conj(), n=ctx.size)[..., : ctx.length]
        correlation = (spectrum.conj() * grad).sum_to_size(transfer.shape)
        return grad_states, torch.fft.irfft(correlation, n=ctx.size)[..., : ctx.length]
