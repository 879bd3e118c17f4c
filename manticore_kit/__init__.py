"""Pretrained hybrids: language models of different architectures, cut into blocks and joined (arXiv 2406.00894).

    import manticore_kit as mk
    hybrid = mk.ManticoreForCausalLM.from_components(["tiny-gptneo", "tiny-mamba"], blocks=2)

Names are imported when they are first used, so that `import manticore_kit` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manticore_kit.components import Component, describe
    from manticore_kit.hybrid import ManticoreConfig, ManticoreForCausalLM, build
    from manticore_kit.recipe import Recipe

__all__ = ["Component", "ManticoreConfig", "ManticoreForCausalLM", "Recipe", "build", "describe"]
__version__ = "0.1.0"

_HOME = {
    "Component": "manticore_kit.components",
    "ManticoreConfig": "manticore_kit.hybrid",
    "ManticoreForCausalLM": "manticore_kit.hybrid",
    "Recipe": "manticore_kit.recipe",
    "build": "manticore_kit.hybrid",
    "describe": "manticore_kit.components",
}


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'manticore_kit' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__():
    return __all__
