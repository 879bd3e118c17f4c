"""Small stand-ins for a recipe's components: the same families with random weights, at MAD's size.

A proxy has as many blocks as the hybrid that it stands for, and for each block of each component the same number of
layers. Sizes are those of the MAD protocol: width 128, heads of 8, state-space models of state 4.
"""

from collections.abc import Mapping
from typing import Any

from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from manticore_kit.components.loading import family_of
from manticore_kit.recipe import ComponentSpec, Recipe

# Of a head, and of the state of a state-space model (MAD protocol).
_HEAD, _STATE = 8, 4


def proxy_recipe(recipe: Recipe, *, vocab_size: int, length: int, width: int, layers: int, seed: int) -> Recipe:
    """A recipe for `recipe`'s families from scratch: `layers` to a block, for rows of `length` tokens.

    Components that have a `config` of their own keep it, with the task's vocabulary. Projectors start from the
    identity, as there is nothing to align. Raises `ManticoreError` for names that nothing answers to.
    """
    blocks = recipe.num_blocks
    return Recipe.parse(
        {
            "components": [
                _proxy(spec, blocks=blocks, vocab_size=vocab_size, length=length, width=width, layers=layers)
                for spec in recipe.components
            ],
            "blocks": blocks,
            "ends": recipe.ends,
            "projector": {"kind": recipe.projector.kind, "init": "identity"},
            "seed": seed,
        },
        "proxy",
    )


def _proxy(spec: ComponentSpec, *, blocks: int, **sizes: int) -> dict[str, Any]:
    if spec.config is not None:
        return {"model": spec.model, "config": {**spec.config, "vocab_size": sizes["vocab_size"]}}
    family = family_of(spec.model, trust_remote_code=spec.trust_remote_code)
    return {"model": family, "config": proxy_config(family, **{**sizes, "layers": blocks * sizes["layers"]})}


def proxy_config(family: str, *, vocab_size: int, length: int, width: int, layers: int) -> dict[str, Any]:
    """Settings of the architecture `family` at MAD's size, for `layers` layers of `width` and rows of `length` tokens.

    What a family calls otherwise, or does not have, is left to its own defaults.
    """
    default = CONFIG_MAPPING[family]()
    heads = max(1, width // _HEAD)
    recurrent = hasattr(default, "state_size")
    wanted: Mapping[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": _HEAD,
        "intermediate_size": (2 if recurrent else 4) * width,
        "state_size": _STATE,
        "max_position_embeddings": length + 1,
    }
    known = {*default.to_dict(), *default.attribute_map}
    settings = {name: value for name, value in wanted.items() if name in known}
    if {"num_heads", "head_dim", "expand"} <= known:  # Mamba-2's heads share out its inner width
        settings["num_heads"] = default.expand * width // _HEAD
    if family == "gpt_neo":  # its layers are named one by one
        settings["attention_types"] = [[["global"], layers]]
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if name in known:
            settings[name] = None
    return settings
