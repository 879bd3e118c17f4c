"""Named losses with their intervals, one row each: components, ensemble, hybrids."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from manticore_kit.analysis.significance import Interval
from manticore_kit.errors import ManticoreError
from manticore_kit.figures import palette
from manticore_kit.figures.style import LOSS_UNIT, new_figure, safe


def losses_figure(
    losses: Mapping[str, Interval],
    *,
    components: Sequence[str] = (),
    reference: str | None = None,
    title: str | None = None,
) -> go.Figure:
    """A dot with its interval for each of `losses`, from top to bottom.

    The names among `components` have their components' colours, all others the hybrid's; a dashed line stands at
    the loss of `reference`. Raises `ManticoreError` for no losses and for a reference that is not among them.
    """
    if not losses or (reference is not None and reference not in losses):
        raise ManticoreError(f"reference is {reference!r}; losses are given for: {', '.join(losses) or 'nothing'}")
    names, intervals = list(losses), list(losses.values())
    confidence = {f"{interval.confidence:.0%}" for interval in intervals}
    figure = new_figure(
        title, f"mean and {' or '.join(sorted(confidence))} interval over examples", height=150 + 38 * len(names)
    )
    if reference is not None:
        figure.add_vline(
            x=losses[reference].mean,
            line={"color": palette.NEUTRAL, "width": 1, "dash": "dash"},
            layer="below",
        )
    colors = {name: palette.component_color(index) for index, name in enumerate(components)}
    rows = list(range(len(names)))
    for row, name, interval in zip(rows, names, intervals, strict=True):
        color = colors.get(name, palette.HYBRID)
        figure.add_scatter(
            x=[interval.mean],
            y=[row],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [interval.high - interval.mean],
                "arrayminus": [interval.mean - interval.low],
                "color": color,
                "thickness": 2,
                "width": 5,
            },
            mode="markers",
            marker={"size": 11, "color": color, "line": {"color": "#FFFFFF", "width": 1}},
            hovertext=[f"<b>{safe(name)}</b><br>{safe(str(interval))}"],
            hoverinfo="text",
            showlegend=False,
        )
        figure.add_annotation(
            x=1,
            xref="paper",
            y=row,
            xanchor="left",
            xshift=8,
            showarrow=False,
            text=f"<b>{interval.mean:.3f}</b> [{interval.low:.3f}, {interval.high:.3f}]",
        )
    figure.update_xaxes(title_text=LOSS_UNIT)
    figure.update_yaxes(
        tickvals=rows,
        ticktext=[safe(name) for name in names],
        range=[len(names) - 0.5, -0.5],
        automargin=True,
        showgrid=False,
        ticks="",
    )
    return figure.update_layout(margin={"r": 168, "t": 72})
