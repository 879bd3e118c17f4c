"""The page's figure: cost per token against size, small multiples, drawn by the system's Chromium into an SVG."""

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from benchmarks.measure import ratios
from benchmarks.models import FAMILIES
from benchmarks.rows import Row
from manticore_kit.doctor import find_chromium
from manticore_kit.errors import ManticoreError
from manticore_kit.figures import palette
from manticore_kit.figures.style import style

WIDTH, HEIGHT = 1000, 560
PAPER, INK = "#FFFFFF", palette.LABEL_TEXT

AXES = {
    "length": "tokens in a sequence",
    "blocks": "blocks",
    "components": "components",
    "batch": "sequences in a batch",
}
TICKS = [a * 10**b for b in range(-3, 7) for a in (1, 2, 5)]
DOUBLING = ("length", "batch")  # axes on which each value is twice the one before
COLORS = {"hybrid": palette.HYBRID, "sum of its components": palette.NEUTRAL}


def scaling_figure(rows: Sequence[Row]) -> go.Figure:
    """Curves of the hybrid and of its components, a row of panels for each kind of work and a column for each axis.

    `rows` are those of the group `scaling`. The small numbers are the medians of the rounds' ratios.
    """
    curves: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        axis, kind, series = row.name.split(", ")
        curves[kind, axis, series].append(row)
    kinds, axes = (list(dict.fromkeys(key[i] for key in curves)) for i in (0, 1))
    values = {kind: [r.median for key, points in curves.items() if key[0] == kind for r in points] for kind in kinds}
    foot = {kind: 0.72 * min(values[kind]) for kind in kinds}  # where the ratios stand, below all curves
    figure = make_subplots(
        rows=len(kinds), cols=len(axes), shared_yaxes=True, horizontal_spacing=0.025, vertical_spacing=0.13
    )
    style(figure, "What a token costs in a hybrid", height=HEIGHT)
    for (kind, axis, series), points in curves.items():
        place = {"row": kinds.index(kind) + 1, "col": axes.index(axis) + 1}
        color, hybrid = COLORS[series], series == "hybrid"
        figure.add_scatter(
            x=[row.at for row in points],
            y=[row.median for row in points],
            error_y={
                "array": [row.high - row.median for row in points],
                "arrayminus": [row.median - row.low for row in points],
                "thickness": 1,
                "width": 0,
            },
            mode="lines+markers",
            line={"color": color, "width": 2 if hybrid else 5},
            marker={"size": 5 if hybrid else 8, "color": color},
            zorder=2 if hybrid else 1,
            cliponaxis=False,
            showlegend=False,
            **place,
        )
        if hybrid:
            figure.add_scatter(
                x=[row.at for row in points],
                y=[foot[kind]] * len(points),
                text=_ratios(points, curves[kind, axis, "sum of its components"]),
                mode="text",
                textfont={"size": 10, "color": palette.HYBRID},
                cliponaxis=False,
                showlegend=False,
                **place,
            )
        figure.update_xaxes(
            type="log" if axis in DOUBLING else "linear",
            tickvals=[row.at for row in points],
            ticktext=[_tick(axis, int(row.at or 0)) for row in points],
            tickfont={"size": 11 if len(points) < 7 else 10},
            tickangle=0,
            title_text=AXES[axis] if kind == kinds[-1] else None,
            **place,
        )
    unit = rows[0].unit
    for i, kind in enumerate(kinds, start=1):
        reach = [math.log10(0.85 * foot[kind]), math.log10(1.15 * max(values[kind]))]
        figure.update_yaxes(type="log", range=reach, tickvals=[t for t in TICKS if t > 1.2 * foot[kind]], row=i)
        figure.update_yaxes(title_text=f"<b>{kind}</b><br>{unit}", row=i, col=1)
    words = (f'<b><span style="color:{color}">{series}</span></b>' for series, color in COLORS.items())
    figure.update_layout(
        title={"subtitle": {"text": f"{' and '.join(words)}; the small numbers are its ratio to them"}},
        font={"color": INK},
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        margin={"t": 84, "l": 92, "r": 24, "b": 60},
    )
    return figure


def _tick(axis: str, at: int) -> str:
    """Components are named in the order in which they join; other places are numbers."""
    if axis != "components":
        return str(at)
    return f"{'+ ' if at > 1 else ''}{list(FAMILIES)[at - 1]}"


def _ratios(hybrid: Sequence[Row], parts: Sequence[Row]) -> list[str]:
    pairs = zip(hybrid, parts, strict=True)
    return [f"{median(ratios(ours.values, theirs.values)):.2f}" for ours, theirs in pairs]


def write_svg(figure: go.Figure, path: Path) -> Path:
    """Writes `figure` to `path` as SVG. Raises `ManticoreError` where this system has no Chromium to draw it."""
    from playwright.sync_api import sync_playwright

    chromium = find_chromium()
    if chromium is None:
        raise ManticoreError(
            f"{path} was not drawn: figures are drawn by Chromium, and there is none on this system. Install it "
            "(apt-get install chromium), then write the page again with --page."
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.add_script_tag(content=get_plotlyjs())
        svg = page.evaluate(
            """async ([figure, width, height]) => {
                const url = await Plotly.toImage(JSON.parse(figure), {format: "svg", width, height});
                return decodeURIComponent(url.slice(url.indexOf(",") + 1));
            }""",
            [figure.to_json(), WIDTH, HEIGHT],
        )
        browser.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(svg)
    return path
