"""Why a checkpoint is refused: what its configuration says, what reading it raised, and what its weights hold.

Nothing here runs anything that a checkpoint brings. A refusal names the model, what is wrong with it, and what would
be accepted.
"""

import errno
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from manticore_kit.components import hub
from manticore_kit.errors import ManticoreError

HYBRID = "manticore"  # the model type of a hybrid's configuration


def place(name: str, where: str) -> str:
    """A model's name and, where that is another, the folder that it is in, for messages."""
    return repr(name) if name == where else f"{name!r} ({where})"


# ------------------------------------------------------------------------------------------------ the configuration


def refuse_unsuitable(name: str, config: Mapping, trust_remote_code: bool) -> None:
    """Raises `ManticoreError` where a config.json describes no causal language model that may be run here."""
    kind = config.get("model_type")
    if kind == HYBRID:
        raise ManticoreError(is_a_hybrid(name))
    if kernel := next(_named_kernels(config), None):
        raise ManticoreError(
            f"{name!r}: its config.json asks for {kernel!r}, code that would be fetched from the hub and run. Remove "
            "that setting from config.json; the model then runs on the code that is installed."
        )
    if isinstance(kind, str) and kind in CONFIG_MAPPING:
        # Architectures of transformers run its own code, whatever code the checkpoint brings along.
        if CONFIG_MAPPING[kind] not in MODEL_FOR_CAUSAL_LM_MAPPING:
            raise ManticoreError(
                f"{name!r} is a {kind!r} model, which has no causal language model in transformers (it is an encoder, "
                "an encoder-decoder or another kind of model). Components are decoders: GPT, Llama, Mamba, …"
            )
    elif "auto_map" in config:
        if not trust_remote_code:
            raise ManticoreError(
                f"{name!r} needs Python code from its repository to run (model type {kind!r}), and that code is not "
                "run unless asked for. Read it first; then set `trust_remote_code: true` on this component."
            )
    elif kind is None:
        raise ManticoreError(
            f"{name!r}: its config.json names no `model_type`, so its architecture is unknown. Name a model that was "
            "saved by transformers (or an original `state-spaces/mamba` checkpoint)."
        )
    else:
        near = ", ".join(hub.near_names(str(kind), list(hub.architectures())))
        raise ManticoreError(
            f"{name!r}: config.json names the model type {kind!r}, which this version of transformers does not know. "
            f"Near names: {near or 'none'}."
        )


def is_a_hybrid(name: str) -> str:
    """What to say of a hybrid that is given as a component."""
    return (
        f"{name!r} is a hybrid already and cannot be a component; load it with ManticoreForCausalLM.from_pretrained, "
        "or name the models that it was made of (they are in its recipe.yaml)."
    )


def _named_kernels(config: Mapping) -> Iterator[str]:
    """Settings, at any depth, that name an implementation by a hub id; transformers would fetch and run it."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _named_kernels(value)
        elif isinstance(value, str) and "/" in value and "implementation" in key:
            yield value


# ----------------------------------------------------------------------------------------------- reading the weights


@contextmanager
def explained(name: str, where: str) -> Iterator[None]:
    """Turns whatever reading a checkpoint raises into one sentence about it."""
    try:
        yield
    except ManticoreError as error:
        raise ManticoreError(f"{place(name, where)}: {error}") from error
    except Exception as error:
        raise ManticoreError(f"{place(name, where)}: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, pickle.UnpicklingError):
        return (
            "its weights are a pickle that would run code when read, or are damaged, so it was refused (only plain "
            "tensors are read). Ask its author for safetensors, or convert it where you trust it"
        )
    # torch's reader falls over the end of a file in its own ways: no zip archive, a seek to nowhere.
    broken = isinstance(error, OSError) and error.errno == errno.EINVAL
    if broken or isinstance(error, SafetensorError | EOFError) or "zip archive" in text:
        return f"a weights file is damaged or cut short ({text[:160]}). Copy or download it again"
    if isinstance(error, OSError):
        return (
            f"its files cannot be read ({text[:200]}). A model folder holds config.json, the weights (*.safetensors) "
            "and usually a tokenizer, as `save_pretrained` writes them"
        )
    return f"it cannot be loaded ({type(error).__name__}: {text[:300]})"


def refuse_misfits(name: str, config: Mapping, model: PreTrainedModel, report: Mapping) -> None:
    """Raises `ManticoreError` where a checkpoint lacks weights of `model` or has them in another shape.

    `report` is what `from_pretrained(output_loading_info=True)` gives.
    """
    saved_as = ", ".join(config.get("architectures") or []) or "an architecture that config.json does not name"
    mismatched = report["mismatched_keys"]
    advice = (
        f"It was saved as {saved_as} and read as {type(model).__name__}; weights and config.json must belong together, "
        "and the model must be a causal language model."
    )
    if mismatched:
        weight, found, wanted = min(mismatched)
        raise ManticoreError(
            f"{name!r}: weights of another shape than config.json says ({len(mismatched)} in all): {weight} is "
            f"{tuple(found)} and must be {tuple(wanted)}. {advice}"
        )
    if missing := sorted(report["missing_keys"]):
        such_as = ", ".join(missing[:3])
        raise ManticoreError(
            f"{name!r}: the checkpoint lacks weights ({len(missing)} in all), such as {such_as}. {advice}"
        )


# ------------------------------------------------------------------------------------------------- the loaded weights


def refuse_unusable(name: str, model: PreTrainedModel) -> None:
    """Raises `ManticoreError` where a loaded model has no head, or weights that are absent or not finite."""
    if model.config.model_type == HYBRID:
        raise ManticoreError(is_a_hybrid(name))
    if model.get_output_embeddings() is None:
        raise ManticoreError(
            f"{name!r} is a {type(model).__name__}, which has no language-model head. Give the class that has one, as "
            "AutoModelForCausalLM loads it."
        )
    for weight, parameter in model.named_parameters():
        if parameter.is_meta:
            raise ManticoreError(
                f"{name!r}: {weight} has a shape and no values (it is on torch's meta device). Load the model with its "
                "weights, on one device."
            )
        if parameter.is_floating_point() and parameter.itemsize > 1 and not _is_finite(parameter.detach()):
            raise ManticoreError(
                f"{name!r}: {weight} holds NaN or infinite values, so the model has no use. Take another checkpoint."
            )


def _is_finite(weights: torch.Tensor) -> bool:
    """Whether no weight is NaN or infinite, found without a copy or a mask of them: either shows in the extremes."""
    return weights.numel() == 0 or bool(torch.isfinite(torch.stack(torch.aminmax(weights))).all())
