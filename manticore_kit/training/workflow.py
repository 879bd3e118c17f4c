"""From a recipe and a plan to a run's folder: projectors, tuning, training or search, and what follows.

Each stage has a folder of its own inside the run's, is read where it is finished, and goes on where it was stopped:

    RUN/               the training or search itself, as `training/run.py` describes
    RUN/projectors     their pretraining, where no set was found
    RUN/tuning         what Optuna tried
    RUN/retrained, RUN/discretised
    RUN/mad.yaml       the MAD result that a hybrid was programmed by
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid.building import build
from manticore_kit.hybrid.modeling import ManticoreForCausalLM
from manticore_kit.proxy_result import Programming, result_file
from manticore_kit.recipe import Recipe
from manticore_kit.training.after import discretised, rows_from
from manticore_kit.training.data import Text, load_text
from manticore_kit.training.fit import fit
from manticore_kit.training.plan import Plan
from manticore_kit.training.pretraining import pretrain_projectors, reuse_projectors
from manticore_kit.training.processes import is_first_process
from manticore_kit.training.projector_sets import load_projectors, save_projectors
from manticore_kit.training.run import Run
from manticore_kit.training.settings import LearningRates

Say = Callable[[str], object]


def train(source: Path | str, plan: Plan, out: Path | str, *, progress: bool = False, say: Say = print) -> Run:
    """Trains the hybrid of a recipe, or a saved hybrid, by `plan` in the folder `out`; its mixture stays as it is.

    Where `out` holds a part of this, it goes on from there. Raises `ManticoreError` for a plan with a search, and as
    `fit` does.
    """
    if plan.search is not None:
        raise ManticoreError("This plan has a `search`, which `train` does not do: run `search`, or leave it out.")
    return _run(source, plan, Path(out), progress, say)


def search(source: Path | str, plan: Plan, out: Path | str, *, progress: bool = False, say: Say = print) -> Run:
    """Searches the mixture of the hybrid of a recipe, or of a saved hybrid, by `plan` in the folder `out`.

    Returns the run of the last stage: the search, or what the plan has follow it. Raises `ManticoreError` for a plan
    without a search, and as `fit` does.
    """
    if plan.search is None:
        raise ManticoreError("This plan has no `search`: add a line such as `search: {method: gaea}`, or run `train`.")
    return _run(source, plan, Path(out), progress, say)


def program(
    source: Path | str, by: Programming, plan: Plan, out: Path | str, *, progress: bool = False, say: Say = print
) -> Run:
    """Trains the hybrid of a recipe, or a saved hybrid, by `plan` at the mixture that `by` names, which stays.

    An aligned start is fitted at that mixture. The MAD result is copied beside the run. Raises `ManticoreError` for a
    plan that says otherwise what the mixture is, for a result of other families or blocks, and as `fit` does.
    """
    if plan.search is not None or plan.mixture is not None:
        other = "search" if plan.search is not None else "mixture"
        raise ManticoreError(f"This plan has a `{other}`, and the mixture is the MAD result's: leave `{other}` out.")
    run = _run(source, plan, Path(out), progress, say, by)
    if is_first_process():
        shutil.copyfile(result_file(by.mad), run.folder / "mad.yaml")
    return run


def start_of(source: Path | str, by: Programming | None = None) -> ManticoreForCausalLM:
    """The hybrid of a recipe's file, or the one saved in a folder; at the mixture that `by` names, where given."""
    if Path(source).is_dir():
        hybrid = ManticoreForCausalLM.from_pretrained(source)
        if by is not None:
            families = [entry["config"]["model_type"] for entry in hybrid.config.components]
            by.result.refuse_others(families, hybrid.config.num_blocks, by.mad)
            hybrid.set_mixture(by.rows)
        return hybrid
    recipe = Recipe.from_yaml(Path(source))
    if by is not None:
        recipe = recipe.model_copy(update={"mixture": None, "program": by})
    try:
        return build(recipe)
    except ManticoreError as error:
        raise ManticoreError(f"{source}: {error}") from error


def _run(source: Path | str, plan: Plan, out: Path, progress: bool, say: Say, by: Programming | None = None) -> Run:
    if out.exists() and not (out / "start.json").is_file() and any(path.name not in _STAGES for path in out.iterdir()):
        raise ManticoreError(f"{out} exists and holds no run; name a folder that is new or empty.")
    hybrid = start_of(source, by)
    if hybrid.tokenizer is None:
        raise ManticoreError(f"{source}: the hybrid has no tokenizer to read text with; name one with `tokenizer:`.")
    text = load_text(plan.data, hybrid.tokenizer)
    if plan.projectors is not None:
        _projectors(hybrid, text, plan, out, progress, say)
    if plan.mixture is not None:
        hybrid.set_mixture(rows_from(plan.mixture))
    settings = plan.training
    if plan.tune is not None:
        from manticore_kit.training.tuning import tuned

        settings = tuned(hybrid, text, settings, plan.tune, out / "tuning", say=say)
    begin = _weights(hybrid) if plan.after is not None else None
    bar = ("search" if settings.search else "training") if progress else None
    run = fit(hybrid, text, settings, out, progress=bar)
    if plan.after is None:
        return run
    title = "retraining" if plan.after.do == "retrain" else "training, discrete"
    following = settings.model_copy(
        update={
            "search": None,
            "steps": plan.after.steps or settings.steps,
            "learning_rates": plan.after.learning_rates or settings.learning_rates,
        }
    )
    if plan.after.do == "retrain":
        rows = hybrid.mixture_weights.detach().clone()
        hybrid.load_state_dict(begin)  # pyright: ignore[reportArgumentType]
        hybrid.set_mixture(rows)
    else:
        hybrid = discretised(hybrid, text.search_windows, plan.after.by)
    folder = out / ("retrained" if plan.after.do == "retrain" else "discretised")
    return fit(hybrid, text, following, folder, progress=title if progress else None)


_STAGES = {"projectors", "tuning"}


def _projectors(hybrid, text: Text, plan: Plan, out: Path, progress: bool, say: Say) -> None:
    """Found projectors are copied into the run, so that it starts the same however the store changes."""
    wanted: Any = plan.projectors
    own = out / "projectors"
    if (own / "projectors.json").is_file():
        load_projectors(hybrid, own)
        return
    found = None if (own / "start.json").is_file() else reuse_projectors(hybrid, wanted.store)
    if found is not None:
        say(f"Projectors of these components were found in {found}.")
        if is_first_process():
            save_projectors(hybrid, own, {"from": str(found)})
        return
    rates = LearningRates(projectors=wanted.learning_rate)  # pyright: ignore[reportCallIssue]
    settings = plan.training.model_copy(update={"steps": wanted.steps, "learning_rates": rates})
    title = "projectors" if progress else None
    pretrain_projectors(hybrid, text, settings, own, store=wanted.store, progress=title)


def _weights(hybrid) -> dict[str, Any]:
    return {name: tensor.detach().clone() for name, tensor in hybrid.state_dict().items()}
