"""Training one model into a run's folder: it can be stopped, killed and started again, and ends the same."""

import json
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PrinterCallback, TrainerCallback, TrainingArguments
from transformers.utils import logging as transformers_logging

from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid.modeling import ManticoreForCausalLM, rounded_rows
from manticore_kit.training.data import Examples, TrainingData
from manticore_kit.training.journal import Journal
from manticore_kit.training.parts import hybrid_in
from manticore_kit.training.processes import is_first_process, on_cpu, processes
from manticore_kit.training.recorder import ProgressBar, Recorder, Stopper
from manticore_kit.training.run import Run, environment, fingerprint, write_json
from manticore_kit.training.settings import TrainingSettings
from manticore_kit.training.trainer import COMPLETE, PartsTrainer, checkpoints
from manticore_kit.zoo.training import Stopwatch


class Stopped(ManticoreError):
    """The training was asked to stop; a checkpoint was written."""


def fit(
    model: Any,
    data: TrainingData,
    settings: TrainingSettings,
    folder: Path | str,
    *,
    progress: str | None = None,
    watch: Callable[[list[dict[str, Any]]], object] | None = None,
    stop: Callable[[], bool] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    keep_model: bool = True,
) -> Run:
    """Trains `model` in place on the training examples of `data` and returns the run in `folder`.

    Where `folder` holds a part of the same run, it goes on from there; where it holds all of it, nothing is trained
    and `model` gets its weights (unless they were not kept). The same run ends with the same weights, to the last bit
    on a CPU, however often it was interrupted. `progress` is the title of a progress bar, `watch` is given the events
    as they come (see `Recorder`), and `stop` is asked after each step. An interrupt (Ctrl-C, or the kernel's) ends the
    training after its step, with a checkpoint.

    Raises `ManticoreError` for a folder that holds another run, for settings that do not fit the model or its data, and
    where a loss is not a number or a checkpoint cannot be written; `Stopped` where it was stopped.
    """
    folder = Path(folder)
    search = settings.search
    if search is not None:
        _check_search(model, data, settings)
    examples = data.training_examples(settings.steps * settings.batch_size, settings.seed)
    held = data.search_examples if search is not None else None
    search_tensors = {"search": None} if held is None else held.tensors("search")
    identity = fingerprint(model, {**examples.tensors("train"), **search_tensors})
    run = Run(folder)
    try:
        _claim(run, settings, model, identity)
        processes().wait_for_everyone()
        if run.is_finished:
            _take_weights(model, run)
            return run
        _train(model, data, examples, settings, run, progress, watch, stop, callbacks)
        if is_first_process():
            _finish(model, data, settings, run, keep_model)
        processes().wait_for_everyone()
    except OSError as error:
        raise ManticoreError(
            f"{folder}: the run could not be written ({error}). {_what_is_left(folder)} Free some space, and start the "
            "same run again; it goes on from there."
        ) from error
    return Run(folder)


def _what_is_left(folder: Path) -> str:
    left = checkpoints(folder / "checkpoints")
    return f"The last good checkpoint is {left[-1]}." if left else "There is no checkpoint yet."


def _check_search(model: Any, data: TrainingData, settings: TrainingSettings) -> None:
    hybrid = hybrid_in(model)
    if hybrid is None or hybrid.is_discretised:
        what = "a discretised hybrid" if hybrid is not None else type(model).__name__
        raise ManticoreError(f"search: {what} has no mixture to search; leave `search` out to train it as it is.")
    held = 0 if data.search_examples is None else len(data.search_examples)
    if settings.search and settings.search.level == "bilevel" and held < settings.batch_size:
        raise ManticoreError(
            f"search.level is bilevel: a mixture step takes `batch_size` = {settings.batch_size} examples, and only "
            f"{held} are held for the search. Raise `data.search`, or lower `batch_size`."
        )


def _claim(run: Run, settings: TrainingSettings, model: Any, identity: str) -> None:
    """Makes the folder this run's, or raises where it is another's."""
    known = run.folder / "start.json"
    if known.is_file():
        before = Run(run.folder).settings.plain()
        now = settings.plain()
        if differing := [name for name in {**before, **now} if before.get(name) != now.get(name)]:
            name = differing[0]
            raise ManticoreError(
                f"{run.folder} holds another run: its `{name}` is {before.get(name)!r}, not {now.get(name)!r}. Name a "
                "new folder, or remove that one."
            )
        if json.loads(known.read_text(encoding="utf-8"))["fingerprint"] != identity:
            raise ManticoreError(
                f"{run.folder} holds a run that began from other weights or on other text. Name a new folder, or "
                "remove that one."
            )
        return
    if not is_first_process():
        return
    # Folders inside are those of earlier stages, such as the pretraining of projectors.
    if run.folder.exists() and (not run.folder.is_dir() or any(not path.is_dir() for path in run.folder.iterdir())):
        raise ManticoreError(f"{run.folder} exists and holds no run; name a folder that is new or empty.")
    run.folder.mkdir(parents=True, exist_ok=True)
    settings.to_yaml(run.folder / "settings.yaml")
    if (hybrid := hybrid_in(model)) is not None and hybrid.config.recipe:
        hybrid.recipe.to_yaml(run.folder / "recipe.yaml")
    write_json(run.folder / "environment.json", environment())
    write_json(known, {"fingerprint": identity})


