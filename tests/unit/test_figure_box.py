"""The figure that changes while something runs: what it keeps is what a page and a saved notebook show."""

import threading

import plotly.graph_objects as go
from manticore_widgets.figure_box import MIME, FigureBox


def test_it_keeps_the_last_figure_alone():
    box = FigureBox()
    box.show(go.Figure(go.Scatter(y=[1, 2]), layout={"title": "first"}))
    box.show(go.Figure(go.Scatter(y=[3, 4]), layout={"title": "</script><b>second</b>"}))
    (output,) = box.outputs
    assert output["output_type"] == "display_data"
    assert output["data"][MIME]["layout"]["title"]["text"] == "</script><b>second</b>"
    assert len(output["data"][MIME]["data"]) == 1


def test_it_is_filled_from_another_thread():
    box = FigureBox()
    thread = threading.Thread(target=box.show, args=(go.Figure(go.Scatter(y=[1.5])),))
    thread.start()
    thread.join()
    assert box.outputs[0]["data"][MIME]["data"][0]["type"] == "scatter"
