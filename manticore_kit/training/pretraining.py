"""Projector pretraining: projectors alone learn, between frozen components, and are kept for every later task."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid.modeling import ManticoreForCausalLM
from manticore_kit.training.data import Text
from manticore_kit.training.fit import fit
from manticore_kit.training.processes import is_first_process
from manticore_kit.training.projector_sets import find_projectors, load_projectors, store_projectors
from manticore_kit.training.run import Run
from manticore_kit.training.settings import TrainingSettings


def pretrain_projectors(
    hybrid: ManticoreForCausalLM,
    text: Text,
    settings: TrainingSettings,
    folder: Path | str,
    *,
    store: Path | str | None = None,
    progress: str | None = None,
    watch: Callable[[list[dict[str, Any]]], object] | None = None,
) -> Run:
    """Trains the projectors of `hybrid` by `settings`, at its present mixture, and stores them; returns the run.

    Components and mixture are frozen, and embeddings too, as the projectors are to fit the components as they are. The
    set goes to `store` (see `projector_sets.default_store`), from where `reuse_projectors` takes it. Raises
    `ManticoreError` as `fit` does, and for a hybrid without projectors.
    """
    if not len(hybrid.projectors):
        raise ManticoreError("This hybrid has no projectors to pretrain: it has one block, or it was discretised.")
    settings = settings.model_copy(update={"freeze": ["components", "embeddings"], "search": None})
    was_finished = Run(Path(folder)).is_finished
    run = fit(hybrid, text, settings, folder, progress=progress, watch=watch)
    if not was_finished and is_first_process():
        made = {"steps": settings.steps, "seed": settings.seed, "held_out_loss": run.result["loss"]}
        store_projectors(hybrid, made, store)
    return run


def reuse_projectors(hybrid: ManticoreForCausalLM, store: Path | str | None = None) -> Path | None:
    """Gives `hybrid` the newest projectors in the store that belong to it; their folder, None where there are none."""
    found = find_projectors(hybrid, store)
    if found is not None:
        load_projectors(hybrid, found)
    return found
