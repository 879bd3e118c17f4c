"""How the points of a loss surface are named and described in every figure that shows one."""

from collections.abc import Callable

import plotly.graph_objects as go
from plotly.basedatatypes import BaseTraceType

from manticore_kit.analysis.surface import Corner, LossSurface, path_label
from manticore_kit.figures import palette
from manticore_kit.figures.style import labels, safe

_LONGEST_PATH = 44


def corner_label(surface: LossSurface, corner: Corner, *, named: bool = True) -> str:
    """The corner's component or frankenmerge (unless `named` is False) and its loss, as plotly HTML."""
    loss = f"{surface.mean[corner.point]:.2f}" + (", best" if corner.point == surface.best else "")
    name = path_label(corner.path, labels(surface.component_names))
    if len(name) > _LONGEST_PATH:
        name = "frankenmerge"  # its place on the axes and the hover text say of what
    return f"<b>{name}</b> {loss}" if named else f"<b>{loss}</b>"


def best_label(surface: LossSurface) -> str:
    """The lowest loss on the grid, as plotly HTML."""
    return f"<b>best</b> {surface.mean[surface.best]:.2f}"


def corner_marker(corner: Corner, size: int = 15) -> dict:
    """A disc in the component's colour, or a white diamond for a frankenmerge."""
    pure = corner.component is not None
    return {
        "symbol": "circle" if pure else "diamond",
        "size": size,
        "color": palette.component_color(corner.path[0]) if pure else "#FFFFFF",
        "line": {"color": "#FFFFFF" if pure else palette.LABEL_TEXT, "width": 1.5},
    }


def best_marker(size: int = 18) -> dict:
    """A white star with a dark rim."""
    return {
        "symbol": "star",
        "size": size,
        "color": "#FFFFFF",
        "line": {"color": palette.LABEL_TEXT, "width": 1.2},
    }


def add_marker_legend(figure: go.Figure, surface: LossSurface, empty: Callable[..., BaseTraceType]) -> None:
    """Say in the legend what the markers are; `empty` makes a trace of no points for the figure's kind of plot."""
    entries = [
        (labels(surface.component_names)[corner.component], corner_marker(corner, 11))
        for corner in surface.corners
        if corner.component is not None
    ]
    merges = [corner for corner in surface.corners if corner.component is None]
    if merges:
        entries.append(("frankenmerge", corner_marker(merges[0], 11)))
    entries.append(("best mixture", best_marker(12)))
    for name, marker in entries:
        figure.add_trace(empty(mode="markers", marker=marker, name=name, showlegend=True))


def hover_texts(surface: LossSurface) -> list[str]:
    """What hovering over each point shows: the mixture, its loss, and its difference from the best component."""
    low, high = surface.intervals()
    reference = surface.best_component
    texts = []
    for point, mean in enumerate(surface.mean):
        lines = [safe(line) for line in surface.describe_point(point)]
        lines.append(f"<b>{mean:.3f}</b> nats per token [{low[point]:.3f}, {high[point]:.3f}]")
        texts.append(lines)
    if reference is not None:
        low, high = surface.intervals(against=reference.point)
        for point, lines in enumerate(texts):
            gap = surface.mean[point] - surface.mean[reference.point]
            if point != reference.point:
                interval = f"{_signed(gap)} [{_signed(low[point])}, {_signed(high[point])}]"
                lines.append(f"{interval} against {safe(reference.label)}")
    return ["<br>".join(lines) for lines in texts]


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
