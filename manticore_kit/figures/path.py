"""What was chosen, drawn over a loss surface: the way that a search took, and mixtures by name."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from manticore_kit.analysis.surface import LossSurface
from manticore_kit.errors import ManticoreError
from manticore_kit.figures import palette
from manticore_kit.figures.style import safe, tag

# Told apart by form, since colours on a surface mean losses.
_SYMBOLS = ("square", "triangle-up", "cross", "x", "pentagon", "star-diamond")


def draw_path(figure: go.Figure, surface: LossSurface, path: ArrayLike) -> None:
    """Add `path` (times, blocks, components) to a contour plot of `surface`: a line from its start to its end.

    Raises `ManticoreError` for another shape, and for a surface that is no contour plot.
    """
    path = np.asarray(path, dtype=float)
    if surface.kind != "surface" or path.ndim != 3 or path.shape[1:] != surface.mixtures.shape[1:]:
        raise ManticoreError(
            f"a path of shape {path.shape} (times, blocks, components) cannot be drawn on a {surface.kind} over "
            f"mixtures of shape {surface.mixtures.shape[1:]}: it takes a surface over two blocks"
        )
    first, second = surface.axes
    x, y = path[:, first.block, first.component], path[:, second.block, second.component]
    line = {"color": palette.LABEL_TEXT, "width": 2}
    figure.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False)
    marker = {"size": [9, 12], "symbol": ["circle-open", "circle"], "color": palette.HYBRID, "line": line}
    figure.add_scatter(
        x=x[[0, -1]],
        y=y[[0, -1]],
        mode="markers",
        marker=marker,
        hovertext=[f"{what} of the search<br>{x[i]:.3f}, {y[i]:.3f}" for what, i in (("start", 0), ("end", -1))],
        hoverinfo="text",
        showlegend=False,
    )
    left = x[-1] > 0.7
    figure.add_annotation(
        tag("<b>searched</b>", x=x[-1], y=y[-1], xanchor="right" if left else "left", xshift=-12 if left else 12)
    )


def draw_marks(figure: go.Figure, surface: LossSurface, marks: Mapping[str, ArrayLike]) -> None:
    """Add named mixtures, each (blocks, components), to a contour plot of `surface`, with their names in the legend.

    Raises `ManticoreError` for another shape, and for a surface that is no contour plot.
    """
    for number, (name, rows) in enumerate(marks.items()):
        rows = np.asarray(rows, dtype=float)
        if surface.kind != "surface" or rows.shape != surface.mixtures.shape[1:]:
            raise ManticoreError(
                f"the mixture {name!r} of shape {rows.shape} (blocks, components) cannot be marked on a {surface.kind} "
                f"over mixtures of shape {surface.mixtures.shape[1:]}: it takes a surface over two blocks"
            )
        x, y = (float(rows[axis.block, axis.component]) for axis in surface.axes)
        figure.add_scatter(
            x=[x],
            y=[y],
            mode="markers",
            name=safe(name),
            marker={
                "size": 13,
                "symbol": _SYMBOLS[number % len(_SYMBOLS)],
                "color": "#FFFFFF",
                "line": {"color": palette.LABEL_TEXT, "width": 1.8},
            },
            hovertext=[f"<b>{safe(name)}</b><br>{x:.3f}, {y:.3f}"],
            hoverinfo="text",
        )
