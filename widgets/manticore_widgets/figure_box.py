"""A figure that changes while something runs."""

import json

import ipywidgets
import plotly.graph_objects as go

MIME = "application/vnd.plotly.v1+json"


class FigureBox(ipywidgets.Output):
    """Shows the figure that it was last given, also from another thread, and keeps it when the notebook is saved.

    Plotly's own FigureWidget puts a copy of the plotting library into every notebook.
    """

    def show(self, figure: go.Figure) -> None:
        """Replaces what is shown by `figure`."""
        bundle = {MIME: json.loads(figure.to_json() or "{}")}
        self.outputs = ({"output_type": "display_data", "data": bundle, "metadata": {}},)
