"""The page that shows what was measured, from the JSON data alone."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.figure import scaling_figure, write_svg
from benchmarks.rows import Row, number

FIGURE = "images/benchmarks.svg"

INTRODUCTION = """\
# Benchmarks

What runs fast, what joining models costs, and which targets are missed. Everything here was measured by `make bench`;
nothing is written by hand. A figure is the median over rounds, and the spread is the middle half of them. A ratio is
taken within each round, between things that ran moments apart in the same process."""

REPEAT = """\
## To repeat it

```console
$ make bench
```

measures all of it and writes this page; `make bench ARGS=--quick` sees in minutes that everything runs. Times differ
from machine to machine, ratios much less. With a GPU the models run on it, and with mamba-ssm their scan is its kernel;
the scan's own rows, where the time goes and the start-up stay on the CPU. What is where in `benchmarks/` stands in
[its README](../benchmarks/README.md)."""

METHOD = """\
## How it was measured

The things to compare run in turn, A B C A B C …, in one process, after one round that is not counted; what is shorter
than a twentieth of a second is repeated within its round. On the CPU the time is the CPU time of the process, unless a
row says that it is a person's wait. Weights are random unless said, for no time here depends on what was learned."""


def write_page(data: dict, folder: Path) -> Path:
    """Writes `benchmarks.md` into `folder` from what `measure_groups` gave, and its figure where there is one to draw.

    Raises `ManticoreError` where the figure cannot be drawn; the page is written by then.
    """
    rows = [Row.from_data(row) for row in data["rows"]]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "benchmarks.md"
    path.write_text(page_text(data, rows))
    scaling = [row for row in rows if row.group == "scaling"]
    if scaling:
        write_svg(scaling_figure(scaling), folder / FIGURE)
    return path


def page_text(data: dict, rows: Sequence[Row]) -> str:
    """The page as Markdown."""
    titles = {group["name"]: group["title"] for group in data["groups"]}
    figures = {name: [row for row in rows if row.group == name] for name in titles}
    sections = [INTRODUCTION]
    if data["quick"]:
        sections.append("**A quick run: fewer rounds and smaller sizes than the targets are meant for.**")
    sections += [_header(data["header"]), *_targets(rows, titles)]
    if figures.get("scaling"):
        sections.append(f"## Cost against size\n\n![What a token costs in a hybrid]({FIGURE})")
    sections += _curves(row for row in rows if row.group != "scaling")
    if figures.get("shares"):
        sections.append(_shares(figures["shares"]))
    sections += _others(rows, titles)
    sections += [REPEAT, METHOD, *map(_method, data["groups"])]
    return "\n\n".join(sections) + "\n"


def _header(header: dict[str, str]) -> str:
    return _table(("measured on", header["date"]), [item for item in header.items() if item[0] != "date"])


def _targets(rows: Sequence[Row], titles: dict[str, str]) -> Iterable[str]:
    judged = [row for row in rows if row.target]
    if not judged:
        return
    missed = sum(not row.holds for row in judged)
    verdict = "All of them hold." if not missed else f"{missed} of {len(judged)} are missed."
    lines = [
        (titles[row.group], row.name, _bound(row), row.measured, row.spread, len(row.values), _verdict(row))
        for row in judged
    ]
    columns = ("", "what", "target", "measured", "spread", "rounds", "holds")
    yield f"## Targets\n\n{verdict}\n\n{_table(columns, _once(lines))}"


def _others(rows: Sequence[Row], titles: dict[str, str]) -> Iterable[str]:
    lines = [
        (titles[row.group], row.name, row.measured, row.spread, len(row.values))
        for row in rows
        if not row.target and row.at is None and row.group != "shares"
    ]
    if lines:
        yield f"## Other figures\n\n{_table(('', 'what', 'measured', 'spread', 'rounds'), _once(lines))}"


def _curves(rows: Iterable[Row]) -> Iterable[str]:
    """A table for each curve that has no place in the figure."""
    curves: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.at is not None:
            curves.setdefault((row.name, row.unit), []).append(row)
    for (name, unit), points in curves.items():
        places = [f"{row.at:,g}" for row in points]
        yield _table((name, *places), [(unit, *(number(row.median) for row in points))])


def _shares(rows: Sequence[Row]) -> str:
    """The shares of time side by side, a column for each kind of work."""
    table: dict[str, dict[str, Row]] = {}
    for row in rows:
        kind, what = row.name.split(", ", 1)
        table.setdefault(what, {})[kind] = row
    kinds = list(dict.fromkeys(kind for shares in table.values() for kind in shares))
    order = sorted(table, key=lambda what: -max(row.median for row in table[what].values()))
    lines = [(what, *(f"{table[what][kind].median:.1f} %" for kind in kinds)) for what in order]
    return f"## Where the time goes\n\n{_table(('operators', *kinds), lines)}"


def _method(group: dict) -> str:
    sizes = ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in group["sizes"].items())
    return f"**{group['title']}.** {' '.join(group['method'].split())}" + (f" ({sizes}.)" if sizes else "")


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _bound(row: Row) -> str:
    comparison, bound = row.target.split()
    sign = {"<=": "≤", ">=": "≥", "<": "under", ">": "over"}[comparison]
    return f"{sign} {f'{float(bound):,.0f}' if float(bound) >= 1000 else bound} {row.unit}"


def _verdict(row: Row) -> str:
    return "yes" if row.holds else "**no**"


def _once(lines: Sequence[tuple]) -> Iterable[tuple]:
    """The lines with the first cell left empty where it repeats the one above."""
    above = None
    for first, *rest in lines:
        yield ("" if first == above else first, *rest)
        above = first


def _table(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    cells = [columns, ["---"] * len(columns), *lines]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in cells)
