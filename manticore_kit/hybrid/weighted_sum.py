"""Sums weighted by a row of the mixture, in as few passes over memory as they take."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F


def weighted_sum(terms: Sequence[Tensor], weights: Sequence[Tensor], missing: float = 0.0) -> Tensor:
    """Σ_k weights[k] · terms[k], of terms (…, width_k) that may differ in width and scalar weights.

    The sum is as wide as the widest term, and `missing` stands for what narrower terms lack. It has the precision to
    which PyTorch promotes the terms together. Gradients reach terms and weights.
    """
    if len({term.dtype for term in terms}) > 1:
        dtype = reduce(torch.promote_types, (term.dtype for term in terms))
        terms = [term.to(dtype) for term in terms]
    if torch.compiler.is_compiling():  # a compiler fuses the plain sum by itself
        width = max(term.shape[-1] for term in terms)
        padded = [F.pad(term, (0, width - term.shape[-1]), value=missing) for term in terms]
        return torch.stack([term * weight for term, weight in zip(padded, weights, strict=True)]).sum(0)
    if not torch.is_grad_enabled():
        return _sum(terms, weights, missing)
    return _WeightedSum.apply(missing, len(terms), *terms, *weights)  # pyright: ignore[reportReturnType]


def _sum(terms: Sequence[Tensor], weights: Sequence[Tensor], missing: float) -> Tensor:
    widest = max(range(len(terms)), key=lambda k: terms[k].shape[-1])
    total = terms[widest] * weights[widest]
    for k, (term, weight) in enumerate(zip(terms, weights, strict=True)):
        if k == widest:
            continue
        width = term.shape[-1]
        part = total if width == total.shape[-1] else total[..., :width]
        if total.is_cpu:
            part.add_(term, alpha=weight.item())  # one vectorised pass, which `addcmul_` with a scalar is not
        else:
            part.addcmul_(term, weight)  # reading the weight would wait for the device
        if missing and part is not total:
            total[..., width:] += missing * weight
    return total


class _WeightedSum(torch.autograd.Function):
    """Autograd's own way would write every weighted term out, and once more every product with the gradient."""

    @staticmethod
    def forward(ctx, missing: float, count: int, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        ctx.missing, ctx.count = missing, count
        return _sum(inputs[:count], inputs[count:], missing)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        terms, weights = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        needs_terms, needs_weights = ctx.needs_input_grad[2 : 2 + ctx.count], ctx.needs_input_grad[2 + ctx.count :]
        of_terms = [
            grad[..., : t.shape[-1]] * w if needed else None
            for t, w, needed in zip(terms, weights, needs_terms, strict=True)
        ]
        of_weights = [
            _of_weight(grad, t, ctx.missing).to(w.dtype) if needed else None
            for t, w, needed in zip(terms, weights, needs_weights, strict=True)
        ]
        return None, None, *of_terms, *of_weights


def _of_weight(grad: Tensor, term: Tensor, missing: float) -> Tensor:
    width = term.shape[-1]
    if width == grad.shape[-1] and grad.is_contiguous() and term.is_contiguous():
        return torch.dot(grad.view(-1), term.view(-1))
    total = (grad[..., :width] * term).sum()
    return total + missing * grad[..., width:].sum() if missing else total
