"""Reports: a notebook executed headlessly and turned into one HTML page that opens with no network."""

from manticore_kit.reports.page import to_page
from manticore_kit.reports.parameters import check_parameters, declared_parameters, parse_assignments
from manticore_kit.reports.run import NotebookFailed, run_notebook
from manticore_kit.reports.workflow import find_notebook, report

__all__ = [
    "NotebookFailed",
    "check_parameters",
    "declared_parameters",
    "find_notebook",
    "parse_assignments",
    "report",
    "run_notebook",
    "to_page",
]
