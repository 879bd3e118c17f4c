"""Accuracies of models on tasks: a cell for each pair, as dark as the accuracy is above guessing."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from manticore_kit.errors import ManticoreError
from manticore_kit.figures import palette
from manticore_kit.figures.style import new_figure, safe

_ROW_HEIGHT = 34


def accuracies_figure(
    found: Mapping[tuple[str, str], Sequence[float]],
    guessing: Mapping[str, float],
    *,
    title: str | None = None,
) -> go.Figure:
    """`found` has test accuracies by (model, task), one for each seed; `guessing` that of a random guess on each task.

    A cell shows the mean and, of several seeds, their lowest and highest. Raises `ManticoreError` where a pair is
    missing.
    """
    models, tasks = list(dict.fromkeys(model for model, _ in found)), list(guessing)
    if missing := [(model, task) for model in models for task in tasks if (model, task) not in found]:
        raise ManticoreError(f"there is no accuracy of {missing[0][0]!r} on {missing[0][1]!r}")
    cells = {key: np.asarray(values, dtype=float) for key, values in found.items()}
    above = [
        [max(0.0, (cells[model, task].mean() - guessing[task]) / (1 - guessing[task])) for task in tasks]
        for model in models
    ]
    figure = new_figure(
        title,
        "mean test accuracy over seeds, [lowest, highest]; colour: from guessing (pale) to all right",
        height=150 + _ROW_HEIGHT * len(models),
        above=36,
    )
    figure.add_heatmap(
        z=above,
        x=[safe(task) for task in tasks],
        y=[safe(model) for model in models],
        zmin=0,
        zmax=1,
        colorscale=[[0, palette.translucent(palette.HYBRID, 0.06)], [1, palette.translucent(palette.HYBRID, 0.75)]],
        showscale=False,
        xgap=3,
        ygap=3,
        text=[[_cell(cells[model, task]) for task in tasks] for model in models],
        texttemplate="%{text}",
        hoverinfo="text",
        hovertext=[
            [
                f"<b>{safe(model)}</b>, {safe(task)}<br>"
                + "<br>".join(f"seed {n}: {value:.4f}" for n, value in enumerate(cells[model, task], start=1))
                + f"<br>guessing: {guessing[task]:.4f}"
                for task in tasks
            ]
            for model in models
        ],
    )
    figure.update_xaxes(side="top", showgrid=False, ticks="", tickangle=0)
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", automargin=True)
    return figure.update_layout(margin={"t": 110, "b": 16})


def _cell(values: np.ndarray) -> str:
    text = f"<b>{values.mean():.2f}</b>"
    return text if len(values) < 2 else f"{text} [{values.min():.2f}, {values.max():.2f}]"
