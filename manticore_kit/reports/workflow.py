"""From the name of a notebook to the path of its page.

A page that exists is never replaced unasked, nor are the files that its notebook wrote; and a page that is being made
has no name yet: readers find a whole page or none.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manticore_kit.errors import ManticoreError
from manticore_kit.reports.page import to_page
from manticore_kit.reports.run import run_notebook

NOTEBOOKS = Path("notebooks")
REPORTS = Path("reports")


def find_notebook(name: Path | str) -> Path:
    """The notebook at the path `name`, or the one of that name under ./notebooks, with or without `.ipynb`."""
    given = Path(name)
    for candidate in (given, NOTEBOOKS / given, NOTEBOOKS / f"{given}.ipynb"):
        if candidate.is_file():
            return candidate
    there = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    if not there:
        raise ManticoreError(
            f"no notebook {str(name)!r}, and there are none in {NOTEBOOKS.resolve()}: "
            "give a path, or start from the project's folder"
        )
    near = difflib.get_close_matches(given.stem, there, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ManticoreError(f"no notebook {str(name)!r}.{hint} Under notebooks/ there are: {', '.join(there)}")


def report(
    notebook: Path | str,
    *,
    parameters: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Path:
    """Execute `notebook` with `parameters`, write its page and return the page's path.

    `notebook` is a path or a name under ./notebooks. The page goes to `out`, or to reports/<notebook>.html under the
    next free number. The executed notebook lies beside it as `.executed.ipynb`, and what a notebook with a parameter
    `results` writes in the folder `.results`, unless `parameters` names another. Raises `ManticoreError` for an unknown
    notebook, parameters that do not fit, or a page or folder that exists (unless `overwrite`), and `NotebookFailed` if
    a cell fails, which leaves the executed notebook and no page.
    """
    notebook = find_notebook(notebook)
    page = Path(out) if out is not None else _next_free(notebook.stem)
    if page.suffix != ".html":
        raise ManticoreError(f"a report is one .html file; {page} ends otherwise")
    results = page.with_suffix(".results")
    if not overwrite and (taken := [path for path in (page, results) if path.exists()]):
        raise ManticoreError(f"{taken[0]} exists; name another page, or allow it to be replaced with --overwrite")
    unfinished = page.with_name(f".{os.getpid()}-{page.name}")
    try:
        executed = run_notebook(
            notebook, page.with_suffix(".executed.ipynb"), parameters, results=results, progress=progress
        )
        to_page(executed, unfinished)
        unfinished.replace(page)
    except OSError as error:
        raise ManticoreError(f"{page} could not be written: {error}; nothing half-written is left of it") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return page


def _next_free(stem: str) -> Path:
    page, number = REPORTS / f"{stem}.html", 1
    while page.exists() or page.with_suffix(".results").exists():
        number += 1
        page = REPORTS / f"{stem}-{number}.html"
    return page
