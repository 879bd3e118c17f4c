"""A hybrid against its parts at equal budgets, over several seeds: who takes part, and on what terms.

- Every entrant sees the same windows in the same order at the same seed. A hybrid's step costs about two of a
  component's, so each component also runs with twice the steps.
- Each kind of entrant has the learning rate that was best for it on the search windows, from one grid, at a seed of its
  own. Losses are reported on the held-out windows, by which nothing is chosen.
- Ensembles are of the components that were fine-tuned at the same seed, which costs what a hybrid costs.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from manticore_kit.analysis.surface import path_label
from manticore_kit.baselines import ensemble_losses
from manticore_kit.components.loading import load
from manticore_kit.hybrid.building import build
from manticore_kit.recipe import Recipe
from manticore_kit.training.run import Run
from manticore_kit.training.settings import SearchSettings, TrainingSettings
from manticore_kit.training.trials import Trial

# The seed of runs that choose a learning rate, none of those that are reported.
CHOOSING_SEED = 1_000_000

# Entrants by whose learning rates others go.
UNIFORM = "hybrid, uniform mixture"
FRANKENMERGE = "frankenmerge"


@dataclass(frozen=True)
class Entrant:
    """Who takes part: a component, or the saved hybrid in the folder `model` (see `Trial`).

    `rate_of` names the entrant whose learning rate it shares, `mixture_rate` is that of its search, and `longer`
    multiplies the steps.
    """

    model: str
    rate_of: str
    hybrid: bool = False
    mixture: tuple[tuple[float, ...], ...] | None = None
    discrete: bool = False
    search: SearchSettings | None = None
    mixture_rate: float | None = None
    longer: int = 1
    keep_model: bool = False

    def trial(self, folder: Path, settings: TrainingSettings, rate: float) -> Trial:
        """The training of this entrant in `folder` at learning rate `rate`, otherwise by `settings`."""
        changes = {"search": self.search, "steps": settings.steps * self.longer}
        return Trial(
            folder,
            self.model,
            settings.at_rate(rate, self.mixture_rate).model_copy(update=changes),
            hybrid=self.hybrid,
            mixture=self.mixture,
            discrete=self.discrete,
            keep_model=self.keep_model,
        )


def save_start(
    components: Sequence[str],
    folder: Path,
    *,
    blocks: int = 2,
    ends: str = "own",
    projector: Mapping | None = None,
    mixture: Sequence[Sequence[float]] | None = None,
) -> str:
    """The folder of a hybrid of `components` as a recipe builds it (aligned unless `projector` says otherwise).

    It is aligned at `mixture`, uniform where that is left out. It is made there unless it is there already.
    """
    if not (folder / "config.json").exists():
        data = {
            "components": [{"model": name} for name in components],
            "blocks": blocks,
            "ends": ends,
            "projector": dict(projector or {"init": "aligned"}),
            "mixture": mixture,
        }
        build(Recipe.parse(data)).save_pretrained(folder)
    return str(folder)


def summed_width(components: Sequence[str]) -> int:
    """Σ d_k, the shared width at which an aligned start loses nothing between blocks."""
    return sum(load(name).component.width for name in components)


def entrants(
    components: Sequence[str], start: str, one_block: str, wide: str, search: SearchSettings, *, mixture_rate: float
) -> dict[str, Entrant]:
    """All that take part with two `components` and their saved hybrids: of two blocks, of one, and of summed width.

    Two hybrids are searched by `search` at `mixture_rate`.
    """
    chosen = {name: Entrant(name, name, keep_model=True) for name in components}
    chosen |= {f"{name}, twice the steps": Entrant(name, name, longer=2) for name in components}
    for path in ((0, 1), (1, 0)):
        rows = tuple(tuple(float(k == picked) for k in range(2)) for picked in path)
        label = f"{FRANKENMERGE} {path_label(path, components)}"
        chosen[label] = Entrant(start, label, hybrid=True, mixture=rows, discrete=True)
    searched: dict[str, Any] = {"search": search, "mixture_rate": mixture_rate}
    return chosen | {
        UNIFORM: Entrant(start, UNIFORM, hybrid=True),
        "hybrid, searched": Entrant(start, UNIFORM, hybrid=True, keep_model=True, **searched),
        "wide hybrid, searched": Entrant(wide, UNIFORM, hybrid=True, **searched),
        "one block, trained together": Entrant(one_block, UNIFORM, hybrid=True),
    }


# How mixture and weights take turns, in the table of searches: as published, and as DARTS was proposed.
UPDATE_RULES = {
    "simultaneous, single-level": {"updates": "simultaneous", "level": "single"},
    "alternating, bilevel": {"updates": "alternating", "level": "bilevel"},
}


def search_trials(
    start: str, settings: TrainingSettings, rates: Mapping[str, float], mixture_rates: Mapping[str, float], folder: Path
) -> dict[tuple[str, str], Trial]:
    """A search of the hybrid in `start` for each method of `mixture_rates` and update rule, and both retrainings.

    `rates` are learning rates of `entrants`: the uniform hybrid's is that of the searches, and a hybrid that was made
    discrete has that of the component or frankenmerge that it is.
    """
    discrete_rates = {name.removeprefix(f"{FRANKENMERGE} "): rate for name, rate in rates.items()}
    found = {}
    for method, mixture_rate in mixture_rates.items():
        for rule, updates in UPDATE_RULES.items():
            search = SearchSettings.model_validate({"method": method, **updates})
            entrant = Entrant(start, "", hybrid=True, search=search, mixture_rate=mixture_rate)
            trial = entrant.trial(folder / slug(f"{method} {rule}") / f"seed-{settings.seed}", settings, rates[UNIFORM])
            found[method, rule] = replace(trial, then=("retrain", "discretise"), discrete_rates=discrete_rates)
    return found


def rate_trials(
    takes_part: Mapping[str, Entrant], settings: TrainingSettings, rates: Iterable[float], folder: Path
) -> dict[str, Trial]:
    """A trial for each learning rate of each entrant that is not given another's."""
    settings = settings.model_copy(update={"seed": CHOOSING_SEED, "evaluate_every": 0})
    return {
        f"{name} at {rate:g}": replace(
            entrant.trial(folder / f"rate-{rate:g}" / slug(name), settings, rate), choosing=True, keep_model=False
        )
        for name, entrant in takes_part.items()
        if entrant.rate_of == name
        for rate in rates
    }


