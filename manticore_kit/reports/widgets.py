"""Live widgets become what they last showed.

A widget lives in the page of JupyterLab and nowhere else. What an Output widget holds (a figure box's figure, a panel's
text) is in the notebook's widget state, so it takes the widget's place among the cell's outputs, and the rest of the
state is dropped.
"""

from collections.abc import Iterator
from typing import Any

from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_output

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
REFERENCE = "IPY_MODEL_"

# A finished progress bar says nothing; anything else that people could have moved is worth a line.
PROGRESS_BARS = {"FloatProgressModel", "IntProgressModel"}
CONTROL_NOTE = "A live control stands here in the notebook."


class StillWidgets(Preprocessor):
    """Replaces each widget among the outputs by the outputs that it held at the end."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        models = nb.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
        for cell in nb.cells:
            if cell.cell_type == "code":
                cell.outputs = [still for output in cell.outputs for still in _still(output, models)]
        return nb, resources


def _still(output: NotebookNode, models: dict[str, Any]) -> list[NotebookNode]:
    if VIEW not in output.get("data", {}):
        return [output]
    family = list(_descend(output.data[VIEW]["model_id"], models))
    held = [inner for model in family for inner in model["state"].get("outputs", ())]
    if held:
        return [still for inner in held for still in _still(NotebookNode(inner), models)]
    if any(model["model_name"] in PROGRESS_BARS for model in family):
        return []
    return [new_output("display_data", {"text/html": f"<p class='control'>{CONTROL_NOTE}</p>"})]


def _descend(model_id: str, models: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The widget and, depth first, all widgets inside it, in the order shown."""
    model = models.get(model_id)
    if model is None:
        return
    yield model
    for child in model["state"].get("children", ()):
        yield from _descend(str(child).removeprefix(REFERENCE), models)
