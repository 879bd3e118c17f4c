"""Entrants of a comparison over seeds, one row each: mean with its interval, and every training as a small dot."""

from collections.abc import Sequence

import plotly.graph_objects as go

from manticore_kit.analysis.comparison import Comparison
from manticore_kit.figures import palette
from manticore_kit.figures.losses import losses_figure
from manticore_kit.figures.style import safe


def comparison_figure(comparison: Comparison, *, components: Sequence[str] = (), title: str | None = None) -> go.Figure:
    """Each entrant's held-out loss with the two-way interval over seeds and examples, and a dot for each training.

    Names among `components` have their components' colours; a dashed line stands at the first reference.
    """
    reference = comparison.references[0]
    figure = losses_figure(comparison.intervals, components=components, reference=reference, title=title)
    confidence = f"{comparison.confidence:.0%}"
    if title is not None:
        subtitle = f"mean and {confidence} interval over seeds and examples; small: each training; dashed: {reference}"
        figure.update_layout(title={"subtitle": {"text": safe(subtitle)}})
    colors = {name: palette.component_color(index) for index, name in enumerate(components)}
    for row, (name, losses) in enumerate(comparison.losses.items()):
        if len(losses) == 1:
            continue
        means = losses.mean(axis=1)
        figure.add_scatter(
            x=means,
            y=[row + 0.24] * len(means),
            mode="markers",
            marker={"size": 5, "color": colors.get(name, palette.HYBRID), "opacity": 0.7},
            hovertext=[f"{safe(name)}, training {number}: {mean:.4f}" for number, mean in enumerate(means, start=1)],
            hoverinfo="text",
            showlegend=False,
        )
    return figure
