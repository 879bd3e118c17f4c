"""Component models by name: zoo, folder, hub, or an architecture with random weights.

One function, `load`, takes whatever a recipe or a user may name, and gives a self-checked component with its
tokenizer. Weights that are missing, damaged or of another shape are errors here; nothing is filled in at random
unless random weights were asked for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import (
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    logging,
)
from transformers.utils.hub import cached_file

from manticore_kit import zoo
from manticore_kit.components import hub, mamba_checkpoint
from manticore_kit.components.bars import BAR_AFTER_SECONDS, own_bar
from manticore_kit.components.checks import check
from manticore_kit.components.random_weights import random_model
from manticore_kit.components.refusals import explained, place, refuse_misfits, refuse_unsuitable, refuse_unusable
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
    if isinstance(source, Loaded | Component | PreTrainedModel):
        return _loaded_already(source, config)
    name = _name(source)
    if config is not None:
        if not isinstance(config, Mapping):
            raise ManticoreError(f"{name!r}: `config` must map the architecture's settings to values, not {config!r}.")
        return Loaded(_checked(random_model(name, config, seed), name))
    where, local_only = _locate(name)
    trust = trust_remote_code is True  # a string such as "false" trusts nobody
    model = _read(name, where, local_only, trust)
    return Loaded(_checked(model, name), _tokenizer(name, where, local_only, trust))


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a zoo model, folder or hub id; raises `ManticoreError` where there is none."""
    name = _name(name)
    where, local_only = _locate(name)
    tokenizer = _tokenizer(name, where, local_only, trust_remote_code is True)
    if tokenizer is None:
        raise ManticoreError(f"{place(name, where)} comes without a tokenizer. Name a model or folder that has one.")
    return tokenizer


def family_of(name: str, *, trust_remote_code: bool = False) -> str:
    """The model type of a zoo model, folder or hub id, such as "gpt_neo"; no weights are read.

    Raises `ManticoreError` as `load` does for names, and for models that cannot be components.
    """
    name = _name(name)
    where, local_only = _locate(name)
    config = _config(name, where, local_only)
    if mamba_checkpoint.is_original_layout(config):
        return "mamba"
    refuse_unsuitable(name, config, trust_remote_code is True)
    return str(config["model_type"])


def _checked(model: PreTrainedModel, name: str) -> Component:
    refuse_unusable(name, model)
    install_for(model)
    try:
        return check(model, name)
    except ManticoreError:
        raise
    except Exception as error:  # sizes that make no model raise anything when the model runs
        raise ManticoreError(
            f"{name!r} ({type(model).__name__}) cannot be run on a few tokens: {type(error).__name__}: {error}. Look "
            "at the sizes in its configuration."
        ) from error


def _loaded_already(source: Loaded | Component | PreTrainedModel, config: Mapping | None) -> Loaded:
    if config is not None:
        raise ManticoreError(
            f"`config` describes random weights, and this {type(source).__name__} has its weights. Give one of the two."
        )
    if isinstance(source, Loaded):
        return source
    if isinstance(source, Component):
        return Loaded(source)
    return Loaded(_checked(source, _own_name(source)))


def _own_name(model: PreTrainedModel) -> str:
    path = model.name_or_path
    return Path(path).name if path and Path(path).is_dir() else path or model.config.model_type


def _name(source) -> str:
    if not isinstance(source, str | Path) or not str(source).strip():
        given = repr(source) if isinstance(source, str) else f"of type {type(source).__name__}"
        raise ManticoreError(
            f"A model is named by a zoo name ({', '.join(zoo.names())}), a folder or a hub id, or is a loaded "
            f"transformers model (PreTrainedModel); what was given is {given}."
        )
    return str(source)


# --------------------------------------------------------------------------------------------------- where it is


def _locate(name: str) -> tuple[str, bool]:
    """Folder or hub id of `name`, and whether to stay off the network."""
    in_zoo = name in zoo.names()
    try:
        folder = zoo.path(name) if in_zoo else Path(name).expanduser()
        is_folder, is_file = folder.is_dir(), folder.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long, an unknown user's home, a null byte
        reason = str(error.args[-1]).rstrip(".")
        raise ManticoreError(
            f"{name[:80]!r} can be no model's name or folder: {reason}. Name {', '.join(zoo.names())}, a folder that "
            "holds config.json and *.safetensors, or a hub id."
        ) from error
    if is_folder:
        return str(folder), True
    if in_zoo:
        raise ManticoreError(f"{name!r} should have come with this package, but {folder} is absent. Install it anew.")
    if is_file or name.startswith((".", "/", "~")):
        what = "is a file" if is_file else "does not exist"
        raise ManticoreError(f"Model folder {name!r} {what}. Name the folder that holds config.json and *.safetensors.")
    if name in hub.architectures() or name in hub.architectures().values():
        raise ManticoreError(
            f"{name!r} is an architecture, not a trained model. Give `config:` (for example hidden_size and "
            f"num_hidden_layers) for random weights, or name a model: {', '.join(zoo.names())}, a folder or a hub id."
        )
    return name, not hub.find_on_hub(name)


