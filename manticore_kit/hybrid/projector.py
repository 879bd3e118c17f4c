"""Projectors: linear maps between a component's width and the shared width, gated by the mixture weight.

The gate (PAPER: equations of the hybrid, section 3 of arXiv 2406.00894) uses the mixture weight itself,

    project(h) = (1 − α) · P(h) + α · fit(h),

where `fit` pads with zeros or cuts. At α = 1 nothing is left of P, so a one-hot row is its component alone.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Projector(nn.Linear):
    """A linear map (in_features → out_features) that starts as the identity or at random."""

    def __init__(self, in_features: int, out_features: int, init: str = "identity"):
        self.init = init
        super().__init__(in_features, out_features)

    def reset_parameters(self) -> None:
        """The start that `init` names: `random` is torch's own for linear layers, all else the identity."""
        if self.init == "random":
            super().reset_parameters()
            return
        with torch.no_grad():
            nn.init.eye_(self.weight)
            nn.init.zeros_(self.bias)

    def gated(self, gate: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias of the whole gated map; `gate` is a scalar."""
        weight = (1 - gate) * self.weight
        weight.diagonal().add_(gate)
        return weight, (1 - gate) * self.bias

    def set_map(self, matrix: Tensor, offset: Tensor, gate: float) -> None:
        """Sets weight and bias so that the *gated* projector computes h ↦ matrix · h + offset.

        `matrix` is (out_features, in_features), `gate` the mixture weight, below 1.
        """
        identity = torch.eye(*matrix.shape, dtype=matrix.dtype, device=matrix.device)
        with torch.no_grad():
            self.weight.copy_((matrix - gate * identity) / (1 - gate))
            self.bias.copy_(offset / (1 - gate))


def fit(hidden: Tensor, width: int) -> Tensor:
    """`hidden` padded with zeros or cut to `width` on its last axis."""
    own = hidden.shape[-1]
    if own == width:
        return hidden
    return hidden[..., :width] if own > width else F.pad(hidden, (0, width - own))


def project(projector: Projector, hidden: Tensor, gate: Tensor, gated: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """The gated projection of `hidden` (batch, length, features).

    `gate` is a scalar; `gated` is what `projector.gated` gave for it, where that was kept.
    """
    hidden, gate = hidden.to(projector.weight.dtype), gate.to(projector.weight.dtype)
    if torch.is_autocast_enabled(hidden.device.type):  # states that pass by the projector keep their precision
        return (1 - gate) * projector(hidden) + gate * fit(hidden, projector.out_features)
    # Gating the map costs no more than its size, gating what goes through it grows with the tokens.
    return F.linear(hidden, *(gated or projector.gated(gate)))
