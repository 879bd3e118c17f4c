"""Many runs: a list of trials through a pool of processes, each on disk before it counts."""

from manticore_kit.runs.pool import run_trials

__all__ = ["run_trials"]
