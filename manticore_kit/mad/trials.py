"""One model trained on one MAD task: a trial, which leaves a run's folder."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from manticore_kit.components.loading import load
from manticore_kit.hybrid.building import build
from manticore_kit.mad.compression import CompressionAutoencoder
from manticore_kit.mad.data import MadData
from manticore_kit.mad.plan import MadPlan
from manticore_kit.mad.proxies import proxy_recipe
from manticore_kit.recipe import Recipe
from manticore_kit.tasks import mad
from manticore_kit.training.fit import fit
from manticore_kit.training.protocol import slug
from manticore_kit.training.run import Run
from manticore_kit.training.settings import TrainingSettings


@dataclass(frozen=True)
class MadTrial:
    """A training of what `recipe` names on `task`; a recipe of one component is that model by itself.

    `sizes` are the width and the layers to a block of proxies, `task_settings` those that are not the baseline's, and
    `rows` what `MadData.of` takes beside them.
    """

    folder: Path
    recipe: Recipe
    task: str
    settings: TrainingSettings
    sizes: Mapping[str, int]
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    rows: Mapping[str, Any] = field(default_factory=dict)


def perform(trial: MadTrial) -> Run:
    """The run of `trial`, trained unless its folder holds it finished."""
    run = Run(trial.folder)
    if run.is_finished:
        return run
    data = _data(trial.task, tuple(sorted({**trial.rows, **trial.task_settings}.items())))
    return fit(model_of(trial), data, trial.settings, trial.folder, keep_model=False)


def model_of(trial: MadTrial) -> Any:
    """The model that `trial` trains, its weights drawn with the seed of the training."""
    settings = mad.settings_of(trial.task, **trial.task_settings)
    vocab_size, seed = settings.vocab_size, trial.settings.seed
    recipe = proxy_recipe(trial.recipe, vocab_size=vocab_size, length=settings.seq_len, seed=seed, **trial.sizes)
    if len(recipe.components) > 1:
        model: Any = build(recipe.model_copy(update={"mixture": trial.recipe.mixture}))
    else:
        only = recipe.components[0]
        model = load(only.model, config=only.config, seed=seed).component.model
    return CompressionAutoencoder(model, vocab_size) if trial.task == "compression" else model


def trials_of(
    name: str, recipe: Recipe, plan: MadPlan, folder: Path, *, searched: bool, tasks: Iterable[str] | None = None
) -> dict[tuple[str, str, float, float, int], MadTrial]:
    """All that `plan` has for the model `name`, by (name, task, learning rate, weight decay, seed)."""
    return {
        (name, task, *key): MadTrial(
            folder / slug(name) / task / f"rate-{key[0]:g}-decay-{key[1]:g}" / f"seed-{key[2]}",
            recipe,
            task,
            settings,
            {"width": plan.width, "layers": plan.layers},
            plan.task_settings(task),
            {
                "seed": plan.data_seed,
                "num_examples": plan.num_examples,
                "judged_examples": plan.judged_examples,
            },
        )
        for task in (plan.tasks if tasks is None else tasks)
        for key, settings in plan.trainings(searched=searched).items()
    }


def grid_trials(
    recipe: Recipe, plan: MadPlan, mixtures: Iterable[Any], folder: Path
) -> dict[tuple[str, str, float, float, int], MadTrial]:
    """All that `plan` has for hybrids of `recipe`'s families at each of `mixtures`, which stay; by their number."""
    trials = {}
    for number, rows in enumerate(mixtures):
        fixed = recipe.model_copy(update={"mixture": [[float(w) for w in row] for row in rows], "program": None})
        trials |= trials_of(f"mixture {number}", fixed, plan, folder, searched=False)
    return trials


def best_runs(runs: Mapping[tuple[str, str, float, float, int], Run]) -> dict[tuple[str, str], dict[int, Run]]:
    """For each (name, task) the runs by seed at the optimiser's settings of the best mean validation accuracy."""
    grouped: dict[tuple[str, str], dict[tuple[float, float], dict[int, Run]]] = {}
    for (name, task, rate, decay, seed), run in runs.items():
        grouped.setdefault((name, task), {}).setdefault((rate, decay), {})[seed] = run
    return {
        key: max(
            tried.values(), key=lambda seeds: sum(r.result["scores"]["validation_accuracy"] for r in seeds.values())
        )
        for key, tried in grouped.items()
    }


@lru_cache(maxsize=2)
def _data(task: str, settings: tuple[tuple[str, Any], ...]) -> MadData:
    return MadData.of(task, **dict(settings))