def best_rates(results: Mapping[str, Mapping[str, Run]]) -> dict[str, float]:
    """Of what the trials of `rate_trials` gave: the learning rate of the lowest loss for each entrant."""
    tried: dict[str, dict[float, float]] = {}
    for trial, runs in results.items():
        name, _, rate = trial.rpartition(" at ")
        tried.setdefault(name, {})[float(rate)] = runs["keep"].result["loss"]
    return {name: min(losses, key=losses.__getitem__) for name, losses in tried.items()}


def losses_over_seeds(runs: Sequence[Run]) -> NDArray:
    """Held-out losses (seeds, examples) of the runs of one entrant, kinds of text one after another."""
    return np.stack([np.concatenate(list(run.losses.values())) for run in runs])


def ensembles(runs: Sequence[Sequence[Run]], windows: Any, file: Path) -> dict[str, NDArray]:
    """Losses (seeds, examples) on `windows` of both ensembles of the components of `runs[seed]`; kept in `file`."""
    if not file.exists():
        found: dict[str, list[NDArray]] = {}
        for trained in runs:
            models = [load(str(run.folder / "model")).component.model for run in trained]
            for kind in ("probabilities", "logits"):
                losses = ensemble_losses(models, windows, of=kind)
                found.setdefault(f"ensemble of {kind}", []).append(losses.double().numpy())
        part = file.with_name(f".{file.stem}.part.npz")
        np.savez_compressed(part, **{name: np.stack(rows) for name, rows in found.items()})  # pyright: ignore[reportArgumentType]
        part.replace(file)
    with np.load(file, allow_pickle=False) as kept:
        return {name: kept[name] for name in kept.files}


def told(title: str) -> Callable[[int, int, Any], None]:
    """A `progress` for `run_trials`: a bar that goes when all are done, so that no report keeps it."""
    bar: Any = None

    def tell(done: int, total: int, name: Any) -> None:
        nonlocal bar
        bar = bar or tqdm(total=total, desc=title, unit="trial", leave=False)
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return tell


def slug(name: str) -> str:
    """`name` as part of a path."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_")
