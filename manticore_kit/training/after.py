"""What follows a search: rows taken from where they were found, and the soft mixture made discrete.

- *Keep*: nothing follows.
- *Retrain*: the found rows are frozen, and all else is trained again from the start.
- *Discretise*: each row to a one-hot, by the largest weight or by a beam search on the search windows; the smaller
  hybrid goes on from the searched weights.
- *Program*: rows found elsewhere, such as on proxy tasks, are frozen in a pretrained hybrid (paper, section 3).
"""

import json
from pathlib import Path
from typing import Any, Literal

import yaml

from manticore_kit.analysis.discrete import beam_one_hots, mixture_put_back
from manticore_kit.errors import ManticoreError
from manticore_kit.proxy_result import ProxyResult, result_file
from manticore_kit.recipe import check_rows


def rows_from(source: str | Path) -> list[list[float]]:
    """The mixture that a file or run folder holds, a row per block.

    `source` is a run's folder, or a YAML or JSON file that is a list of rows or has one under `mixture` (a recipe, a
    run's result), or a MAD result, of which it is the mean over all tasks. Raises `ManticoreError` where there is none.
    """
    file = Path(source).expanduser()
    if file.is_dir():
        own = file / "result.json"
        file = own if own.is_file() or not result_file(file).is_file() else result_file(file)
    try:
        text = file.read_text(encoding="utf-8")
        found: Any = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ManticoreError(
            f"No mixture can be read from {str(source)!r} ({reason}). Name a run's folder, or a YAML or JSON file with "
            "rows such as [[0.5, 0.5], [0.2, 0.8]], by themselves or under `mixture`."
        ) from None
    if isinstance(found, dict) and "tasks" in found:
        return ProxyResult.parse(found, str(file)).mixture()
    rows = found.get("mixture") if isinstance(found, dict) else found
    try:
        return check_rows(rows)
    except (ValueError, TypeError) as error:
        raise ManticoreError(f"{file} holds no mixture: {error}.") from None


def discretised(hybrid: Any, search_windows: Any, by: Literal["nearest", "beam"] = "nearest") -> Any:
    """A discretised copy of `hybrid`: rows to their nearest one-hot, or to the best that a beam search finds.

    The beam search judges on `search_windows` (windows, length). `hybrid` keeps its own mixture.
    """
    if by == "nearest":
        return hybrid.discretize()
    with mixture_put_back(hybrid):
        hybrid.set_mixture(beam_one_hots(hybrid, search_windows).rows)
        return hybrid.discretize()
