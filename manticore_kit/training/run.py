"""A run's folder: plain files that say what was trained, how, on what, with what, and what came of it.

recipe.yaml        the hybrid as it started (hybrids only)
settings.yaml      how it was trained
environment.json   versions and machine
metrics.jsonl      an event a line: training losses, mixtures, held-out losses
result.json        written last, so that a run that has one is finished: losses, mixture, time
losses.npz         the final loss on each held-out window, by kind of text
model/             the trained model, its recipe and its tokenizer
checkpoints/       while it runs
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from manticore_kit.errors import ManticoreError
from manticore_kit.recipe import Recipe
from manticore_kit.training.journal import read_events
from manticore_kit.training.settings import TrainingSettings

REPORTED_PACKAGES = ("manticore-kit", "torch", "transformers", "accelerate", "numba")


@dataclass(frozen=True)
class Run:
    """A run's folder, to be read."""

    folder: Path

    @property
    def is_finished(self) -> bool:
        """Whether the training came to its end and all was written."""
        return (self.folder / "result.json").is_file()

    @cached_property
    def settings(self) -> TrainingSettings:
        """How it was trained."""
        return TrainingSettings.from_yaml(self.folder / "settings.yaml")

    @cached_property
    def recipe(self) -> Recipe:
        """The hybrid as it started. Raises `RecipeError` for a model that is no hybrid, which has none."""
        return Recipe.from_yaml(self.folder / "recipe.yaml")

    @cached_property
    def result(self) -> dict[str, Any]:
        """Final losses in nats per token, mixture, steps and seconds. Raises `ManticoreError` before the end."""
        if not self.is_finished:
            raise ManticoreError(
                f"{self.folder} holds a run that is not finished. Start it again with the same settings; it goes on "
                "from its last checkpoint."
            )
        return json.loads((self.folder / "result.json").read_text(encoding="utf-8"))

    @property
    def mixture(self) -> list[list[float]] | None:
        """The final mixture, a row per block; None for a model that is no hybrid."""
        return self.result["mixture"]

    @cached_property
    def losses(self) -> dict[str, NDArray]:
        """The final loss on each held-out window (windows,), nats per token, by kind of text."""
        with np.load(self.folder / "losses.npz", allow_pickle=False) as file:
            return {kind: file[kind] for kind in file.files}

    @property
    def events(self) -> list[dict[str, Any]]:
        """What was written while it trained."""
        return read_events(self.folder / "metrics.jsonl")

    def trajectory(self) -> tuple[NDArray, NDArray]:
        """The mixture as it moved: steps (times,) and weights (times, blocks, components)."""
        moved = [event for event in self.events if event["event"] == "mixture"]
        return np.array([event["step"] for event in moved]), np.array([event["rows"] for event in moved])

    def curve(self, event: str = "held-out") -> tuple[NDArray, NDArray]:
        """Steps (times,) and losses (times,) of one kind of event, `held-out` or `train`."""
        chosen = [entry for entry in self.events if entry["event"] == event]
        return np.array([entry["step"] for entry in chosen]), np.array([entry["loss"] for entry in chosen])


def write_json(file: Path, value: Any) -> None:
    """Writes `value` to `file`, which appears whole or not at all."""
    part = file.with_name(f".{file.name}.part")
    part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(file)


def environment() -> dict[str, Any]:
    """Versions and machine."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})"
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in REPORTED_PACKAGES},
        "device": device,
        "threads": torch.get_num_threads(),
    }


def fingerprint(model: nn.Module, tensors: Mapping[str, Tensor | None]) -> str:
    """A hash of a model's weights and of named tensors, by which a run knows that it is given the same again."""
    digest = hashlib.sha256()
    for name, tensor in [*sorted(model.state_dict().items()), *tensors.items()]:
        digest.update(name.encode())
        if tensor is not None:
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
