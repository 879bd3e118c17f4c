"""Who takes part in the paper's Table 2, and what each came to: accuracies over seeds, with random and majority beside.

Components are MAD's plain stacks; hybrids are searched over two and three of them; MambaFormer and StripedHyena are the
hybrids that people designed. All have one budget for a task. A hybrid of two components costs about two of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

from manticore_kit.analysis.comparison import Comparison, compare_losses
from manticore_kit.analysis.significance import signed
from manticore_kit.mad.plan import MadPlan
from manticore_kit.mad.trials import MadTrial, trials_of
from manticore_kit.recipe import Recipe
from manticore_kit.tasks import mad
from manticore_kit.training.run import Run
from manticore_kit.training.settings import SearchSettings

ATTENTION, MAMBA, HYENA = "attention", "Mamba", "Hyena"


@dataclass(frozen=True)
class MadEntrant:
    """A model that takes part: what it is made of, and how its mixture is searched, where it is a hybrid."""

    recipe: Recipe
    method: str | None = None

    @property
    def component_names(self) -> list[str]:
        """What its components mix tokens with."""
        return [_MIXERS.get(str((spec.config or {}).get("mixer")), spec.model) for spec in self.recipe.components]


_MIXERS = {"attention": ATTENTION, "mamba": MAMBA, "hyena": HYENA, "multihead_hyena": "multi-head Hyena"}


def standard_entrants(width: int = 128, *, small: bool = False) -> dict[str, MadEntrant]:
    """The models of the table, by name, of the given `width` and with two layers.

    A hybrid of more blocks has as many layers. MambaFormer has the layers Mamba, attention, Mamba. Of hybrids, `small`
    leaves out those of one and of four blocks.
    """
    pair, three = ("attention", "mamba"), ("attention", "mamba", "hyena")
    found = {name: MadEntrant(_stack([mixer], 1, width)) for mixer, name in _MIXERS.items() if mixer in three}
    found["MambaFormer"] = MadEntrant(_alone("mambaformer", 3, width))
    found["StripedHyena"] = MadEntrant(_alone("striped_hyena", 2, width))
    for method in ("darts", "gaea"):
        found[f"hybrid of two, {method.upper()}"] = MadEntrant(_stack(pair, 2, width), method)
    if not small:
        found["hybrid of two, 1 block"] = MadEntrant(_stack(pair, 1, width), "darts")
        found["hybrid of two, 4 blocks"] = MadEntrant(_stack(pair, 4, width), "darts")
    found["hybrid of three, DARTS"] = MadEntrant(_stack(three, 2, width), "darts")
    return found


def entrant_trials(
    entrants: Mapping[str, MadEntrant], plan: MadPlan, folder: Path
) -> dict[tuple[str, str, float, float, int], MadTrial]:
    """All trainings of `entrants` by `plan`; see `trials_of`."""
    trials = {}
    for name, entrant in entrants.items():
        search = SearchSettings.model_validate({"method": entrant.method}) if entrant.method else plan.search
        own = plan.model_copy(update={"search": search})
        trials |= trials_of(name, entrant.recipe, own, folder, searched=entrant.method is not None)
    return trials


def reference_points(plan: MadPlan) -> dict[str, dict[str, float]]:
    """What guessing, the majority so far and a perfect learner come to on each task of `plan`."""
    points = {}
    for task in plan.tasks:
        rest = {"seed": plan.data_seed, **plan.task_settings(task)}
        train = mad.generate(task, "train", num_examples=plan.num_examples, **rest)
        test = mad.generate(task, "test", num_examples=plan.judged_examples, **rest)
        points[task] = mad.reference_points(train, test)
    return points


def seeds_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """The mean of accuracies over seeds (seeds,) with its t-interval, cut to 0 … 1; of one seed the mean alone."""
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, mean, mean
    half = float(t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def accuracies(best: Mapping[tuple[str, str], Mapping[int, Run]], score: str = "accuracy") -> dict[Any, list[float]]:
    """Test accuracies by (name, task), one for each seed; `score` may be "macro_accuracy"."""
    return {key: [run.result["scores"][score] for run in runs.values()] for key, runs in best.items()}


def compare_on_tasks(best: Mapping[tuple[str, str], Mapping[int, Run]], reference: str) -> dict[str, Comparison]:
    """Every model's test losses, row by row, against those of the model `reference`; a comparison for each task."""
    losses: dict[str, dict[str, NDArray]] = {}
    for (name, task), by_seed in best.items():
        losses.setdefault(task, {})[name] = np.stack([run.losses["test"] for run in by_seed.values()])
    return {task: compare_losses(of_models, reference) for task, of_models in losses.items()}


def difference_rows(comparisons: Mapping[str, Comparison]) -> list[dict[str, str]]:
    """Rows for a table of tasks: each model's loss minus the reference's, and what that shows."""
    rows: dict[str, dict[str, str]] = {}
    for task, comparison in comparisons.items():
        for pair in comparison.pairs:
            verdict = "" if pair.verdict == "no difference shown" else f" {pair.verdict}"
            rows.setdefault(pair.name, {"": pair.name})[task] = signed(pair.mean, 2) + verdict
    return list(rows.values())


def table_rows(
    found: Mapping[tuple[str, str], Sequence[float]], points: Mapping[str, Mapping[str, float]]
) -> list[dict[str, str]]:
    """Rows for a table of tasks: mean accuracy over seeds with its interval, the mean of all tasks, and references."""
    tasks, rows = list(points), []
    for name in dict.fromkeys(name for name, _ in found):
        row, means = {"": name}, []
        for task in tasks:
            mean, low, high = seeds_interval(found[name, task])
            means.append(mean)
            row[task] = f"{mean:.3f} [{low:.2f}, {high:.2f}]" if len(found[name, task]) > 1 else f"{mean:.3f}"
        rows.append({**row, "mean": f"{np.mean(means):.3f}"})
    for reference in ("majority", "random", "ceiling"):
        values = [points[task][reference] for task in tasks]
        cells = {task: f"{value:.3f}" for task, value in zip(tasks, values, strict=True)}
        rows.append({"": reference, **cells, "mean": f"{np.mean(values):.3f}"})
    return rows


def _stack(mixers: Sequence[str], blocks: int, width: int) -> Recipe:
    layers = max(2, blocks)
    spec = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": width // 8}
    components = [{"model": "mad", "config": {"mixer": mixer, **spec}} for mixer in mixers]
    return Recipe.parse({"components": components, "blocks": blocks, "projector": {"init": "identity"}})


def _alone(architecture: str, layers: int, width: int) -> Recipe:
    spec = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": width // 8}
    return Recipe.parse({"components": [{"model": architecture, "config": spec}], "blocks": 1})
