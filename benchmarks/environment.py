"""Where the figures were measured: versions, processor, threads, and what there is of CUDA."""

import importlib
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.clock import Clock
from manticore_kit import kernels


def describe(clock: Clock) -> dict[str, str]:
    """What the page's header says of this machine and this run, as names and values."""
    cuda = clock.device.type == "cuda"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "manticore-kit": version("manticore-kit"),
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "instruction set that torch uses": torch.backends.cpu.get_cpu_capability(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "threads": str(torch.get_num_threads()),
        "CUDA": f"{torch.version.cuda}, {torch.cuda.get_device_name(clock.device)}" if cuda else "none",
        "mamba-ssm": _mamba_ssm(),
        "kernels": kernels.status(),
        "models run on": "the GPU" if cuda else "the CPU",
        "time is": "wall time, with the GPU's work waited for" if cuda else "CPU time of the process",
    }


def _processor() -> str:
    """The processor's name as Linux has it; elsewhere what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _mamba_ssm() -> str:
    try:
        importlib.import_module("mamba_ssm")
    except ModuleNotFoundError:
        return "not installed"
    except Exception as error:  # a build for another torch or CUDA fails in whichever way it likes
        return f"cannot be imported ({type(error).__name__})"
    return version("mamba-ssm")
