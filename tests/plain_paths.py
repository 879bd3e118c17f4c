"""What a hybrid's forward computes, written down plainly.

In a module of its own, which torch's compiler can find by its name.
"""

import torch

from manticore_kit.hybrid.projector import fit


def plain_projection(projector, hidden, gate, gated=None):
    """A gated projection, in the words of `manticore_kit.hybrid.projector`."""
    hidden, gate = hidden.to(projector.dtype), gate.to(projector.dtype)
    return (1 - gate) * projector(hidden) + gate * fit(hidden, projector.out_features)


def plain_sum(terms, weights, missing=0.0):
    """A weighted sum of terms that may differ in width."""
    width = max(term.shape[-1] for term in terms)
    padded = [torch.nn.functional.pad(term, (0, width - term.shape[-1]), value=missing) for term in terms]
    return sum(weight.to(term.dtype) * term for weight, term in zip(weights, padded, strict=True))
