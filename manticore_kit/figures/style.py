"""What all figures share: a template with no background of its own, and text that is safe to show.

Plotly draws a subset of HTML in every text. Names come from models and hubs, so each passes through `safe` before it
reaches a figure. A name never becomes part of a hover *template*, where `%{…}` would be filled in: it is data.
"""

import html
from collections.abc import Sequence

import plotly.graph_objects as go

from manticore_kit.analysis.surface import Axis
from manticore_kit.figures import palette

HEIGHT = 420
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif'
LOSS_UNIT = "held-out loss (nats per token)"
LONGEST_NAME = 24

_AXIS = {
    "gridcolor": palette.GRID,
    "linecolor": palette.NEUTRAL,
    "tickcolor": palette.NEUTRAL,
    "ticks": "outside",
    "ticklen": 4,
    "zeroline": False,
    "title": {"font": {"size": 13}, "standoff": 10},
}
_SCENE_AXIS = {
    "gridcolor": palette.NEUTRAL,
    "linecolor": palette.NEUTRAL,
    "showline": True,
    "showbackground": False,
    "zeroline": False,
    "tickfont": {"size": 11},
}
_TERNARY_AXIS = {"gridcolor": palette.GRID, "linecolor": palette.NEUTRAL, "ticks": "outside", "ticklen": 4}

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 12, "color": palette.TEXT},
        "title": {
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 12, "l": 16},
            "font": {"size": 16},
            "subtitle": {"font": {"size": 12, "color": palette.TEXT}},
        },
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hoverlabel": {"font": {"family": FONT, "size": 12}, "align": "left"},
        "hovermode": "closest",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "scene": {"xaxis": _SCENE_AXIS, "yaxis": _SCENE_AXIS, "zaxis": _SCENE_AXIS},
        "ternary": {
            "bgcolor": "rgba(0,0,0,0)",
            "aaxis": _TERNARY_AXIS,
            "baxis": _TERNARY_AXIS,
            "caxis": _TERNARY_AXIS,
        },
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"},
        "margin": {"l": 68, "r": 24, "t": 64, "b": 56},
    }
)


def new_figure(title: str | None, subtitle: str | None = None, *, height: int = HEIGHT, above: int = 0) -> go.Figure:
    """An empty figure as wide as its page, `height` pixels high; see `style`."""
    return style(go.Figure(), title, subtitle, height=height, above=above)


def style(
    figure: go.Figure, title: str | None, subtitle: str | None = None, *, height: int = HEIGHT, above: int = 0
) -> go.Figure:
    """`figure`, in place, with the common template, titles (escaped here) and size.

    `above` is the room in pixels between titles and plot for what the caller puts there, such as a legend.
    """
    top = 24 + above
    if title is not None:
        top += 24
        figure.update_layout(title={"text": safe(title)})
        if subtitle is not None:
            top += 20
            figure.update_layout(title={"subtitle": {"text": safe(subtitle)}})
    return figure.update_layout(template=TEMPLATE, autosize=True, height=height, margin={"t": top})


def safe(text: str) -> str:
    """`text` with HTML's special characters escaped, shown by plotly as they are written."""
    return html.escape(text, quote=False)


def labels(names: Sequence[str]) -> list[str]:
    """Models' names, shortened and escaped as they fit in a figure.

    Organisations are left out where names stay distinct without them.
    """
    bare = [name.rstrip("/").rsplit("/", 1)[-1] for name in names]
    chosen = bare if len(set(bare)) == len(set(names)) else names
    return [safe(n if len(n) <= LONGEST_NAME else n[: LONGEST_NAME - 1] + "…") for n in chosen]


def axis_title(axis: Axis, names: Sequence[str], *, narrow: bool = False) -> str:
    """What a weight's axis is called, on two lines where the axis is `narrow` or the name long."""
    name = labels(names)[axis.component]
    return f"weight of {name}{'<br>' if narrow or len(name) > 16 else ' '}{axis.where}".rstrip()


def tag(text: str, **place) -> dict:
    """An annotation with its own paper, for labels on top of colours; `text` is already escaped."""
    return {
        "text": text,
        "showarrow": False,
        "bgcolor": palette.LABEL_PAPER,
        "font": {"color": palette.LABEL_TEXT, "size": 12},
        "borderpad": 3,
        **place,
    }
