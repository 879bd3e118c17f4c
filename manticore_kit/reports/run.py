"""Execute a notebook headlessly: papermill in this process, with verdicts that can be trusted.

- Names and types of parameters are checked before a kernel starts.
- The kernel is named, so that a notebook saved under somebody else's kernel name still runs here.
- The notebook runs in its own folder, as it does in JupyterLab.
- Files that it writes, to the folder in its parameter `results`, go to a folder of this run's own.
- Only an exception says that a run failed: after a dead kernel every cell on disk reads "completed".
- A finished notebook says with which parameters and versions it ran, for its page to print.
"""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError, strip_color
from traitlets.config import Config

from manticore_kit.errors import ManticoreError
from manticore_kit.reports.parameters import check_parameters, declared_parameters

KERNEL = "python3"
RESULTS = "results"  # the parameter that names the folder for a notebook's files
# The kernel listens on local sockets where there are any: other users of the machine reach a TCP port, but not those.
SOCKETS = Config({"KernelManager": {"transport": "ipc"}} if os.name == "posix" else {})
REPORTED_PACKAGES = ("manticore-kit", "torch", "transformers", "plotly")


class NotebookFailed(ManticoreError):
    """A cell raised, or the kernel died."""


def run_notebook(
    notebook: Path | str,
    output: Path | str,
    parameters: Mapping[str, Any] | None = None,
    *,
    results: Path | str | None = None,
    progress: bool = False,
) -> Path:
    """Execute `notebook` with `parameters` and return the path of the executed notebook, `output`.

    `output` appears when the run has ended: complete, or, where a cell failed, executed up to and including that cell.
    Raises `ManticoreError` before anything runs if a parameter is unknown or of another type, and `NotebookFailed`,
    which names the cell and its error, if the run fails. `results` is the folder for a notebook that declares a
    parameter of that name, unless `parameters` names another. `progress` shows a bar of cells on standard error.
    """
    notebook, output = Path(notebook).resolve(), Path(output).resolve()
    if notebook == output:
        raise ManticoreError(f"the executed notebook would replace its source {notebook}; choose another output")
    given = dict(parameters or {})
    check_parameters(notebook, given)
    implied = {RESULTS: str(Path(results).resolve())} if results and RESULTS in declared_parameters(notebook) else {}
    values = implied | given

    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{os.getpid()}-{output.name}")
    try:
        executed = papermill.execute_notebook(
            str(notebook),
            str(unfinished),
            values,
            kernel_name=KERNEL,
            cwd=str(notebook.parent),
            progress_bar=progress,
            config=SOCKETS,
        )
        executed.metadata["manticore"] = _record(notebook, given, values)
        nbformat.write(executed, unfinished)
        unfinished.replace(output)
    except PapermillExecutionError as error:
        unfinished.replace(output)
        raise NotebookFailed(_describe_failure(notebook, output, error)) from error
    except DeadKernelError as error:
        unfinished.replace(output)
        raise NotebookFailed(
            f"{notebook.name}: the kernel died, most often for want of memory; what had run is in {output}"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return output


def _record(notebook: Path, given: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    here = Path.cwd()
    return {
        "notebook": str(notebook.relative_to(here) if notebook.is_relative_to(here) else notebook),
        "parameters": [
            {"name": p.name, "value": values.get(p.name, p.default_value), "given": p.name in given, "help": p.help}
            for p in declared_parameters(notebook).values()
        ],
        "versions": {"Python": platform.python_version()} | {name: version(name) for name in REPORTED_PACKAGES},
    }


def _describe_failure(notebook: Path, output: Path, error: PapermillExecutionError) -> str:
    first_line = next((line for line in error.source.splitlines() if line.strip()), "")
    return (
        f"{notebook.name}: cell [{error.exec_count}], which begins {first_line!r}, raised "
        f"{error.ename}: {strip_color(error.evalue)}\nThe notebook up to that cell, with the traceback: {output}"
    )