# ------------------------------------------------------------------------------------------------- trained models


def _read(name: str, where: str, local_only: bool, trust: bool) -> PreTrainedModel:
    config = _config(name, where, local_only)
    if mamba_checkpoint.is_original_layout(config):
        with explained(name, where):
            settings = mamba_checkpoint.to_transformers_config(config)
            weights = _file(where, mamba_checkpoint.WEIGHTS_FILE, local_only)
            model = mamba_checkpoint.load_original(settings, weights)
    else:
        refuse_unsuitable(name, config, trust)
        with explained(name, where), own_bar(f"Loading {name}"):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                where,
                local_files_only=local_only,
                trust_remote_code=trust,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, by name
            )
        model, report = loaded
        refuse_misfits(name, config, model, report)
    with explained(name, where):
        _read_ahead(name, _weights_files(where))
    return model.eval()


def _read_ahead(name: str, files: list[Path]) -> None:
    """Brings the shards of a loaded model from the disk into the system's file cache, with a bar where that is slow.

    The weights lie over these files: without this, the first use of each would wait for the disk, unseen. No memory of
    the process is taken.
    """
    buffer = bytearray(2**20)
    size = sum(file.stat().st_size for file in files)
    with logging.tqdm(total=size, unit="B", unit_scale=True, delay=BAR_AFTER_SECONDS) as bar:
        for k, file in enumerate(files, start=1):
            shard = f", shard {k} of {len(files)}" if len(files) > 1 else ""
            bar.set_description(f"Reading {name}{shard}", refresh=False)
            with file.open("rb", buffering=0) as stream:
                while count := stream.readinto(buffer):
                    bar.update(count)


def _weights_files(where: str) -> list[Path]:
    """The files of a loaded model's weights, in the order of their names; none where the model names them itself."""
    for file in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME):
        if _is_there(where, file):
            path = _file(where, file, local_only=True)
            if not file.endswith(".index.json"):
                return [path]
            shards = json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()
            return [_file(where, shard, local_only=True) for shard in sorted(set(shards))]
    return []


def _config(name: str, where: str, local_only: bool) -> dict:
    """The config.json of a model, as it is written."""
    try:
        config = json.loads(_file(where, "config.json", local_only).read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError(f"it holds a {type(config).__name__} where a mapping is wanted")
    except (OSError, ValueError, RecursionError) as error:
        missing = Path(where).is_dir() and not (Path(where) / "config.json").is_file()
        reason = "it holds no config.json" if missing else f"its config.json cannot be read ({error})"
        raise ManticoreError(
            f"{place(name, where)}: {reason}. A model folder holds config.json, the weights (*.safetensors) and "
            "usually a tokenizer, as `save_pretrained` writes them."
        ) from error
    return config


def _tokenizer(name: str, where: str, local_only: bool, trust: bool) -> PreTrainedTokenizerBase | None:
    reason: object = "it holds no vocabulary"
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, local_files_only=local_only, trust_remote_code=trust)
        # Where a model came without one, transformers makes up the family's tokenizer with special tokens alone.
        if set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids):
            return tokenizer
    except Exception as error:  # what is raised for a model without a tokenizer differs from family to family
        reason = error
    if not any(_is_there(where, file) for file in ("tokenizer.json", "tokenizer_config.json")):
        return None
    raise ManticoreError(
        f"{place(name, where)}: its tokenizer cannot be read ({' '.join(str(reason).split())[:300]}). Copy or download "
        "its files again; a tokenizer that brings its own code needs `trust_remote_code: true`, once you have read it."
    )


def _file(where: str, file: str, local_only: bool) -> Path:
    """A file of a model, downloaded where need be; raises `OSError` where the model has no such file."""
    folder = Path(where)
    return folder / file if folder.is_dir() else Path(str(cached_file(where, file, local_files_only=local_only)))


def _is_there(where: str, file: str) -> bool:
    return (Path(where) / file).is_file() if Path(where).is_dir() else hub.is_cached(where, file)
