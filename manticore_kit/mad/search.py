"""Mixtures found on proxy tasks: from a recipe and a plan to a small file.

OUT/plan.yaml, OUT/recipe.yaml
OUT/hybrid/TASK/…/seed-0        a run's folder for each task, setting of the optimiser and seed
OUT/mad.yaml                    written last: what was found (`proxy_result.ProxyResult`)
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from manticore_kit.components.loading import family_of
from manticore_kit.components.random_weights import model_type
from manticore_kit.errors import ManticoreError
from manticore_kit.mad.plan import MadPlan
from manticore_kit.mad.trials import MadTrial, best_runs, perform, trials_of
from manticore_kit.proxy_result import ProxyResult, result_file
from manticore_kit.recipe import ComponentSpec, Recipe
from manticore_kit.runs import run_trials
from manticore_kit.tasks import mad


def search(
    recipe: Recipe,
    plan: MadPlan,
    out: Path | str,
    *,
    workers: int | None = None,
    progress: Callable[[int, int, Any], object] | None = None,
) -> ProxyResult:
    """Searches the mixture of small hybrids of `recipe`'s families on every task of `plan`; the result is in `out`.

    Trainings that `out` has finished are read. Raises `ManticoreError` for a recipe with fewer than two components,
    for an `out` that holds something else, and as `run_trials` does.
    """
    out = Path(out)
    if len(recipe.components) < 2:
        raise ManticoreError("A mixture is searched over two or more components, and this recipe has one.")
    families = [_family(spec) for spec in recipe.components]
    _claim(out, recipe, plan)
    trials = trials_of("hybrid", recipe, plan, out, searched=True)
    runs = run_trials(perform, trials, workers=workers, progress=progress)
    found = {task: by_seed for (_, task), by_seed in best_runs(runs).items()}
    result = ProxyResult.parse(
        {
            "families": families,
            "blocks": recipe.num_blocks,
            "search": plan.search.method,
            "tasks": {
                task: {
                    "mixtures": [run.mixture for run in by_seed.values()],
                    "accuracy": [round(run.result["scores"]["accuracy"], 6) for run in by_seed.values()],
                    "random": round(_random(trials, task), 6),
                }
                for task, by_seed in found.items()
            },
            "plan": plan.plain(),
        }
    )
    part = out / ".mad.yaml.part"
    result.to_yaml(part)
    part.replace(result_file(out))
    return result


def _family(spec: ComponentSpec) -> str:
    if spec.config is not None:
        return model_type(spec.model)
    return family_of(spec.model, trust_remote_code=spec.trust_remote_code)


def _claim(out: Path, recipe: Recipe, plan: MadPlan) -> None:
    """Makes `out` the folder of this search, or raises where it is another's."""
    kept = {"recipe.yaml": recipe.to_yaml(), "plan.yaml": plan.to_yaml()}
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / "plan.yaml").is_file()):
        raise ManticoreError(f"{out} exists and holds no search on MAD tasks; name a folder that is new or empty.")
    out.mkdir(parents=True, exist_ok=True)
    for name, text in kept.items():
        file = out / name
        if file.is_file() and file.read_text(encoding="utf-8") != text:
            raise ManticoreError(
                f"{out} holds a search by another {name.removesuffix('.yaml')}. Name a new folder, or remove that one."
            )
        file.write_text(text, encoding="utf-8")


def _random(trials: Mapping[Any, MadTrial], task: str) -> float:
    settings = next(trial.task_settings for trial in trials.values() if trial.task == task)
    rows = [mad.generate(task, split, num_examples=64, **settings) for split in ("train", "test")]
    return mad.reference_points(*rows)["random"]
