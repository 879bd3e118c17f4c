"""Projectors: maps between a component's width and the shared width, gated by the mixture weight.

The gate (PAPER: equations of the hybrid, section 3 of arXiv 2406.00894) uses the mixture weight itself,

    project(h) = (1 − α) · P(h) + α · fit(h),

where `fit` pads with zeros or cuts. At α = 1 nothing is left of P, so a one-hot row is its component alone. P is one of

    linear         W h + b
    linear_skip    fit(h) + W h + b
    low_rank       fit(h) + U V h + b                      U (d_out, r) and V (r, d_in) of a rank r below both
    two_layer      A h + b + W₂ GELU(W₁ h + b₁)            the inner layer as wide as the wider side

All can start as the identity, P = fit: W of linear_skip, U and W₂ are then zero. (The gradient of V, W₁ and b₁ is so
too, until the first step.) The published code has linear maps with and without a skip, and a two-layer GELU with and
without. Of the latter two only the one with a skip has an identity start, and only that is here, with the skip made a
trained linear map A that starts as `fit`: so it can also start aligned, exactly.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manticore_kit.errors import ManticoreError

# A low-rank projector's rank where none is given: this share of its wider side. A quarter of the linear one's weights.
RANK_SHARE = 1 / 8


class Projector(nn.Module):
    """What the kinds have in common: a map in_features → out_features on the last axis.

    `init` names the start: `random` is torch's own for linear layers, all else the identity.
    """

    in_features: int
    out_features: int
    init: str

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Starts anew, as `init` says."""
        raise NotImplementedError

    def gated(self, gate: Tensor) -> tuple[Tensor, Tensor] | None:
        """Weight and bias of the whole gated map, None for kinds in which that is no gain; `gate` is a scalar."""
        return None

    def set_map(self, matrix: Tensor, offset: Tensor, gate: float) -> None:
        """Sets the weights so that the *gated* projector computes h ↦ matrix · h + offset.

        `matrix` is (out_features, in_features), `gate` the mixture weight, below 1. A low-rank projector takes the
        nearest map that it has.
        """
        with torch.no_grad():
            self._set((matrix - gate * _identity_like(matrix)) / (1 - gate), offset / (1 - gate))

    def _set(self, matrix: Tensor, offset: Tensor) -> None:
        """Makes the projector without its gate compute h ↦ matrix · h + offset."""
        raise NotImplementedError


class LinearProjector(Projector, nn.Linear):
    """W h + b."""

    def __init__(self, in_features: int, out_features: int, init: str = "identity"):
        self.init = init
        super().__init__(in_features, out_features)

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype

    def reset_parameters(self) -> None:
        if self.init == "random":
            nn.Linear.reset_parameters(self)
            return
        with torch.no_grad():
            nn.init.eye_(self.weight)
            nn.init.zeros_(self.bias)

    def gated(self, gate: Tensor) -> tuple[Tensor, Tensor]:
        weight = (1 - gate) * self.weight
        weight.diagonal().add_(gate)
        return weight, (1 - gate) * self.bias

    def _set(self, matrix: Tensor, offset: Tensor) -> None:
        self.weight.copy_(matrix)
        self.bias.copy_(offset)


class LinearSkipProjector(LinearProjector):
    """fit(h) + W h + b."""

    def reset_parameters(self) -> None:
        if self.init == "random":
            super().reset_parameters()
            return
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return fit(hidden, self.out_features) + super().forward(hidden)

    def gated(self, gate: Tensor) -> tuple[Tensor, Tensor]:
        weight = (1 - gate) * self.weight
        weight.diagonal().add_(1)
        return weight, (1 - gate) * self.bias

    def _set(self, matrix: Tensor, offset: Tensor) -> None:
        super()._set(matrix - _identity_like(matrix), offset)


