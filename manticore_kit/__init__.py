"""Pretrained hybrids: language models of different architectures, cut into blocks and joined (arXiv 2406.00894).

    import manticore_kit as mk
    hybrid = mk.ManticoreForCausalLM.from_components(["tiny-gptneo", "tiny-mamba"], blocks=2)

Names are imported when they are first used, so that `import manticore_kit` stays quick.
"""

from importlib import import_module

_HOME = {
    "Recipe": "manticore_kit.recipe",
    "build": "manticore_kit.hybrid",
    "Component": "manticore_kit.components",
    "describe": "manticore_kit.components",
    "ManticoreConfig": "manticore_kit.hybrid",
    "ManticoreForCausalLM": "manticore_kit.hybrid",
}

__all__ = sorted(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'manticore_kit' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__():
    return __all__
