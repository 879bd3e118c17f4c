"""Loss surfaces as figures: one drawn by its kind, or several side by side on one scale."""

from collections.abc import Mapping
from typing import Literal

import plotly.graph_objects as go
from numpy.typing import ArrayLike
from plotly.subplots import make_subplots

from manticore_kit.analysis.surface import LossSurface
from manticore_kit.errors import ManticoreError
from manticore_kit.figures import palette
from manticore_kit.figures.contour import draw_contour
from manticore_kit.figures.curve import draw_curve, mark_curve
from manticore_kit.figures.landscape import draw_landscape
from manticore_kit.figures.path import draw_marks, draw_path
from manticore_kit.figures.points import add_marker_legend
from manticore_kit.figures.scale import LossScale
from manticore_kit.figures.style import HEIGHT, new_figure, safe, style
from manticore_kit.figures.triangle import draw_triangle

# Further curves in one figure, after the hybrid's green.
_CURVES = (palette.HYBRID, palette.COMPONENTS[5], palette.COMPONENTS[4], palette.NEUTRAL)
_BELOW = {"yref": "container", "y": 0, "yanchor": "bottom"}


def loss_surface_figure(
    surface: LossSurface,
    *,
    kind: Literal["contour", "3d"] = "contour",
    title: str | None = None,
    path: ArrayLike | None = None,
    marks: Mapping[str, ArrayLike] | None = None,
) -> go.Figure:
    """`surface` drawn: a curve, a contour plot (or with `kind="3d"` a landscape) or a triangle, with components,
    frankenmerges and the best mixture marked.

    `path` (times, blocks, components) is the way of a search, and `marks` are mixtures (blocks, components) by name,
    drawn over a contour plot. Raises `ManticoreError` for a surface that has none of these shapes, for a landscape of
    anything but two blocks, and for a path or marks on anything but a contour plot.
    """
    if (path is not None or marks) and (kind == "3d" or surface.kind != "surface"):
        raise ManticoreError(
            f"paths and marks are drawn over a contour plot of two blocks, not over a {surface.kind} ({kind})"
        )
    if kind not in ("contour", "3d"):
        raise ManticoreError(f'kind is {kind!r}: give "contour" or "3d"')
    if kind == "3d" and surface.kind != "surface":
        raise ManticoreError(
            f'a {surface.kind} has no 3-D form: leave kind="3d" out, or vary two blocks of two components'
        )
    if surface.kind == "curve":
        figure = new_figure(title, _subtitle(surface), above=44)
        draw_curve(figure, surface, name="hybrid", color=palette.HYBRID)
        mark_curve(figure, surface)
        return figure
    scale = LossScale.over([surface.mean])
    if surface.kind == "triangle":
        figure = new_figure(title, _subtitle(surface), height=HEIGHT + 30, above=28)
        figure.update_layout(legend=_BELOW, margin={"b": 68})
        draw_triangle(figure, surface, scale)
    elif kind == "3d":
        figure = new_figure(title, _subtitle(surface), height=HEIGHT + 100)
        draw_landscape(figure, surface, scale)
    else:
        figure = new_figure(title, _subtitle(surface))
        draw_contour(figure, surface, scale)
        if path is not None:
            draw_path(figure, surface, path)
        if marks:
            draw_marks(figure, surface, marks)
            room = 20 * -(-len(marks) // 2)  # two names of the legend fit beside each other
            figure.update_layout(legend=_BELOW, height=HEIGHT + 20 + room, margin={"b": 76 + room})
    return figure.update_layout(coloraxis=scale.coloraxis())


def compare_surfaces_figure(surfaces: Mapping[str, LossSurface], *, title: str | None = None) -> go.Figure:
    """Named surfaces of one kind together: curves in one plot, others side by side on one colour scale.

    Raises `ManticoreError` if there is none, or if they are of different kinds.
    """
    kinds = {name: surface.kind for name, surface in surfaces.items()}
    if len(set(kinds.values())) != 1:
        given = ", ".join(f"{name} (a {kind})" for name, kind in kinds.items()) or "none"
        raise ManticoreError(f"surfaces of one kind can be compared; given: {given}")
    if set(kinds.values()) == {"curve"}:
        return _overlaid(surfaces, title)
    return _side_by_side(surfaces, title, ternary=set(kinds.values()) == {"triangle"})


def _overlaid(surfaces: Mapping[str, LossSurface], title: str | None) -> go.Figure:
    subtitle = _subtitle(*surfaces.values()) + "; bands: 95% interval against the best component"
    figure = new_figure(title, subtitle, above=28)
    for i, (name, surface) in enumerate(surfaces.items()):
        draw_curve(figure, surface, name=name, color=_CURVES[i % len(_CURVES)], explained=False)
    for i, surface in enumerate(surfaces.values()):
        mark_curve(figure, surface, named=i == 0)
    return figure


def _side_by_side(surfaces: Mapping[str, LossSurface], title: str | None, *, ternary: bool) -> go.Figure:
    figure = make_subplots(
        cols=len(surfaces),
        specs=[[{"type": "ternary" if ternary else "xy"} for _ in surfaces]],
        subplot_titles=[f"<b>{safe(name)}</b>" for name in surfaces],
        horizontal_spacing=0.2 if ternary else 0.08,
    )
    style(figure, title, _subtitle(*surfaces.values()), height=470, above=46 if ternary else 24)
    # Above the titles' own place stand the top corners' losses.
    figure.update_annotations(font_size=13, yshift=24 if ternary else 4)
    figure.update_layout(legend=_BELOW, margin={"b": 72 if ternary else 108})
    scale = LossScale.over([surface.mean for surface in surfaces.values()])
    for i, surface in enumerate(surfaces.values(), start=1):
        (draw_triangle if ternary else draw_contour)(figure, surface, scale, col=i)
    first, *rest = surfaces.values()
    if not ternary and all(surface.axes[1].label == first.axes[1].label for surface in rest):
        for i in range(2, len(surfaces) + 1):
            figure.update_yaxes(title_text=None, col=i)
    add_marker_legend(figure, first, _empty_ternary if ternary else _empty)
    return figure.update_layout(coloraxis=scale.coloraxis())


def _empty(**trace) -> go.Scatter:
    return go.Scatter(x=[None], y=[None], **trace)


def _empty_ternary(**trace) -> go.Scatterternary:
    return go.Scatterternary(a=[None], b=[None], c=[None], **trace)


def _subtitle(*surfaces: LossSurface) -> str:
    points, examples = ({surface.losses.shape[axis] for surface in surfaces} for axis in (0, 1))
    if len(points) > 1 or len(examples) > 1:
        return "mixtures of one surface are judged on the same examples"
    return f"{points.pop()} mixtures, each on the same {examples.pop()} examples"
