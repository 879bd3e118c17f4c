"""Learning rates by Optuna, judged on the search windows; the held-out ones are not looked at."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from manticore_kit.errors import ManticoreError
from manticore_kit.training.data import Text
from manticore_kit.training.fit import fit
from manticore_kit.training.plan import TunePlan
from manticore_kit.training.processes import processes
from manticore_kit.training.settings import LearningRates, TrainingSettings

# Tried are rates from a tenth to ten times the given ones.
SPAN = 10.0


def tuned(
    model: Any, text: Text, settings: TrainingSettings, plan: TunePlan, folder: Path, *, say: Callable[[str], object]
) -> TrainingSettings:
    """`settings` with the learning rates of the best trial; `model` is left as it is.

    Trials are kept in `folder`: started again, those that are missing are run. Raises `ManticoreError` where Optuna is
    not installed, where there are no search windows, and in several processes.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError:
        raise ManticoreError("tune: Optuna is not installed; `pip install optuna`, or leave `tune` out.") from None
    if not len(text.search_windows):
        raise ManticoreError("tune: rates are judged on the search windows, and `data.search` is 0.")
    if processes().num_processes > 1:
        raise ManticoreError("tune: rates are tuned in one process; leave `tune` out and name the rates it found.")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / "study.log"))),
        sampler=optuna.samplers.TPESampler(seed=settings.seed),
        study_name="learning rates",
        load_if_exists=True,
    )
    judged = replace(text, held_out=text.search)
    moving = [part for part in settings.moving if settings.rates[part] > 0]

    def loss(trial: Any) -> float:
        rates = {
            part: trial.suggest_float(part, settings.rates[part] / SPAN, settings.rates[part] * SPAN, log=True)
            for part in moving
        }
        tried = _with_rates(settings, rates).model_copy(update={"steps": plan.steps or settings.steps})
        run = fit(copy.deepcopy(model), judged, tried, folder / f"trial-{trial.number}", keep_model=False)
        return run.result["loss"]

    def tell(study: Any, trial: Any) -> None:
        found = ", ".join(f"{part} {rate:.2g}" for part, rate in trial.params.items())
        say(f"Trial {trial.number + 1}: {trial.value:.4f} at {found}")

    complete = (optuna.trial.TrialState.COMPLETE,)
    missing = plan.trials - len(study.get_trials(deepcopy=False, states=complete))
    if missing > 0:
        study.optimize(loss, n_trials=missing, callbacks=[tell], catch=())
    chosen = _with_rates(settings, study.best_params)
    chosen.to_yaml(folder / "tuned.yaml")
    return chosen


def _with_rates(settings: TrainingSettings, rates: dict[str, float]) -> TrainingSettings:
    known = {part: rate for part, rate in settings.learning_rates.model_dump().items() if rate is not None}
    return settings.model_copy(update={"learning_rates": LearningRates.model_validate({**known, **rates})})
