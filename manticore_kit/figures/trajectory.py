"""What happened during training: mixtures on their way, and losses over steps."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from plotly.subplots import make_subplots

from manticore_kit.errors import ManticoreError
from manticore_kit.figures import palette
from manticore_kit.figures.style import LOSS_UNIT, labels, new_figure, safe, style

# Panels in a row; more blocks go to the next.
_ACROSS = 4
_PANEL_HEIGHT = 240


def trajectory_figure(
    component_names: Sequence[str], steps: ArrayLike, mixtures: ArrayLike, *, title: str | None = None
) -> go.Figure:
    """How each block's weights moved: `mixtures` (times, blocks, components) at `steps` (times,), a panel per block.

    Raises `ManticoreError` where the sizes do not match.
    """
    steps, mixtures = np.asarray(steps), np.asarray(mixtures, dtype=float)
    if mixtures.ndim != 3 or mixtures.shape[0] != len(steps) or mixtures.shape[2] != len(component_names):
        raise ManticoreError(
            f"mixtures of shape {mixtures.shape} (times, blocks, components) do not go with {len(steps)} steps and "
            f"{len(component_names)} components"
        )
    blocks = mixtures.shape[1]
    across = min(_ACROSS, blocks)
    down = -(-blocks // across)
    figure = make_subplots(
        rows=down,
        cols=across,
        shared_yaxes=True,
        subplot_titles=[f"block {n + 1}" for n in range(blocks)],
        horizontal_spacing=0.05,
    )
    style(figure, title, height=110 + _PANEL_HEIGHT * down, above=52)
    for n in range(blocks):
        for k, name in enumerate(labels(component_names)):
            weights = mixtures[:, n, k]
            figure.add_scatter(
                x=steps,
                y=weights,
                mode="lines+markers" if len(steps) < 3 else "lines",
                line={"color": palette.component_color(k), "width": 2.5},
                name=name,
                legendgroup=str(k),
                showlegend=n == 0,
                hovertext=[
                    f"<b>{name}</b>, block {n + 1}<br>step {s}: {w:.3f}" for s, w in zip(steps, weights, strict=True)
                ],
                hoverinfo="text",
                row=n // across + 1,
                col=n % across + 1,
            )
    figure.update_annotations(font_size=13)
    figure.update_yaxes(range=[-0.02, 1.02])
    figure.update_yaxes(title_text="mixture weight", col=1)
    figure.update_xaxes(title_text="step", row=down)
    return figure.update_layout(legend={"y": 1, "yref": "container", "yanchor": "top", "x": 1, "xanchor": "right"})


def curves_figure(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]], *, components: Sequence[str] = (), title: str | None = None
) -> go.Figure:
    """Losses over steps, a line per name: each is steps (times,) and losses (times,) or (seeds, times).

    Of several seeds the line is their mean, and the band reaches from the lowest to the highest. Names in `components`
    have their components' colours. Raises `ManticoreError` where there is nothing, or sizes do not match.
    """
    if not curves:
        raise ManticoreError("no curves are given: name at least one, with its steps and losses")
    subtitle = "lines: mean over seeds; bands: lowest to highest"
    several = any(np.ndim(losses) == 2 and len(np.asarray(losses)) > 1 for _, losses in curves.values())
    figure = new_figure(title, subtitle if several else None, height=460, above=60)
    own = {name: palette.component_color(k) for k, name in enumerate(components)}
    free = [color for color in (*palette.COMPONENTS, palette.HYBRID, palette.NEUTRAL) if color not in own.values()]
    dashes = ("solid", "dash", "dot")
    for number, (name, (steps, losses)) in enumerate(curves.items()):
        steps, rows = np.asarray(steps), np.atleast_2d(np.asarray(losses, dtype=float))
        if rows.shape[1] != len(steps):
            raise ManticoreError(f"{name}: {rows.shape[1]} losses do not go with {len(steps)} steps")
        color = own.get(name, free[number % len(free)])
        if len(rows) > 1:
            figure.add_scatter(
                x=np.concatenate([steps, steps[::-1]]),
                y=np.concatenate([rows.max(axis=0), rows.min(axis=0)[::-1]]),
                fill="toself",
                fillcolor=palette.translucent(color, 0.15),
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
                showlegend=False,
                legendgroup=safe(name),
            )
        mean = rows.mean(axis=0)
        figure.add_scatter(
            x=steps,
            y=mean,
            mode="lines",
            line={"color": color, "width": 2.5, "dash": dashes[number // len(free) % len(dashes)]},
            name=safe(name),
            legendgroup=safe(name),
            hovertext=[f"<b>{safe(name)}</b><br>step {s}: {v:.3f}" for s, v in zip(steps, mean, strict=True)],
            hoverinfo="text",
        )
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(title_text=LOSS_UNIT)
    return figure
