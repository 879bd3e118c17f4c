"""Trainings that are compared: one `Trial` says which model, `perform` trains it in a folder of its own.

A process keeps the text and the tokenizer of its last trials, so that a pool of processes reads them once each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from manticore_kit.analysis.surface import path_label
from manticore_kit.components.loading import load, load_tokenizer
from manticore_kit.hybrid.modeling import ManticoreForCausalLM
from manticore_kit.recipe import Recipe
from manticore_kit.training.after import discretised
from manticore_kit.training.data import Text, load_text
from manticore_kit.training.fit import fit
from manticore_kit.training.run import Run
from manticore_kit.training.settings import DataSettings, TrainingSettings

Then = Literal["retrain", "discretise", "beam"]


@dataclass(frozen=True)
class Trial:
    """One training, and what follows it.

    `model` is a component (zoo name, hub id, folder), or the folder of a saved hybrid if `hybrid`. `mixture` are rows
    to set first. `discrete` drops all that the mixture, then one-hot, does not use. `then` names what follows a search:
    each a run of its own beside the first, of as many steps; `discrete_rates` are learning rates of discretised hybrids
    by their label (`one_hot_label`), where they are not the search's. With `choosing`, losses are those on the search
    windows, by which settings may be chosen.
    """

    folder: Path
    model: str
    settings: TrainingSettings
    hybrid: bool = False
    mixture: tuple[tuple[float, ...], ...] | None = None
    discrete: bool = False
    then: tuple[Then, ...] = ()
    discrete_rates: Mapping[str, float] | None = None
    keep_model: bool = False
    choosing: bool = False


def perform(trial: Trial) -> dict[str, Run]:
    """The runs of `trial` by name: `keep`, and one for each of `then`. What is finished is read and not run again."""
    names = ("keep", *trial.then)
    runs = {name: Run(trial.folder / name) for name in names}
    if all(run.is_finished for run in runs.values()):
        return runs
    text = text_of(trial)
    if trial.choosing:
        text = replace(text, held_out=text.search)
    model = _model(trial)
    needed = bool(trial.then)
    runs["keep"] = fit(model, text, trial.settings, trial.folder / "keep", keep_model=trial.keep_model or needed)
    afterwards = trial.settings.model_copy(update={"search": None})
    for name in trial.then:
        settings = afterwards
        if name == "retrain":
            again = _model(trial)
            again.set_mixture(torch.tensor(runs["keep"].mixture))
        else:
            again = discretised(model, text.search_windows, "beam" if name == "beam" else "nearest")
            rate = (trial.discrete_rates or {}).get(one_hot_label(again.recipe))
            if rate is not None:
                settings = afterwards.at_rate(rate)
        runs[name] = fit(again, text, settings, trial.folder / name, keep_model=trial.keep_model)
    return runs


def one_hot_label(recipe: Recipe) -> str:
    """What a discrete hybrid is made of: a component's name, or those of its blocks in order."""
    return path_label([int(np.argmax(row)) for row in recipe.rows], [each.model for each in recipe.components])


def _model(trial: Trial) -> Any:
    if not trial.hybrid:
        return load(trial.model).component.model
    hybrid = ManticoreForCausalLM.from_pretrained(trial.model)
    if trial.mixture is not None:
        hybrid.set_mixture(trial.mixture)
    return hybrid.discretize() if trial.discrete else hybrid


def text_of(trial: Trial) -> Text:
    """The text that `trial` is trained and judged on."""
    return _text(trial.settings.data.model_dump_json(), _Reader(load_tokenizer(trial.model)))


class _Reader:
    """A tokenizer that equals every other one that cuts text alike, though it was saved with another model."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self.rules = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else id(tokenizer)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reader) and self.rules == other.rules

    def __hash__(self) -> int:
        return hash(self.rules)


@lru_cache(maxsize=2)
def _text(data: str, reader: _Reader) -> Text:
    return load_text(DataSettings.model_validate_json(data), reader.tokenizer)
