"""Components with random weights: an architecture, of transformers or of this package, and its settings."""

import os
from collections.abc import Mapping

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from manticore_kit.components import hub
from manticore_kit.errors import ManticoreError
from manticore_kit.models import ARCHITECTURES


def random_model(name: str, settings: Mapping, seed: int) -> PreTrainedModel:
    """A model of the architecture `name` (a model type or a causal-LM class), its weights drawn with `seed`.

    Raises `ManticoreError` for unknown architectures and settings, and for models larger than this machine's memory.
    """
    config = _configuration(name, settings)
    try:
        with torch.device("meta"):
            size = sum(p.numel() * p.itemsize for p in AutoModelForCausalLM.from_config(config).parameters())
        _refuse_oversized(name, size)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return AutoModelForCausalLM.from_config(config).eval()
    except ManticoreError:
        raise
    except Exception as error:
        raise ManticoreError(_cannot_be_built(name, settings, error)) from error


def _configuration(name: str, settings: Mapping) -> PreTrainedConfig:
    kind = model_type(name)
    try:
        default = CONFIG_MAPPING[kind]()
    except Exception as error:
        raise ManticoreError(_cannot_be_built(name, {}, error)) from error
    known = sorted({*default.to_dict(), *default.attribute_map} - {"model_type", "transformers_version"})
    if unknown := [str(key) for key in settings if key not in known]:
        near = hub.near_names(unknown[0], known)
        raise ManticoreError(
            f"{name!r}: {type(default).__name__} has no setting {unknown[0]!r}; near names: "
            f"{', '.join(near) or 'none, it has ' + ', '.join(known)}."
        )
    try:
        return AutoConfig.for_model(kind, **settings)
    except Exception as error:
        raise ManticoreError(_cannot_be_built(name, settings, error)) from error


def model_type(name: str) -> str:
    kinds = hub.architectures()
    if name in kinds:
        return name
    if own := [kind for kind in ARCHITECTURES if kinds[kind] == name]:
        return own[0]
    if name in kinds.values():
        # Several model types may share a class (gpt-sw3 is a GPT-2); the class knows its own.
        return getattr(transformers, name).config_class.model_type
    near = hub.near_names(name, [*kinds, *kinds.values()])
    raise ManticoreError(
        f"{name!r} with `config:` must name an architecture (a model type or a causal-LM class); "
        f"near names: {', '.join(near) or 'none; examples are gpt_neo, llama, mamba'}."
    )


def _cannot_be_built(name: str, settings: Mapping, error: Exception) -> str:
    return f"{name!r} cannot be built from {dict(settings)}: {' '.join(str(error).split()) or type(error).__name__}"


def _refuse_oversized(name: str, size: int) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise ManticoreError(
            f"{name!r} with these settings would have random weights of {size / 2**30:,.0f} GiB, but this machine has "
            f"{memory / 2**30:,.0f} GiB of memory. What `config:` leaves out takes the architecture's default size; "
            "set its width, depth and vocabulary (such as hidden_size, num_hidden_layers, vocab_size)."
        )
