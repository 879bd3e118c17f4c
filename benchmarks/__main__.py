"""The benchmarks' command: measures the groups in turn, keeps every round in one JSON file and writes the page.

python -m benchmarks                              all of it: build/benchmarks.json and docs/benchmarks.md
python -m benchmarks --only scan --only hybrid    some groups; the page is written beside the JSON file
python -m benchmarks --quick                      smaller and fewer rounds, to see that everything runs
python -m benchmarks --page build/benchmarks.json the page and its figure, from what was measured before
"""

import inspect
import json
import sys
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers.utils.logging import disable_progress_bar

from benchmarks import environment
from benchmarks.clock import Clock
from benchmarks.groups import GROUPS
from benchmarks.page import write_page
from manticore_kit.errors import ManticoreError

DOCS = Path(__file__).parents[1] / "docs"


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"A group, once for each: {', '.join(GROUPS)}.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller sizes, fewer rounds.")] = False,
    out: Annotated[Path, typer.Option(help="The folder for benchmarks.json.")] = Path("build"),
    page: Annotated[
        Path | None, typer.Option(exists=True, help="Measure nothing: write the page from this JSON file.")
    ] = None,
) -> None:
    """Measure, side by side and in turn; every figure is written with its rounds."""
    if page is not None:
        _write(json.loads(page.read_text()), DOCS)
        return
    if unknown := sorted(set(only or ()) - set(GROUPS)):
        raise typer.BadParameter(f"{', '.join(unknown)}: there is no such group; there are {', '.join(GROUPS)}")
    disable_progress_bar()
    data = measure_groups(only or list(GROUPS), out / "benchmarks.json", quick=quick)
    _write(data, out if quick or only else DOCS)


def _write(data: dict, folder: Path) -> None:
    try:
        print(write_page(data, folder))
    except ManticoreError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


def measure_groups(names: list[str], file: Path, *, quick: bool) -> dict:
    """What the named groups measured, as plain data; `file` has it too, and grows with every group."""
    torch.set_num_threads(1)
    clock = Clock(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    data: dict = {"header": environment.describe(clock), "quick": quick, "groups": [], "rows": []}
    file.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        group = GROUPS[name]
        sizes = group.QUICK if quick else {}
        print(name, flush=True)
        start = time.perf_counter()
        for row in group.rows(clock, **sizes):
            data["rows"].append(row.as_data())
            print(f"  {row}", flush=True)
        title, _, method = (inspect.getdoc(group) or name).partition("\n")
        data["groups"].append(
            {"name": name, "title": title, "method": method.strip(), "sizes": group.rows.__kwdefaults__ | sizes}
        )
        file.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
        print(f"  {time.perf_counter() - start:.0f} s", flush=True)
    return data


if __name__ == "__main__":
    typer.run(main)
