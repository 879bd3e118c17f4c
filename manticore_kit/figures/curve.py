"""Loss over one weight of two components: a line through the measured mixtures.

The band is the interval of the *difference from the best component*, drawn around the curve: where it lies below the
dashed line, the mixture is better than that component on these examples. The interval of the loss itself says how hard
the examples are, which is the same for all mixtures; it is in the hover text.
"""

import numpy as np
import plotly.graph_objects as go

from manticore_kit.analysis.surface import Corner, LossSurface
from manticore_kit.figures import palette
from manticore_kit.figures.points import best_label, best_marker, corner_label, corner_marker, hover_texts
from manticore_kit.figures.style import LOSS_UNIT, axis_title, labels, safe


def draw_curve(figure: go.Figure, surface: LossSurface, *, name: str, color: str, explained: bool = True) -> None:
    """Add the curve of `surface` and its band to `figure`.

    `name` is what the legend calls the curve; the legend has the band too if `explained`.
    """
    axis = surface.axes[0]
    weights = surface.mixtures[:, axis.block, 1]
    order = np.argsort(weights, kind="stable")
    x, mean = weights[order], surface.mean[order]
    reference = surface.best_component
    if reference is None:
        low, high = surface.intervals()
        about = "95% interval"
    else:
        low, high = (surface.mean[reference.point] + b for b in surface.intervals(against=reference.point))
        about = f"95% interval of the difference from {labels(surface.component_names)[reference.path[0]]}"
    figure.add_scatter(
        x=np.concatenate([x, x[::-1]]),
        y=np.concatenate([high[order], low[order][::-1]]),
        fill="toself",
        fillcolor=palette.translucent(color, 0.2),
        mode="lines",
        line={"width": 0},
        hoverinfo="skip",
        name=about,
        legendgroup=safe(name),
        legendrank=1001,
        showlegend=explained,
    )
    texts = hover_texts(surface)
    figure.add_scatter(
        x=x,
        y=mean,
        mode="lines+markers",
        line={"color": color, "width": 2.5},
        marker={"size": 6},
        hovertext=[texts[point] for point in order],
        hoverinfo="text",
        name=safe(name),
        legendgroup=safe(name),
    )
    figure.update_xaxes(title_text=axis_title(axis, surface.component_names), range=[-0.03, 1.03])
    figure.update_yaxes(title_text=LOSS_UNIT)


def mark_curve(figure: go.Figure, surface: LossSurface, *, named: bool = True) -> None:
    """Mark the components and the best point, with names and a dashed line at the best component's loss if `named`."""
    block = surface.axes[0].block
    spot = np.column_stack([surface.mixtures[:, block, 1], surface.mean]).tolist()
    reference = surface.best_component
    if named and reference is not None:
        figure.add_hline(
            y=spot[reference.point][1],
            line={"color": palette.NEUTRAL, "width": 1, "dash": "dash"},
            layer="below",
        )
    for corner in surface.corners:
        x, y = spot[corner.point]
        _mark(figure, x, y, corner_marker(corner, 13))
        if named:
            figure.add_annotation(
                x=x,
                y=y,
                text=corner_label(surface, corner),
                showarrow=False,
                xanchor="left" if x < 0.5 else "right",
                yshift=18 if _falls_away(surface, corner, block) else -18,
            )
    if surface.best not in {corner.point for corner in surface.corners}:
        x, y = spot[surface.best]
        _mark(figure, x, y, best_marker(16))
        if named:
            figure.add_annotation(x=x, y=y, text=best_label(surface), showarrow=False, yshift=-20)


def _mark(figure: go.Figure, x: float, y: float, marker: dict) -> None:
    figure.add_scatter(x=[x], y=[y], mode="markers", marker=marker, hoverinfo="skip", showlegend=False)


def _falls_away(surface: LossSurface, corner: Corner, block: int) -> bool:
    """Whether the curve leaves the corner downwards, so that its label is free above."""
    distance = np.abs(surface.mixtures[:, block, 1] - surface.mixtures[corner.point, block, 1])
    neighbour = np.argsort(distance, kind="stable")[1]
    return bool(surface.mean[neighbour] <= surface.mean[corner.point])
