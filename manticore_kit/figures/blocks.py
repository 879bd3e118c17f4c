"""The hybrid drawn: blocks from left to right, a lane per component, and how much each cell counts.

A cell's shade and the bar along its foot are its mixture weight. Between blocks the states meet in a node; with one's
own ends that is all there is to show, since tokens enter every lane and the logits are mixed with the last row.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from manticore_kit.errors import ManticoreError
from manticore_kit.figures import palette
from manticore_kit.figures.style import labels, new_figure, safe

_LANE_HEIGHT = 104
_CELL_WIDTH, _CELL_HEIGHT = 0.7, 0.74
# With more blocks than these, cells are too narrow for the kinds of their layers, and for the word "layers".
_KINDS_FIT, _WORDS_FIT = 4, 4


def blocks_figure(
    component_names: Sequence[str],
    spans: Sequence[Sequence[tuple[int, int]]],
    mixture: ArrayLike,
    *,
    layer_kinds: Sequence[Sequence[str]] | None = None,
    title: str | None = None,
) -> go.Figure:
    """A hybrid's blocks: `spans[k][n]` = (a, b) are the layers a … b − 1 of component k in block n.

    `mixture` is (blocks, components); `layer_kinds[k]` names the kind of each layer of component k. Layers are numbered
    from 1 in the figure. Raises `ManticoreError` where the sizes do not match.
    """
    mixture = np.asarray(mixture, dtype=float)
    depth, components = len(spans[0]) if len(spans) else 0, len(component_names)
    if mixture.shape != (depth, components) or len(spans) != components or {len(s) for s in spans} != {depth}:
        raise ManticoreError(
            f"a mixture of shape {mixture.shape} (blocks, components) does not go with {components} names and with "
            f"spans of {[len(s) for s in spans]} blocks"
        )
    names = labels(component_names)
    figure = new_figure(title, height=int(84 + 44 + _LANE_HEIGHT * components))
    middle = (components - 1) / 2
    for block in range(depth):
        for k in range(components):
            weight, y = float(mixture[block, k]), components - 1 - k
            color = palette.component_color(k)
            _wire(figure, (block - 0.5, middle), (block - _CELL_WIDTH / 2, y), color, weight)
            _wire(figure, (block + _CELL_WIDTH / 2, y), (block + 0.5, middle), color, weight)
            _cell(figure, block, y, color, weight)
            first, end = spans[k][block]
            kinds = _kinds(layer_kinds[k][first:end]) if layer_kinds is not None else []
            span = _span(first, end)
            lines = [f"<b>{_weight(weight)}</b>", span if depth <= _WORDS_FIT else span.split(" ")[-1]]
            if depth <= _KINDS_FIT and len(kinds) <= 2:
                lines += [f'<span style="font-size:11px">{kind}</span>' for kind in kinds]
            figure.add_annotation(x=block, y=y, yshift=4, text="<br>".join(lines), showarrow=False)
            figure.add_scatter(
                x=[block],
                y=[y],
                mode="markers",
                marker={"size": 44, "color": color, "opacity": 0},
                hovertext=[
                    f"<b>{names[k]}</b>, block {block + 1}<br>{span}"
                    + (f": {', '.join(kinds)}" if kinds else "")
                    + f"<br>weight {_weight(weight)}"
                ],
                hoverinfo="text",
                showlegend=False,
            )
    _nodes(figure, depth, middle)
    figure.update_xaxes(
        tickvals=list(range(depth)),
        ticktext=[f"block {block + 1}" for block in range(depth)],
        range=[-0.68, depth - 0.32],
        showgrid=False,
        ticks="",
        side="top",
        fixedrange=True,
    )
    figure.update_yaxes(
        tickvals=[components - 1 - k for k in range(components)],
        ticktext=[f'<b><span style="color:{palette.component_color(k)}">{n}</span></b>' for k, n in enumerate(names)],
        range=[-0.55, components - 0.45],
        showgrid=False,
        ticks="",
        automargin=True,
        fixedrange=True,
    )
    return figure.update_layout(margin={"t": 84, "b": 20, "r": 20})


def _cell(figure: go.Figure, x: float, y: float, color: str, weight: float) -> None:
    left, low = x - _CELL_WIDTH / 2, y - _CELL_HEIGHT / 2
    right, top = x + _CELL_WIDTH / 2, y + _CELL_HEIGHT / 2
    faint = palette.translucent(color, 0.04 + 0.15 * weight)
    edge = palette.translucent(color, 0.35 + 0.65 * weight)
    figure.add_shape(
        type="rect", x0=left, x1=right, y0=low, y1=top, fillcolor=faint, line={"color": edge, "width": 1.5}
    )
    figure.add_shape(
        type="rect",
        x0=left,
        x1=left + _CELL_WIDTH * weight,
        y0=low,
        y1=low + 0.07,
        fillcolor=color,
        line={"width": 0},
    )


def _wire(figure: go.Figure, start: tuple[float, float], end: tuple[float, float], color: str, weight: float) -> None:
    """A curve from `start` to `end`, as thick as the weight; none for a weight of 0."""
    if weight == 0:
        return
    (x0, y0), (x1, y1) = start, end
    half = (x0 + x1) / 2
    figure.add_shape(
        type="path",
        path=f"M {x0},{y0} C {half},{y0} {half},{y1} {x1},{y1}",
        line={"color": palette.translucent(color, 0.35 + 0.5 * weight), "width": 1 + 4 * weight},
        layer="below",
    )


def _nodes(figure: go.Figure, depth: int, y: float) -> None:
    inner = [f"the states of blocks {n} and {n + 1} meet here" for n in range(1, depth)]
    figure.add_scatter(
        x=[n - 0.5 for n in range(depth + 1)],
        y=[y] * (depth + 1),
        mode="markers",
        marker={"size": 13, "color": palette.NEUTRAL, "line": {"color": "#FFFFFF", "width": 1.5}},
        hovertext=["tokens", *inner, "logits"],
        hoverinfo="text",
        showlegend=False,
    )
    for x, text in ((-0.5, "tokens"), (depth - 0.5, "logits")):
        figure.add_annotation(x=x, y=y, yshift=-17, text=text, showarrow=False, font={"size": 11})


def _span(first: int, end: int) -> str:
    """Layers counted from 1: "layer 3", "layers 1–4", "no layers"."""
    if end <= first:
        return "no layers"
    return f"layer {end}" if end == first + 1 else f"layers {first + 1}–{end}"


def _kinds(kinds: Sequence[str]) -> list[str]:
    """["attention"] where all layers are of one kind, otherwise ["3 ssm", "1 attention"]."""
    counts = Counter(kinds)
    return [safe(kind if len(counts) == 1 else f"{n} {kind}") for kind, n in counts.items()]


def _weight(weight: float) -> str:
    return f"{weight:.3f}" if 0 < weight < 0.005 or 0.995 < weight < 1 else f"{weight:.2f}"
