"""Component models by name: zoo, folder, hub, or an architecture with random weights.

One function, `load`, takes whatever a recipe or a user may name, and gives a self-checked component with its
tokenizer. Weights that are missing, damaged or of another shape are errors here; nothing is filled in at random
unless random weights were asked for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from manticore_kit import zoo
from manticore_kit.components import hub, mamba_checkpoint
from manticore_kit.components.checks import check
from manticore_kit.components.replay import Component
from manticore_kit.errors import ManticoreError
from manticore_kit.kernels import install_for


@dataclass
class Loaded:
    """A self-checked component and its tokenizer, None where the model came without one."""

    component: Component
    tokenizer: PreTrainedTokenizerBase | None = None


def load(
    source: "str | Path | PreTrainedModel | Component | Loaded",
    *,
    config: Mapping | None = None,
    trust_remote_code: bool = False,
    seed: int = 0,
) -> Loaded:
    """The component that `source` names.

    `source` is a zoo name, a folder, a hub id, or a model that is loaded already; with `config` it is an architecture
    (a model type such as `gpt_neo` or a class such as `GPTNeoForCausalLM`) whose weights are drawn with `seed`.

    Raises `ManticoreError` for names that nothing answers to, weights that do not fit, models that need remote code
    (unless trusted) and models that fail the self-check.
    """
    if isinstance(source, Loaded):
        return source
    if isinstance(source, Component):
        return Loaded(source)
    if isinstance(source, PreTrainedModel):
        install_for(source)
        return Loaded(check(source, _own_name(source)))
    name = str(source)
    if config is not None:
        model = _random(name, config, seed)
        install_for(model)
        return Loaded(check(model, name))
    where, local_only = _locate(name)
    model = _read(name, where, local_only, trust_remote_code)
    install_for(model)
    return Loaded(check(model, name), _tokenizer(where, local_only, trust_remote_code))


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a zoo model, folder or hub id."""
    where, local_only = _locate(name)
    tokenizer = _tokenizer(where, local_only, trust_remote_code)
    if tokenizer is None:
        raise ManticoreError(f"{name!r} comes without a tokenizer. Name a model or folder that has one.")
    return tokenizer


def _own_name(model: PreTrainedModel) -> str:
    path = model.name_or_path
    return Path(path).name if path and Path(path).is_dir() else path or model.config.model_type


# --------------------------------------------------------------------------------------------------- where it is


def _locate(name: str) -> tuple[str, bool]:
    """Folder or hub id of `name`, and whether to stay off the network."""
    if name in zoo.names():
        return str(zoo.path(name)), True
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder), True
    if folder.is_file() or name.startswith((".", "/", "~")):
        what = "is a file" if folder.is_file() else "does not exist"
        raise ManticoreError(f"Model folder {name!r} {what}. Name the folder that holds config.json and *.safetensors.")
    if name in hub.architectures() or name in hub.architectures().values():
        raise ManticoreError(
            f"{name!r} is an architecture, not a trained model. Give `config:` (for example hidden_size and "
            f"num_hidden_layers) for random weights, or name a model: {', '.join(zoo.names())}, a folder or a hub id."
        )
    return name, not hub.find_on_hub(name)


# ------------------------------------------------------------------------------------------------- trained models


def _read(name: str, where: str, local_only: bool, trust: bool) -> PreTrainedModel:
    raw = _config_dict(name, where, local_only)
    if mamba_checkpoint.is_original_layout(raw):
        with _explained(name, where):
            return mamba_checkpoint.load_original(raw, _weights_file(where, local_only, "pytorch_model.bin"))
    _refuse_unsuitable(name, raw, trust)
    with _explained(name, where):
        model, info = AutoModelForCausalLM.from_pretrained(
            where, local_files_only=local_only, trust_remote_code=trust, output_loading_info=True
        )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ManticoreError(
            f"{name!r}: the checkpoint lacks {len(missing)} of the model's weights, among them {', '.join(missing[:3])}. "
            "It was saved from another architecture or another depth; check `architectures` and the sizes in config.json."
        )
    return model.eval()


