"""The first notebook's hybrid and text to judge it on: real models and real text."""

from typing import get_args

import torch
from torch import Tensor

from benchmarks.clock import Clock
from manticore_kit import ManticoreForCausalLM
from manticore_kit.tasks.language import builtin_text

COMPONENTS = ("tiny-gptneo", "tiny-mamba")


def demo(clock: Clock, windows: int, length: int = 128) -> tuple[ManticoreForCausalLM, Tensor]:
    """The zoo's GPT-Neo and Mamba in two blocks, and held-out text (windows, length), half prose and half code.

    The projectors are aligned on that text: no time depends on what they were aligned on, and to read the training
    text, as the notebook does, takes longer than to align.
    """
    hybrid = ManticoreForCausalLM.from_components(COMPONENTS, blocks=2)
    hybrid.to(clock.device)
    prose, code = (
        builtin_text.excerpts(hybrid.tokenizer, kind, "held-out", length=length, count=windows // 2)
        for kind in get_args(builtin_text.Kind)
    )
    text = torch.cat([prose, code]).to(clock.device)
    hybrid.align(text)
    return hybrid, text