def _train(
    model,
    data: TrainingData,
    examples: Examples,
    settings: TrainingSettings,
    run: Run,
    progress,
    watch,
    stop,
    callbacks,
) -> None:
    first = is_first_process()
    work = run.folder / "checkpoints"
    arguments = _arguments(settings, work)
    tenth = -(-settings.steps // 10)
    if first:
        work.mkdir(parents=True, exist_ok=True)
        _drop_incomplete(work)
    processes().wait_for_everyone()
    found = checkpoints(work)
    last = found[-1] if found else None
    journal = Journal(run.folder / "metrics.jsonl" if first else None, until=_step_of(last))
    with _interrupts() as interrupted:
        stopper = Stopper(lambda: interrupted() or (stop is not None and stop()))
        every = tenth if settings.evaluate_every is None else settings.evaluate_every
        measure = data.measure if every else None
        recorder = Recorder(journal, measure, every or tenth, watch, settings.stop_at_accuracy)
        bar = ProgressBar(journal, progress) if progress else None
        own = [Stopwatch(work), recorder, stopper, *([bar] if bar else ()), *callbacks]
        was_training = {name: p.requires_grad for name, p in model.named_parameters()}
        noise = settings.search.temperature if settings.search and settings.search.method == "dash" else None
        mixture: Any = getattr(hybrid_in(model), "mixture", None)
        try:
            if noise is not None:
                mixture.temperature = noise
            trainer = PartsTrainer(
                model, arguments, examples, settings=settings, search_examples=data.search_examples, callbacks=own
            )
            recorder.trainer = trainer
            trainer.remove_callback(PrinterCallback)
            with _without_bars():
                trainer.train(resume_from_checkpoint=None if last is None else str(last))
        finally:
            journal.close()
            if bar:
                bar.close()
            if noise is not None:
                mixture.temperature = None
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(was_training[name])
            model.eval()
    if stopper.stopped:
        raise Stopped(
            f"Stopped after step {trainer.state.global_step} of {settings.steps}. The checkpoint is in {work}; the "
            "same run goes on from it."
        )


def _arguments(settings: TrainingSettings, work: Path) -> TrainingArguments:
    given: dict[str, Any] = dict(settings.trainer)
    tenth = -(-settings.steps // 10)
    own = {
        "output_dir": str(work),
        "max_steps": settings.steps,
        "weight_decay": settings.weight_decay,
        "warmup_steps": round(settings.warmup * settings.steps),
        "max_grad_norm": settings.max_grad_norm,
        "seed": settings.seed,
        "train_sampling_strategy": "sequential",  # the examples lie in the seed's order already
        "save_strategy": "steps",
        "save_steps": settings.checkpoint_every or tenth,
    }
    usual = {
        "lr_scheduler_type": "cosine",
        "logging_strategy": "no",
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": on_cpu(),
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    try:
        arguments = TrainingArguments(**{**usual, **given, **own})
    except (ValueError, TypeError, ImportError) as error:
        raise ManticoreError(f"trainer: {error}") from error
    shares = arguments.world_size * arguments.gradient_accumulation_steps
    if settings.batch_size % shares:
        raise ManticoreError(
            f"batch_size={settings.batch_size} cannot be shared out among {arguments.world_size} processes × "
            f"{arguments.gradient_accumulation_steps} accumulated batches: give a multiple of {shares}."
        )
    arguments.per_device_train_batch_size = settings.batch_size // shares // max(1, arguments.n_gpu)
    return arguments


def _finish(model: Any, data: TrainingData, settings: TrainingSettings, run: Run, keep_model: bool) -> None:
    judgement = data.judge(model)
    losses = judgement.losses
    part = run.folder / ".losses.part.npz"
    np.savez_compressed(part, **losses)  # pyright: ignore[reportArgumentType]
    part.replace(run.folder / "losses.npz")
    if keep_model:
        _save_model(model, run.folder / "model")
    seconds, processor_seconds = Stopwatch(run.folder / "checkpoints").before
    hybrid = hybrid_in(model)
    write_json(
        run.folder / "result.json",
        {
            "steps": _last_step(run, settings),
            "held_out": {kind: float(values.mean()) for kind, values in losses.items()},
            "loss": float(np.concatenate(list(losses.values())).mean()),
            **({"scores": judgement.scores} if judgement.scores else {}),
            "components": hybrid.config.component_names if hybrid is not None else None,
            "mixture": rounded_rows(hybrid.mixture_weights) if hybrid is not None else None,
            "parameters": sum(p.numel() for p in model.parameters()),
            "seconds": round(seconds, 1),
            "processor_seconds": round(processor_seconds, 1),
        },
    )
    shutil.rmtree(run.folder / "checkpoints")


def _last_step(run: Run, settings: TrainingSettings) -> int:
    """The steps that were taken: all, unless an accuracy was reached before."""
    return settings.steps if settings.stop_at_accuracy is None else max(event["step"] for event in run.events)


def _save_model(model: Any, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)  # of a run that was cut short between here and its end
    with _without_bars():
        _save_whole(model, target)


def _save_whole(model: Any, target: Path) -> None:
    if isinstance(model, ManticoreForCausalLM):
        model.save_pretrained(target)
        return
    draft = Path(tempfile.mkdtemp(prefix=".model.", dir=target.parent))
    model.save_pretrained(draft)
    draft.chmod(0o755)
    draft.rename(target)


def _take_weights(model: Any, run: Run) -> None:
    saved = run.folder / "model"
    if saved.is_dir():
        trained = type(model).from_pretrained(saved)
        model.load_state_dict(trained.state_dict())


def _drop_incomplete(work: Path) -> None:
    for folder in work.iterdir():
        if folder.is_dir() and not (folder / COMPLETE).exists():
            shutil.rmtree(folder)


def _step_of(checkpoint: Path | None) -> int:
    return -1 if checkpoint is None else int(checkpoint.name.rpartition("-")[2])


@contextmanager
def _without_bars() -> Iterator[None]:
    """A bar for every checkpoint would bury the run's own."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Yields whether an interrupt came; a second one ends the process as ever."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number, frame):
        came.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGINT, before)
