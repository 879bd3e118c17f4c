"""The colour scale of losses: square-root, so that what happens near the lowest loss can be seen.

A frankenmerge's loss is often nats above everything else; on a linear scale the differences of a tenth of a nat around
the best mixture would share one colour. The colour therefore follows √(loss − lowest), and the bar is labelled with
losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manticore_kit.figures import palette

_TICKS = 6
# Rounding differences between equal mixtures would otherwise be stretched over all colours.
_SMALLEST_SPAN = 1e-3


@dataclass(frozen=True)
class LossScale:
    """Colours for losses from `lowest` to `highest`, nats per token."""

    lowest: float
    highest: float

    @classmethod
    def over(cls, losses: Sequence[NDArray]) -> "LossScale":
        """The scale that holds all of `losses`, any number of arrays."""
        lowest = min(float(np.nanmin(part)) for part in losses)
        return cls(lowest, max(lowest + _SMALLEST_SPAN, *(float(np.nanmax(part)) for part in losses)))

    def height(self, losses: ArrayLike) -> NDArray:
        """Where `losses` lie on the scale, 0 (lowest) to 1."""
        share = (np.asarray(losses) - self.lowest) / (self.highest - self.lowest)
        return np.sqrt(np.clip(share, 0, 1))

    def coloraxis(self) -> dict:
        """The layout entry of a plotly colour axis, with its bar; traces on it are coloured by `height`."""
        positions = np.linspace(0, 1, _TICKS)
        losses = self.lowest + positions**2 * (self.highest - self.lowest)
        decimals = 2 if self.highest - self.lowest > 0.25 else 3 if self.highest - self.lowest > 0.025 else 4
        return {
            "cmin": 0,
            "cmax": 1,
            "colorscale": palette.LOSS_SCALE,
            "colorbar": {
                "title": {"text": "nats per token", "side": "right"},
                "thickness": 14,
                "outlinewidth": 0,
                "tickvals": positions.tolist(),
                "ticktext": [f"{loss:.{decimals}f}" for loss in losses],
            },
        }
