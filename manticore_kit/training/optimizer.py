"""One optimiser for all parts: AdamW, with the mixture's own rule where GAEA searches.

DARTS and DASH move the softmax logits by AdamW, as any parameter. GAEA (Li et al. 2021, geometry-aware exponentiated
gradient) moves the weights themselves by w ← w · exp(−η ∂L/∂w) / Z. In logits, which are log-weights up to a constant
a row, that is a plain step against ∂L/∂w, so rows are on the simplex by construction. Autograd gives the gradient of
the logits, ∂L/∂logit_k = w_k (∂L/∂w_k − c) with one c for a row; the step is the same for every c.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import AdamW

# A weight that the exponentiated gradient drives towards 0 stops here, from where it can come back.
SMALLEST_WEIGHT = 1e-6

# Beyond this a gradient is cut, since AdamW squares it in float32.
LARGEST_GRADIENT = 1e15


class PartsOptimizer(AdamW):
    """AdamW over the groups of `parameter_groups`; `exponentiated` moves the mixture's group by GAEA's rule instead.

    `apart` are parts that `step` leaves alone and only `step_part` moves, for alternating updates.
    """

    def __init__(self, groups: list[dict], *, exponentiated: bool = False, apart: Iterable[str] = (), **arguments):
        self.exponentiated, self.apart = exponentiated, frozenset(apart)
        super().__init__(groups, **arguments)

    def step(self, closure=None):
        """Moves every part that is not `apart`."""
        return self._move([g for g in self.param_groups if g["part"] not in self.apart], closure)

    def step_part(self, part: str) -> None:
        """Moves one part, by the gradients that it has now."""
        self._move([group for group in self.param_groups if group["part"] == part])

    def _move(self, chosen: list[dict], closure=None):
        everything = self.param_groups
        try:
            for group in chosen:
                if group["part"] == "mixture":
                    self._mixture(group)
            self.param_groups = [g for g in chosen if not (g["part"] == "mixture" and self.exponentiated)]
            return super().step(closure)
        finally:
            self.param_groups = everything

    def _mixture(self, group: dict) -> None:
        for logits in group["params"]:
            if logits.grad is None:
                continue
            # A gradient that is no number moves nothing; the trainer stops at a loss that is none.
            logits.grad.nan_to_num_(0.0, LARGEST_GRADIENT, -LARGEST_GRADIENT)
            logits.grad.clamp_(-LARGEST_GRADIENT, LARGEST_GRADIENT)
            if self.exponentiated:
                exponentiated_step(logits, logits.grad, group["lr"])


@torch.no_grad()
def exponentiated_step(logits: Tensor, gradient: Tensor, rate: float) -> None:
    """One step of the exponentiated gradient, in place, on `logits` (blocks, components) by their own `gradient`.

    Rows of zero gradient stay as they are, to the last bit, and weights of exactly 0 stay 0.
    """
    before = logits.double().log_softmax(dim=-1)
    weights = before.exp()
    of_weights = torch.where(weights > 0, gradient.double() / weights, 0.0)
    floor = torch.full_like(before, SMALLEST_WEIGHT).log().minimum(before)  # never above where a weight is
    after = (before - rate * of_weights).log_softmax(dim=-1).maximum(floor).log_softmax(dim=-1)
    moved = (gradient != 0).any(dim=-1, keepdim=True)
    logits.copy_(torch.where(moved, after.to(logits.dtype), logits))