class LowRankProjector(Projector):
    """fit(h) + U V h + b, with U in `up` and V in `down`; `rank` left out: an eighth of the wider side."""

    def __init__(self, in_features: int, out_features: int, init: str = "identity", rank: int | None = None):
        super().__init__()
        self.in_features, self.out_features, self.init = in_features, out_features, init
        self.rank = default_rank(in_features, out_features) if rank is None else rank
        self.down = nn.Linear(in_features, self.rank, bias=False)
        self.up = nn.Linear(self.rank, out_features)
        self.reset_parameters()

    @property
    def dtype(self) -> torch.dtype:
        return self.up.weight.dtype

    def reset_parameters(self) -> None:
        self.down.reset_parameters()
        self.up.reset_parameters()
        if self.init != "random":
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return fit(hidden, self.out_features) + self.up(self.down(hidden))

    def _set(self, matrix: Tensor, offset: Tensor) -> None:
        """U V is the truncated singular value decomposition of the wanted map's difference from `fit`."""
        left, values, right = torch.linalg.svd(matrix - _identity_like(matrix), full_matrices=False)
        roots = values[: self.rank].sqrt()
        self.up.weight.copy_(left[:, : self.rank] * roots)
        self.down.weight.copy_(roots[:, None] * right[: self.rank])
        self.up.bias.copy_(offset)


class TwoLayerProjector(Projector):
    """A h + b + W₂ GELU(W₁ h + b₁), with A and b in `linear`, W₁ and b₁ in `inner`, W₂ in `outer`."""

    def __init__(self, in_features: int, out_features: int, init: str = "identity"):
        super().__init__()
        self.in_features, self.out_features, self.init = in_features, out_features, init
        inner = max(in_features, out_features)
        self.linear = LinearProjector(in_features, out_features, init)
        self.inner = nn.Linear(in_features, inner)
        self.outer = nn.Linear(inner, out_features, bias=False)
        self.reset_parameters()

    @property
    def dtype(self) -> torch.dtype:
        return self.outer.weight.dtype

    def reset_parameters(self) -> None:
        for part in (self.linear, self.inner, self.outer):
            part.reset_parameters()
        if self.init != "random":
            nn.init.zeros_(self.outer.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.linear(hidden) + self.outer(F.gelu(self.inner(hidden)))

    def _set(self, matrix: Tensor, offset: Tensor) -> None:
        self.linear._set(matrix, offset)
        self.outer.weight.zero_()


KINDS: dict[str, type[Projector]] = {
    "linear": LinearProjector,
    "linear_skip": LinearSkipProjector,
    "low_rank": LowRankProjector,
    "two_layer": TwoLayerProjector,
}


def new_projector(kind: str, in_features: int, out_features: int, init: str, rank: int | None = None) -> Projector:
    """A projector of a `kind` in `KINDS`; `rank` is the low-rank one's."""
    if kind == "low_rank":
        return LowRankProjector(in_features, out_features, init, rank)
    return KINDS[kind](in_features, out_features, init)


def default_rank(*widths: int) -> int:
    """The rank of a low-rank projector between these widths where none is given: an eighth of the wider, at least 1."""
    return min(max(1, int(max(widths) * RANK_SHARE)), *widths)


def check_rank(rank: int | None, widths: list[int]) -> None:
    """Raises `ManticoreError` for a `rank` above the narrowest of the components' `widths`, where none is saved."""
    if rank is not None and rank > min(widths):
        raise ManticoreError(
            f"projector.rank is {rank}, but the narrowest component is {min(widths)} wide, and no map to or from it "
            f"has a higher rank. Give 1 to {min(widths)}, or leave it out for an eighth of the shared width."
        )


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
    dtype = projector.dtype
    hidden, gate = hidden.to(dtype), gate.to(dtype)
    if not torch.is_autocast_enabled(hidden.device.type):
        # Gating the map costs no more than its size, gating what goes through it grows with the tokens.
        gated = gated or projector.gated(gate)
        if gated is not None:
            return F.linear(hidden, *gated)
    # With autocast, states that pass by the projector keep their precision.
    return (1 - gate) * projector(hidden) + gate * fit(hidden, projector.out_features)


def _identity_like(matrix: Tensor) -> Tensor:
    return torch.eye(*matrix.shape, dtype=matrix.dtype, device=matrix.device)
