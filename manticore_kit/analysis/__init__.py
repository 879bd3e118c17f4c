"""Hands-on analysis of hybrids: held-out losses over mixtures, intervals, cost."""

from manticore_kit.analysis.cost import folder_bytes, parameters_by_part
from manticore_kit.analysis.live import LiveLosses
from manticore_kit.analysis.significance import Difference, Interval, mean_interval, paired_difference
from manticore_kit.analysis.surface import Axis, Corner, LossSurface, loss_surface

__all__ = [
    "Axis",
    "Corner",
    "Difference",
    "Interval",
    "LiveLosses",
    "LossSurface",
    "folder_bytes",
    "loss_surface",
    "mean_interval",
    "paired_difference",
    "parameters_by_part",
]
