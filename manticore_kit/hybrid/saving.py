"""Saving a hybrid so that its folder is complete or is left as it was, and what loading one looks at first."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoTokenizer

from manticore_kit import zoo
from manticore_kit.components.bars import own_bar
from manticore_kit.errors import ManticoreError

RECIPE_FILE = "recipe.yaml"

# Files by which one saved hybrid could go on living in the next one's folder.
REPLACED = ("model*.safetensors", "model.safetensors.index.json", "tokenizer*.json", "special_tokens_map.json")


def save(hybrid, write: Callable, folder, **kwargs) -> None:
    """Saves weights, configuration, recipe and tokenizer by way of a neighbouring folder that is then moved.

    `write` is the plain `save_pretrained`. Raises `ManticoreError` where the disk is full, the folder cannot be
    written, or a component's own Python code would be needed to load the hybrid again.
    """
    folder = Path(folder)
    if not kwargs.get("is_main_process", True):
        return
    if foreign := [e["name"] for e in hybrid.config.components if e["remote_code"]]:
        raise ManticoreError(
            f"{foreign[0]!r} runs Python code from its repository, which a saved hybrid does not carry, so the hybrid "
            "could not be loaded again. Keep its recipe instead, and build from that."
        )
    if folder.is_file():
        raise ManticoreError(f"{str(folder)!r} is a file. Name a folder to save the hybrid in.")
    recipe = hybrid.recipe
    hybrid.config.recipe = recipe.model_dump(exclude={"mixture"})
    partial = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial.", dir=folder.parent))
        # As they are in memory: a conversion to the layout of some component's hub files would not fit the hybrid.
        with own_bar(f"Saving {folder}"):
            write(str(partial), **{"save_original_format": False, **kwargs})
        recipe.to_yaml(partial / RECIPE_FILE)
        if hybrid.tokenizer is not None:
            hybrid.tokenizer.save_pretrained(partial)
        _move(partial, folder)
    except (OSError, SafetensorError) as error:
        raise ManticoreError(
            f"The hybrid could not be saved in {str(folder)!r}: {error}. Nothing half-written was left there; free "
            "some space or name another folder, and save again."
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def refuse_other_models(source: Any) -> None:
    """Raises `ManticoreError` where `source` is at hand and is no saved hybrid; hub ids are left to the hub."""
    name = str(source)
    advice = "A hybrid of such models is made by `ManticoreForCausalLM.from_components` or from a recipe."
    if name in zoo.names():
        raise ManticoreError(f"{name!r} is a model of the zoo, not a saved hybrid. {advice}")
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if folder.is_file() or name.startswith((".", "/", "~")):
            what = "is a file" if folder.is_file() else "does not exist"
            raise ManticoreError(f"{name!r} {what}. Name the folder that `save_pretrained` or `manticore build` wrote.")
        return
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return  # transformers says what is wrong with it
    if kind != "manticore":
        raise ManticoreError(f"The model in {name!r} is of type {kind!r}, not a saved hybrid. {advice}")


def tokenizer_of(source: Any, **arguments) -> Any:
    """The tokenizer that was saved with a hybrid, None where there is none."""
    known = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")
    try:
        return AutoTokenizer.from_pretrained(source, **{key: arguments[key] for key in known if key in arguments})
    except (OSError, ValueError, KeyError):
        return None


def _move(source: Path, target: Path) -> None:
    """Moves the files of `source` into `target`; one rename where that does not exist yet."""
    mask = _umask()
    source.chmod(0o777 & ~mask)
    for file in source.iterdir():  # safetensors and temporary folders are private to their owner
        file.chmod(0o666 & ~mask)
    if not target.exists():
        source.rename(target)
        return
    # A folder that is in use (a checkpoint with its trainer's state) keeps its other files. The configuration goes
    # last: weights are read only where there is one.
    files = sorted(source.iterdir(), key=lambda f: f.name == "config.json")
    for file in files:
        os.replace(file, target / file.name)
    written = {file.name for file in files}
    for pattern in REPLACED:  # of a hybrid that was there before, with other shards or with a tokenizer
        for file in target.glob(pattern):
            if file.name not in written:
                file.unlink()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
