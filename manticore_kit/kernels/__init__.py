"""Fast functions for state-space models on the CPU, and their place inside the library's models."""

from manticore_kit.kernels.compiled import kernels_off
from manticore_kit.kernels.selective_scan import selective_scan
from manticore_kit.kernels.use import install_for, library_scan, status

__all__ = ["install_for", "kernels_off", "library_scan", "selective_scan", "status"]
