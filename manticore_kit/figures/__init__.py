"""Plotly figures: pure functions from data to `go.Figure`."""

from manticore_kit.figures.blocks import blocks_figure
from manticore_kit.figures.losses import losses_figure
from manticore_kit.figures.palette import component_color
from manticore_kit.figures.surfaces import compare_surfaces_figure, loss_surface_figure
from manticore_kit.figures.table import Table

__all__ = [
    "Table",
    "blocks_figure",
    "compare_surfaces_figure",
    "component_color",
    "loss_surface_figure",
    "losses_figure",
]
