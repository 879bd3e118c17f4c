"""Mixture weights: a point on the simplex for each block.

Rows are stored as softmax logits, in float32 whatever the rest of the hybrid is cast to, so no optimiser step can
take them off the simplex. A weight of 0 is a logit of −∞: it is exactly 0, and stays 0 until it is set anew.

A search may ask for Gumbel noise (DASH). It is drawn once for each forward in training, and never in evaluation.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manticore_kit.errors import ManticoreError
from manticore_kit.recipe import check_rows


class Mixture(nn.Module):
    """Mixture weights of `blocks` × `components`, uniform at first.

    `temperature` is that of the Gumbel noise in training, None for no noise; it belongs to a search and is not saved.
    """

    def __init__(self, blocks: int, components: int):
        super().__init__()
        self.temperature: float | None = None
        self.logits = nn.Parameter(torch.zeros(blocks, components, dtype=torch.float32))

    def reset_parameters(self) -> None:
        """Back to uniform rows."""
        with torch.no_grad():
            self.logits.zero_()

    @property
    def weights(self) -> Tensor:
        """(blocks, components), rows on the simplex, float32, without noise."""
        return self.logits.softmax(dim=-1)

    @property
    def is_noisy(self) -> bool:
        """Whether `draw` gives other weights each time."""
        return self.training and self.temperature is not None

    def draw(self) -> Tensor:
        """The weights for one forward, (blocks, components), with fresh noise in the training of a noisy search."""
        if not self.is_noisy:
            return self.weights
        # softmax(logits + noise / τ), so that without noise these are the weights at every temperature.
        tau: Any = self.temperature
        return F.gumbel_softmax(tau * self.logits, tau=tau, dim=-1)

    def set(self, rows: Sequence[Sequence[float]] | Tensor) -> None:
        """Moves the weights to `rows`; raises `ManticoreError` where they are not on the simplex."""
        blocks, components = self.logits.shape
        try:
            checked = check_rows(rows, blocks=blocks, components=components)
        except (ValueError, TypeError) as error:
            raise ManticoreError(
                f"{error}. Rows are blocks, columns are components, as in [[0.5, 0.5], [1, 0]]."
            ) from error
        points = torch.tensor(checked, dtype=torch.float64)
        with torch.no_grad():
            self.logits.copy_((points / points.sum(dim=-1, keepdim=True)).log())

    def _apply(self, fn, recurse: bool = True):
        # Moves between devices, but never to another precision: half-precision logits would move every row.
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)
