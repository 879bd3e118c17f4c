"""A causal language model seen as embed -> layers -> head, whatever its architecture."""

from manticore_kit.allocator import keep_freed_memory
from manticore_kit.components.anatomy import Description, describe, layer_kinds
from manticore_kit.components.checks import check
from manticore_kit.components.loading import Loaded, load, load_tokenizer
from manticore_kit.components.replay import Component, Stack, Start

keep_freed_memory()

__all__ = [
    "Component",
    "Description",
    "Loaded",
    "Stack",
    "Start",
    "check",
    "describe",
    "layer_kinds",
    "load",
    "load_tokenizer",
]
