"""Learned mixtures side by side: a panel for each task, in it a bar per block, cut by the components' weights."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from plotly.subplots import make_subplots

from manticore_kit.errors import ManticoreError
from manticore_kit.figures import palette
from manticore_kit.figures.style import labels, safe, style

# Panels in a row; more tasks go to the next.
_ACROSS = 3
_PANEL_HEIGHT = 170


def mixtures_figure(
    component_names: Sequence[str], mixtures: Mapping[str, ArrayLike], *, title: str | None = None
) -> go.Figure:
    """The `mixtures` of a hybrid by name (such as the task they were found on), each (seeds, blocks, components).

    A bar is the mean over seeds; what a single seed found shows as a tick beside the bar's own edge. Raises
    `ManticoreError` where there are none, or where sizes do not match.
    """
    arrays = {name: np.asarray(rows, dtype=float) for name, rows in mixtures.items()}
    wrong = [name for name, rows in arrays.items() if rows.ndim != 3 or rows.shape[2] != len(component_names)]
    if not arrays or wrong:
        what = f"{wrong[0]} has the shape {arrays[wrong[0]].shape}" if wrong else "there are none"
        raise ManticoreError(
            f"mixtures are (seeds, blocks, components) with {len(component_names)} components, and {what}"
        )
    across = min(_ACROSS, len(arrays))
    down = -(-len(arrays) // across)
    figure = make_subplots(
        rows=down,
        cols=across,
        subplot_titles=[safe(name) for name in arrays],
        shared_yaxes=True,
        vertical_spacing=0.24 / down,
        horizontal_spacing=0.05,
    )
    style(figure, title, "mean over seeds; dots: single seeds", height=110 + _PANEL_HEIGHT * down, above=52)
    for number, (name, rows) in enumerate(arrays.items()):
        place = {"row": number // across + 1, "col": number % across + 1}
        blocks = [f"block {n + 1}" for n in range(rows.shape[1])]
        mean, edges = rows.mean(axis=0), rows.cumsum(axis=2)
        for k, component in enumerate(labels(component_names)):
            figure.add_bar(
                x=blocks,
                y=mean[:, k],
                width=0.62,
                marker={"color": palette.component_color(k), "opacity": 0.85},
                name=component,
                legendgroup=str(k),
                showlegend=number == 0,
                hovertext=[
                    f"<b>{component}</b>, {safe(name)}, {b}: {w:.3f}" for b, w in zip(blocks, mean[:, k], strict=True)
                ],
                hoverinfo="text",
                text=[f"{w:.2f}" if w > 0.12 else "" for w in mean[:, k]],
                textposition="inside",
                insidetextanchor="middle",
                **place,
            )
        if len(rows) > 1:
            for k in range(len(component_names) - 1):
                figure.add_scatter(
                    x=blocks * len(rows),
                    y=edges[:, :, k].ravel(),
                    mode="markers",
                    marker={"size": 7, "color": palette.LABEL_PAPER, "line": {"color": palette.LABEL_TEXT, "width": 1}},
                    hoverinfo="skip",
                    showlegend=False,
                    **place,
                )
    figure.update_annotations(font_size=13)
    figure.update_yaxes(range=[0, 1.02])
    figure.update_yaxes(title_text="weight", col=1)
    return figure.update_layout(
        barmode="stack", legend={"y": 1, "yref": "container", "yanchor": "top", "x": 1, "xanchor": "right"}
    )
