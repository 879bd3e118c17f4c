"""Projector sets: the projectors of a hybrid, saved with the components that they join, to be found for later tasks.

Pretrained projectors serve every task of the same components (paper, section 3). What they join is known by a hash of
each component's weights and not by its name, so a folder and a hub id of the same model share a set. Components that
were fine-tuned since have other weights, and other states pass between them.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid.modeling import ManticoreForCausalLM

_WEIGHTS, _FACTS = "projectors.safetensors", "projectors.json"
_SHOWN = 10  # digits of a hash in a message


@dataclass(frozen=True)
class ProjectorSet:
    """A saved set: where it is, what it joins (see `joined`) and how it was made."""

    folder: Path
    joins: dict[str, Any]
    made: dict[str, Any]

    @property
    def title(self) -> str:
        """What it joins, in words."""
        return _words(self.joins)


def joined(hybrid: ManticoreForCausalLM) -> dict[str, Any]:
    """What the projectors of `hybrid` join: components by name and hash, cuts, ends, shared width, kind and rank."""
    config = hybrid.config
    return {
        "components": [
            {"name": name, "hash": weights_hash(hybrid.component(k).model)}
            for k, name in enumerate(config.component_names)
        ],
        "cuts": [list(entry["cuts"]) for entry in config.components],
        "ends": config.ends,
        "width": config.width,
        "kind": config.projector_kind,
        "rank": config.projector_rank,
    }


def weights_hash(model: nn.Module) -> str:
    """A hash of a model's weights: their names, shapes, types and bytes."""
    digest = sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def save_projectors(hybrid: ManticoreForCausalLM, folder: Path | str, made: Mapping[str, Any]) -> Path:
    """Saves the projectors of `hybrid` in `folder`, new or empty, and returns it; `made` says how they came about.

    Raises `ManticoreError` where there are no projectors, the folder is in use, or it cannot be written; then nothing
    half-written is left.
    """
    folder = Path(folder)
    tensors = {name: tensor.contiguous() for name, tensor in hybrid.projectors.state_dict().items()}
    if not tensors:
        raise ManticoreError("This hybrid has no projectors: it has one block, or it was discretised.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ManticoreError(f"{folder} exists and is not empty; name a new folder for the projectors.")
    draft = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        save_file(tensors, draft / _WEIGHTS)
        facts = {"joins": joined(hybrid), "made": dict(made)}
        (draft / _FACTS).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        draft.chmod(0o755)
        (draft / _WEIGHTS).chmod(0o644)
        draft.rename(folder)
    except (OSError, SafetensorError) as error:
        raise ManticoreError(
            f"The projectors could not be saved in {folder}: {error}. Nothing is left there."
        ) from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def load_projectors(hybrid: ManticoreForCausalLM, folder: Path | str) -> ProjectorSet:
    """Gives `hybrid` the projectors saved in `folder`, and returns what is known of them.

    Raises `ManticoreError`, which says what the set belongs to, where it joins anything else than this hybrid's
    components in this layout, and where it is damaged; the hybrid is then as it was.
    """
    found = read_set(folder)
    own = joined(hybrid)
    if differences := _differences(found.joins, own):
        raise ManticoreError(
            f"The projectors in {found.folder} belong to {found.title}. This hybrid is {_words(own)}: "
            f"{'; '.join(differences)}. Pretrain projectors for it, or build the hybrid that they belong to."
        )
    try:
        tensors = load_file(found.folder / _WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ManticoreError(f"The projectors in {found.folder} are damaged: {error}. Pretrain them again.") from None
    wanted = hybrid.projectors.state_dict()
    if tensors.keys() != wanted.keys() or any(tensors[name].shape != wanted[name].shape for name in wanted):
        raise ManticoreError(f"The projectors in {found.folder} are incomplete. Pretrain them again.")
    hybrid.projectors.load_state_dict(tensors)
    return found


def read_set(folder: Path | str) -> ProjectorSet:
    """What is known of the projector set in `folder`. Raises `ManticoreError` where there is none."""
    folder = Path(folder)
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        found = ProjectorSet(folder, dict(facts["joins"]), dict(facts["made"]))
        _words(found.joins)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise ManticoreError(f"{folder} holds no projector set ({reason}); name a folder that holds one.") from None
    return found


def default_store() -> Path:
    """Where sets are kept unless told otherwise: $MANTICORE_PROJECTORS, else a folder in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return Path(os.environ.get("MANTICORE_PROJECTORS") or cache / "manticore" / "projectors")


def list_projectors(store: Path | str | None = None) -> list[ProjectorSet]:
    """The sets in a store, newest first; other folders are passed over."""
    store = Path(store) if store is not None else default_store()
    found = []
    for file in store.glob(f"[!.]*/{_FACTS}"):
        try:
            found.append((file.stat().st_mtime_ns, read_set(file.parent)))
        except ManticoreError:
            continue
    return [each for _, each in sorted(found, key=lambda pair: (pair[0], str(pair[1].folder)), reverse=True)]


def find_projectors(hybrid: ManticoreForCausalLM, store: Path | str | None = None) -> Path | None:
    """The folder of the newest set in the store that belongs to `hybrid`, None where there is none."""
    sets = list_projectors(store)
    if not sets:
        return None
    own = joined(hybrid)
    return next((each.folder for each in sets if not _differences(each.joins, own)), None)


def store_projectors(hybrid: ManticoreForCausalLM, made: Mapping[str, Any], store: Path | str | None = None) -> Path:
    """Saves the projectors of `hybrid` in a store under a name of their own, and returns their folder."""
    store = Path(store) if store is not None else default_store()
    names = "+".join(name.rstrip("/").rpartition("/")[2] for name in hybrid.config.component_names)
    title = f"{names}-{hybrid.config.num_blocks}-blocks-{hybrid.config.projector_kind}"
    number, folder = 1, store / title
    while folder.exists():
        number += 1
        folder = store / f"{title}-{number}"
    return save_projectors(hybrid, folder, made)


def _differences(theirs: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """What differs, in words; the order of components matters."""
    hashes = [[part["hash"] for part in joins["components"]] for joins in (theirs, own)]
    if hashes[0] != hashes[1]:
        if [c["name"] for c in theirs["components"]] == [c["name"] for c in own["components"]]:
            return ["the components have other weights, as after fine-tuning"]
        same = sorted(hashes[0]) == sorted(hashes[1])
        return ["the components stand in another order" if same else "the components are others"]
    said = {"cuts": "cuts", "ends": "ends", "width": "shared width", "kind": "projector kind", "rank": "rank"}
    return [f"{word} {own[key]}, not {theirs[key]}" for key, word in said.items() if theirs[key] != own[key]]


def _words(joins: dict[str, Any]) -> str:
    parts = " and ".join(f"{c['name']} ({c['hash'][:_SHOWN]}…)" for c in joins["components"])
    layout = f"cuts {joins['cuts']}, ends {joins['ends']}, width {joins['width']}, {joins['kind']}"
    return f"{parts}, with {layout} projectors"
