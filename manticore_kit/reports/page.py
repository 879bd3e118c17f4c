"""An executed notebook as one HTML page that opens anywhere, with no network.

- plotly.js is inlined once; each figure is its JSON beside a numbered div, drawn and coloured by `page.js`.
- Code is folded, widgets are stilled, formulas are MathML.
- A content security policy lets no script run but the page's own and nothing be fetched, whatever the outputs hold.

The page itself is the template in `template/manticore`.
"""

import json
import secrets
import shlex
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from plotly.offline import get_plotlyjs
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from manticore_kit.reports.markdown import markdown_to_html, tex_to_mathml
from manticore_kit.reports.widgets import StillWidgets

PLOTLY = "application/vnd.plotly.v1+json"

# Of the forms that an output comes in, the first of these is shown; no form that would need a script of its own.
PREFERENCE = [
    PLOTLY,
    "text/html",
    "text/markdown",
    "image/svg+xml",
    "text/latex",
    "image/png",
    "image/jpeg",
    "text/plain",
]


def to_page(executed_notebook: Path | str, html: Path | str) -> Path:
    """Write the page of an executed notebook to `html` and return that path."""
    notebook = nbformat.read(executed_notebook, as_version=4)
    title = _take_title(notebook) or Path(executed_notebook).stem
    body, _ = PageExporter().from_notebook_node(notebook, resources={"page": _page_facts(notebook, title)})
    html = Path(html)
    html.parent.mkdir(parents=True, exist_ok=True)
    html.write_text(body, encoding="utf-8")
    return html


class NumberFigures(Preprocessor):
    """Numbers the figures of the page, and says whether there are any."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        outputs = [output for cell in nb.cells if cell.cell_type == "code" for output in cell.outputs]
        figures = [output for output in outputs if PLOTLY in output.get("data", {})]
        for number, output in enumerate(figures, start=1):
            output.metadata["figure"] = number
        resources["plotly_js"] = get_plotlyjs() if figures else ""
        return nb, resources


class PageExporter(HTMLExporter):
    """nbconvert's HTML exporter with this project's template, figures as data and no script from elsewhere."""

    def __init__(self, **traits: Any):
        super().__init__(
            template_name="manticore",
            extra_template_basedirs=[str(Path(__file__).parent / "template")],
            preprocessors=[StillWidgets, NumberFigures],
            **traits,
        )

    @property
    def default_config(self) -> Config:
        config = Config(super().default_config)
        config.merge(
            {
                "NbConvertBase": {"display_data_priority": PREFERENCE},
                # The header shows the parameters.
                "TagRemovePreprocessor": {"enabled": True, "remove_cell_tags": {"injected-parameters"}},
            }
        )
        return config

    def default_filters(self):
        yield from super().default_filters()
        yield "markdown_to_html", _markdown_filter
        yield "tex_to_mathml", lambda tex: tex_to_mathml(tex.strip("$ \n"), block=True)
        yield "script_json", _script_json
        yield "code_css", lambda style: HtmlFormatter(style=style).get_style_defs(".highlight")


@pass_context
def _markdown_filter(context, source: str) -> str:
    return markdown_to_html(source, context.get("cell", {}).get("attachments"))


def _script_json(value: Any) -> str:
    """JSON that cannot end, or comment out, the script element that holds it."""
    return json.dumps(value).replace("<", "\\u003c")


def _take_title(notebook: NotebookNode) -> str | None:
    """Remove the heading that opens the notebook, which the page's header shows, and return its text."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            first, _, rest = cell.source.lstrip().partition("\n")
            if not first.startswith("# "):
                return None
            cell.source = rest
            return first.removeprefix("# ").strip()
    return None


def _page_facts(notebook: NotebookNode, title: str) -> dict[str, Any]:
    """What the header shows: title, and, as far as the notebook has them, when, how long, with what and how again."""
    papermill, ours = notebook.metadata.get("papermill", {}), notebook.metadata.get("manticore", {})
    facts = {"title": title, "nonce": secrets.token_urlsafe(16), **ours}
    if papermill.get("end_time"):
        facts["date"] = f"{datetime.fromisoformat(papermill['end_time']):%-d %B %Y, %H:%M} UTC"
    if papermill.get("duration"):
        facts["duration"] = _spoken(timedelta(seconds=round(papermill["duration"])))
    if ours:
        given = [parameter for parameter in ours["parameters"] if parameter["given"]]
        assignments = [f"{parameter['name']}={_shell_value(parameter['value'])}" for parameter in given]
        flags = [word for assignment in assignments for word in ("-p", assignment)]
        facts["command"] = shlex.join(["manticore", "report", ours["notebook"], *flags])
    return facts


def _shell_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _spoken(duration: timedelta) -> str:
    """61 seconds as '1 min 1 s'."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (seconds, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "under 1 s"
