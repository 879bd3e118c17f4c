"""Loss over the weights of two blocks, seen from above.

Colours and lines are interpolated between the measured mixtures, which are the small dots. Components and frankenmerges
lie at the corners and are named outside of the coloured square.
"""

from typing import Any

import plotly.graph_objects as go

from manticore_kit.analysis.surface import LossSurface
from manticore_kit.figures.points import best_label, best_marker, corner_label, corner_marker, hover_texts
from manticore_kit.figures.scale import LossScale
from manticore_kit.figures.style import axis_title, tag

# How far the axes reach beyond the weights 0 and 1, to make room for the corners' names.
_MARGIN_X, _MARGIN_Y = 0.04, 0.13


def draw_contour(figure: go.Figure, surface: LossSurface, scale: LossScale, *, col: int | None = None) -> None:
    """Add `surface` to `figure` on the figure's colour axis.

    In column `col` of several there is no room for names: the corners show their losses, and a legend says what
    the markers are.
    """
    first, second = surface.axes
    place: dict[str, Any] = {} if col is None else {"row": 1, "col": col}
    figure.add_trace(
        go.Contour(
            x=first.values,
            y=second.values,
            z=scale.height(surface.grid()),
            coloraxis="coloraxis",
            contours={"coloring": "heatmap", "start": 0, "end": 1, "size": 1 / 16},
            line={"color": "rgba(255,255,255,0.45)", "width": 0.8},
            hoverinfo="skip",
        ),
        **place,
    )
    x, y = surface.mixtures[:, first.block, 1], surface.mixtures[:, second.block, 1]
    _dots(figure, place, x, y, {"size": 4, "color": "rgba(34,38,43,0.45)"}, hover_texts(surface))
    for corner in surface.corners:
        _dots(figure, place, x[[corner.point]], y[[corner.point]], corner_marker(corner))
        left, low = x[corner.point] < 0.5, y[corner.point] < 0.5
        figure.add_annotation(
            x=x[corner.point],
            y=y[corner.point],
            text=corner_label(surface, corner, named=col is None),
            showarrow=False,
            xanchor="left" if left else "right",
            xshift=-8 if left else 8,
            yshift=-19 if low else 19,
            **place,
        )
    if surface.best not in {corner.point for corner in surface.corners}:
        best = surface.best
        _dots(figure, place, x[[best]], y[[best]], best_marker())
        up = y[best] < 0.5
        side = "left" if x[best] < 0.15 else "right" if x[best] > 0.85 else "center"
        figure.add_annotation(
            tag(best_label(surface), x=x[best], y=y[best], yshift=23 if up else -23, xanchor=side), **place
        )
    for axis, update, margin in (
        (first, figure.update_xaxes, _MARGIN_X),
        (second, figure.update_yaxes, _MARGIN_Y),
    ):
        update(
            title_text=axis_title(axis, surface.component_names, narrow=col is not None),
            range=[-margin, 1 + margin],
            tickvals=[0, 0.25, 0.5, 0.75, 1],
            showgrid=False,
            **place,
        )


def _dots(figure: go.Figure, place: dict, x, y, marker: dict, texts: list[str] | None = None) -> None:
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            mode="markers",
            marker=marker,
            cliponaxis=False,
            hovertext=texts,
            hoverinfo="skip" if texts is None else "text",
            showlegend=False,
        ),
        **place,
    )
