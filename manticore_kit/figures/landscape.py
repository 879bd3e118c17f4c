"""Loss over the weights of two blocks as a landscape to turn around: height and colour are the loss."""

import plotly.graph_objects as go

from manticore_kit.analysis.surface import LossSurface
from manticore_kit.figures import palette
from manticore_kit.figures.points import best_label, corner_label, hover_texts
from manticore_kit.figures.scale import LossScale
from manticore_kit.figures.style import axis_title, tag


def draw_landscape(figure: go.Figure, surface: LossSurface, scale: LossScale) -> None:
    """Add `surface` to the scene of `figure`, with the corners and the best point named."""
    first, second = surface.axes
    texts = hover_texts(surface)
    figure.add_surface(
        x=first.values,
        y=second.values,
        z=surface.grid(),
        surfacecolor=scale.height(surface.grid()),
        coloraxis="coloraxis",
        hovertext=[[texts[point] for point in row] for row in surface.grid_points],
        hoverinfo="text",
        contours={
            axis: {"show": True, "color": "#FFFFFF", "width": 1, "start": 0, "end": 1, "size": 0.125} for axis in "xy"
        },
        lighting={"ambient": 0.85, "diffuse": 0.3, "specular": 0.05},
    )
    named = {corner.point: corner_label(surface, corner) for corner in surface.corners}
    colors = {
        corner.point: "#FFFFFF" if corner.component is None else palette.component_color(corner.component)
        for corner in surface.corners
    }
    if surface.best not in named:
        named[surface.best], colors[surface.best] = best_label(surface), "#FFFFFF"
    x, y = surface.mixtures[:, first.block, 1], surface.mixtures[:, second.block, 1]
    points = list(named)
    figure.add_scatter3d(
        x=x[points],
        y=y[points],
        z=surface.mean[points],
        mode="markers",
        marker={
            "size": 6,
            "color": [colors[point] for point in points],
            "line": {"color": palette.LABEL_TEXT, "width": 1},
        },
        hoverinfo="skip",
        showlegend=False,
    )
    figure.update_layout(
        scene={
            "xaxis": {"title": {"text": axis_title(first, surface.component_names, narrow=True)}},
            "yaxis": {"title": {"text": axis_title(second, surface.component_names, narrow=True)}},
            "zaxis": {"title": {"text": "loss (nats per token)"}},
            "aspectmode": "manual",
            "aspectratio": {"x": 1.25, "y": 1.25, "z": 0.8},
            # From the corner of the first component, so that the frankenmerges rise at the sides and hide nothing.
            "camera": {"eye": {"x": -1.45, "y": -1.75, "z": 1.1}, "center": {"x": 0, "y": 0, "z": -0.22}},
            "annotations": [_label(surface, p, named[p], x[p], y[p]) for p in points],
        },
        margin={"l": 24, "r": 0, "b": 8},
    )


def _label(surface: LossSurface, point: int, text: str, x: float, y: float) -> dict:
    # The best point is often close to a corner: its label is lifted above the corner's.
    lift = -56 if point == surface.best else -30
    place = {"x": x, "y": y, "z": surface.mean[point], "ax": 0, "ay": lift}
    arrow = {"showarrow": True, "arrowcolor": palette.NEUTRAL, "arrowwidth": 1, "arrowhead": 0}
    return tag(text, **place) | arrow
