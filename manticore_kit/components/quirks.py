"""The few architectures that must be prepared before they can be replayed, each in one function.

Everything else about a component is found out from the model itself. A family belongs here only when its model
does something between its layers that their arguments do not show.
"""

from typing import Any

from transformers import PreTrainedModel

from manticore_kit.errors import ManticoreError


def make_replayable(model: PreTrainedModel) -> None:
    """Prepares `model` in place so that its layers can be run outside of its own loop."""
    prepare = _QUIRKS.get(model.config.model_type)
    if prepare is not None:
        prepare(model)
    _switch_off_layer_drop(model)


def _undo_rescaling(model: PreTrainedModel) -> None:
    """RWKV halves its state every few layers in evaluation and scales its weights to match (an fp16 measure)."""
    base: Any = model.base_model
    if base.layers_are_rescaled:
        base.train()
        base._rescale_layers()
        base.layers_are_rescaled = False
    model.config.rescale_every = 0


def _switch_off_layer_drop(model: PreTrainedModel) -> None:
    """Layers that are skipped at random in training (OPT and others) would leave holes in a block."""
    for name in ("layerdrop", "layer_drop"):
        if getattr(model.config, name, 0):
            setattr(model.config, name, 0.0)
        for module in model.modules():
            if name in module.__dict__:
                if not isinstance(module.__dict__[name], int | float):
                    raise ManticoreError(f"{type(model).__name__}: cannot switch off its {name}")
                setattr(module, name, 0.0)


_QUIRKS = {"rwkv": _undo_rescaling}
