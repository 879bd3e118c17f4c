"""Plotly figures: pure functions from data to `go.Figure`."""

from manticore_kit.figures.accuracies import accuracies_figure
from manticore_kit.figures.blocks import blocks_figure
from manticore_kit.figures.comparison import comparison_figure
from manticore_kit.figures.losses import losses_figure
from manticore_kit.figures.mixtures import mixtures_figure
from manticore_kit.figures.palette import component_color
from manticore_kit.figures.surfaces import compare_surfaces_figure, loss_surface_figure
from manticore_kit.figures.table import Table
from manticore_kit.figures.trajectory import curves_figure, trajectory_figure

__all__ = [
    "Table",
    "accuracies_figure",
    "blocks_figure",
    "compare_surfaces_figure",
    "comparison_figure",
    "component_color",
    "curves_figure",
    "loss_surface_figure",
    "losses_figure",
    "mixtures_figure",
    "trajectory_figure",
]