def _config_dict(name: str, where: str, local_only: bool) -> dict:
    try:
        from transformers import PreTrainedConfig

        return PreTrainedConfig.get_config_dict(where, local_files_only=local_only)[0]
    except (OSError, json.JSONDecodeError) as error:
        raise ManticoreError(
            f"{name!r} ({where}): its config.json is missing or cannot be read. A model folder holds config.json, the "
            "weights (*.safetensors) and usually a tokenizer, as `save_pretrained` writes them."
        ) from error


def _refuse_unsuitable(name: str, raw: dict, trust: bool) -> None:
    kind = raw.get("model_type")
    if kind in CONFIG_MAPPING:
        if kind == "manticore":
            raise ManticoreError(f"{name!r} is a hybrid already; load it with ManticoreForCausalLM.from_pretrained.")
        if type(CONFIG_MAPPING[kind]()) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            raise ManticoreError(
                f"{name!r} is a {kind!r} model, which has no causal language model in transformers (it is an encoder, an "
                "encoder-decoder or another kind of model). Components are decoders: GPT, Llama, Mamba, …"
            )
        return
    if "auto_map" in raw and not trust:
        raise ManticoreError(
            f"{name!r} needs Python code from its repository to run (model type {kind!r}), and that code is not run "
            "unless asked for. Read it first; then set `trust_remote_code: true` on this component."
        )
    if "auto_map" not in raw:
        raise ManticoreError(
            f"{name!r}: config.json names the model type {kind!r}, which this version of transformers does not know. "
            f"Near names: {', '.join(hub.near_names(str(kind), list(hub.architectures()))) or 'none'}."
        )


class _explained:
    """Turns what loading may raise into one sentence about the checkpoint."""

    def __init__(self, name: str, where: str):
        self.name, self.where = name, where

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        import pickle

        if error is None or isinstance(error, ManticoreError) or not isinstance(error, Exception):
            return
        text = " ".join(str(error).split())
        if isinstance(error, pickle.UnpicklingError) or "weights_only" in text.lower():
            why = (
                "its weights are a pickle that would run code when read, so it was refused (only plain tensors are read). "
                "Ask its author for safetensors, or convert it where you trust it"
            )
        elif isinstance(error, SafetensorError) or "incomplete metadata" in text.lower():
            why = f"a weights file is damaged or cut short ({text[:160]}). Copy or download it again"
        elif "size mismatch" in text or "mismatch" in text.lower():
            why = f"a weight has another shape than config.json says ({text[:300]}). Weights and config do not belong together"
        elif isinstance(error, OSError):
            why = f"its files cannot be read ({text[:200]})"
        else:
            why = f"it cannot be loaded ({type(error).__name__}: {text[:300]})"
        raise ManticoreError(f"{self.name!r} ({self.where}): {why}.") from error


def _weights_file(where: str, local_only: bool, filename: str) -> Path:
    if Path(where).is_dir():
        return Path(where) / filename
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(where, filename, local_files_only=local_only))


def _tokenizer(where: str, local_only: bool, trust: bool) -> PreTrainedTokenizerBase | None:
    try:
        return AutoTokenizer.from_pretrained(where, local_files_only=local_only, trust_remote_code=trust)
    except Exception:  # a model without a tokenizer is fine; what is raised for it differs from family to family
        return None


# -------------------------------------------------------------------------------------------------- random weights


def _random(name: str, config: Mapping, seed: int) -> PreTrainedModel:
    by_class = {cls: kind for kind, cls in hub.architectures().items()}
    kind = by_class.get(name, name)
    if kind not in hub.architectures():
        near = hub.near_names(name, [*hub.architectures(), *by_class])
        raise ManticoreError(
            f"{name!r} with `config:` must name an architecture (a model type or a causal-LM class of transformers); "
            f"near names: {', '.join(near) or 'none; examples are gpt_neo, llama, mamba'}."
        )
    cls = CONFIG_MAPPING[kind]
    known = set(cls().to_dict()) | set(cls.attribute_map)
    if unknown := [key for key in config if key not in known]:
        near = hub.near_names(unknown[0], sorted(known))
        raise ManticoreError(
            f"{name!r}: {type(cls()).__name__} has no setting {unknown[0]!r}; near names: {', '.join(near) or 'none'}."
        )
    try:
        full = AutoConfig.for_model(kind, **config)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return AutoModelForCausalLM.from_config(full).eval()
    except Exception as error:
        raise ManticoreError(f"{name!r} cannot be built from {dict(config)}: {' '.join(str(error).split())}") from error
