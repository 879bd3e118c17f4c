"""Hands-on analysis of hybrids: held-out losses over mixtures, comparisons with intervals, cost."""

from manticore_kit.analysis.comparison import Comparison, PairedDifference, compare_losses
from manticore_kit.analysis.cost import folder_bytes, parameters_by_part
from manticore_kit.analysis.live import LiveLosses
from manticore_kit.analysis.significance import Difference, Interval, mean_interval, paired_difference
from manticore_kit.analysis.surface import Axis, Corner, LossSurface, loss_surface
from manticore_kit.analysis.units import bits_per_byte, bytes_per_token, perplexity

__all__ = [
    "Axis",
    "Comparison",
    "Corner",
    "Difference",
    "Interval",
    "LiveLosses",
    "LossSurface",
    "PairedDifference",
    "bits_per_byte",
    "bytes_per_token",
    "compare_losses",
    "folder_bytes",
    "loss_surface",
    "mean_interval",
    "paired_difference",
    "parameters_by_part",
    "perplexity",
]
