"""The processes that train together, as accelerate knows them."""

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env


def on_cpu() -> bool:
    """Whether training is on the CPU: there is no accelerator, or the launcher was told to leave it alone."""
    return not torch.accelerator.is_available() or bool(parse_flag_from_env("ACCELERATE_USE_CPU"))


def processes() -> PartialState:
    """All processes of this training. Without being told, accelerate takes those on CPUs for strangers."""
    return PartialState(cpu=on_cpu())


def is_first_process() -> bool:
    """Whether this is the process that writes, of several."""
    return processes().is_main_process
