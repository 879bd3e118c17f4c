"""Loss over the weights of three components in one block: a triangle whose corners are the components.

Colours between the measured mixtures, which are the small dots, are interpolated linearly. Plotly has no filled
ternary contour, so it is made here: every triangle of neighbouring points is cut along the edges of narrow bands of
loss, and the pieces of one band are drawn together.
"""

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.colors import sample_colorscale
from scipy.spatial import Delaunay, QhullError

from manticore_kit.analysis.surface import LossSurface
from manticore_kit.figures import palette
from manticore_kit.figures.points import best_label, best_marker, corner_label, corner_marker, hover_texts
from manticore_kit.figures.scale import LossScale
from manticore_kit.figures.style import labels

_BANDS = 32


def draw_triangle(figure: go.Figure, surface: LossSurface, scale: LossScale, *, col: int | None = None) -> None:
    """Add `surface` to `figure` on the figure's colour axis.

    In column `col` of several the corners show their losses only, and a legend says what the markers are.
    """
    subplot = "ternary" if col in (None, 1) else f"ternary{col}"
    weights = surface.mixtures[:, surface.axes[0].block]
    for shade, outline in _bands(weights, scale.height(surface.mean)):
        color = sample_colorscale(palette.LOSS_SCALE, [shade])[0]
        figure.add_scatterternary(
            a=outline[:, 0],
            b=outline[:, 1],  # plotly completes the third
            mode="lines",
            fill="toself",
            fillcolor=color,
            line={"color": color, "width": 1.2},
            hoverinfo="skip",
            showlegend=False,
            subplot=subplot,
        )
    everywhere = {"size": 4, "color": "rgba(34,38,43,0.45)"}
    _dots(figure, subplot, weights, everywhere, texts=hover_texts(surface))
    # An empty trace on the colour axis brings the bar: the bands carry their colours themselves.
    bar = {"color": [0], "coloraxis": "coloraxis", "opacity": 0}
    _dots(figure, subplot, weights[:1], bar)
    for corner in surface.corners:
        _dots(figure, subplot, weights[[corner.point]], corner_marker(corner))
    if surface.best not in {corner.point for corner in surface.corners}:
        row = ", ".join(f"{w:.3g}" for w in weights[surface.best])
        name = f"{best_label(surface)} at ({row})" if col is None else None
        _dots(figure, subplot, weights[[surface.best]], best_marker(), name=name)
    names = labels(surface.component_names) if col is None else ["", "", ""]
    titles = {c.path[0]: corner_label(surface, c, named=col is None) for c in surface.corners}
    figure.update_layout(
        {
            subplot: {
                f"{letter}axis": {
                    "title": {"text": titles.get(k, names[k]), "font": {"size": 12}},
                    "tickvals": [0.25, 0.5, 0.75],
                    "tickfont": {"color": palette.component_color(k), "size": 11},
                }
                for k, letter in enumerate("abc")
            }
        }
    )


def _bands(weights: NDArray, heights: NDArray) -> list[tuple[float, NDArray]]:
    """(shade from 0 to 1, outlines (corners, 3) separated by rows of NaN) of every band of heights that occurs."""
    try:
        triangles = Delaunay(weights[:, :2] @ np.array([[1, 0], [0.5, 0.75**0.5]])).simplices
    except QhullError:  # points on one line span no triangle
        return []
    gap = np.full((1, 3), np.nan)
    bands = []
    for band in range(_BANDS):
        outlines = []
        for triangle in triangles:
            piece = np.column_stack([weights[triangle], heights[triangle]])
            piece = _above(piece, band / _BANDS)
            if band < _BANDS - 1:
                piece = _above(piece * [1, 1, 1, -1], -(band + 1) / _BANDS)
            if len(piece) > 2:
                outlines += [piece[:, :3], piece[:1, :3], gap]
        if outlines:
            bands.append(((band + 0.5) / _BANDS, np.vstack(outlines, dtype=np.float32, casting="same_kind")))
    return bands


def _above(polygon: NDArray, level: float) -> NDArray:
    """The part of `polygon` (corners, weights and height) whose height, linear in between, is at least `level`."""
    kept = []
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if start[-1] >= level:
            kept.append(start)
        if (start[-1] >= level) != (end[-1] >= level):
            kept.append(start + (end - start) * (level - start[-1]) / (end[-1] - start[-1]))
    return np.array(kept).reshape(-1, polygon.shape[1])


def _dots(
    figure: go.Figure,
    subplot: str,
    weights: NDArray,
    marker: dict,
    *,
    texts: list[str] | None = None,
    name: str | None = None,
) -> None:
    a, b, c = weights.T
    figure.add_scatterternary(
        a=a,
        b=b,
        c=c,
        mode="markers",
        marker=marker,
        hovertext=texts,
        hoverinfo="skip" if texts is None else "text",
        name=name,
        showlegend=name is not None,
        cliponaxis=False,
        subplot=subplot,
    )
