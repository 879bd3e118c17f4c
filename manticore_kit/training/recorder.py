"""What is written down while a model trains, and how somebody who watches is told."""

from collections.abc import Callable
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl

from manticore_kit.hybrid.modeling import rounded_rows
from manticore_kit.training.journal import Journal
from manticore_kit.training.parts import hybrid_in

# A curve needs no more points than this, however long the training.
MOST_LINES = 1000


class Recorder(TrainerCallback):
    """Writes training losses, mixtures and what `measure` says of the model to `journal`.

    The training ends where the accuracy that `measure` gives is `enough`. `watch(events)` is given all events so far at
    each held-out loss, and some forty times between the first and the last step. Of several processes the first writes.
    """

    def __init__(
        self,
        journal: Journal,
        measure: Callable[[Any], dict[str, float]] | None,
        evaluate_every: int,
        watch: Callable[[list[dict[str, Any]]], object] | None = None,
        enough: float | None = None,
    ):
        self.journal, self.measure, self.evaluate_every, self.watch = journal, measure, evaluate_every, watch
        self.enough = enough
        self.trainer: Any = None  # set when there is one: it is made with its callbacks

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        """Writes how things stand before the first step."""
        if state.global_step == 0:
            self._write(0, None, model, held_out=True)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        """Writes the step, if it is one of those that are written."""
        step, last = state.global_step, state.max_steps
        evaluate = step % self.evaluate_every == 0 or step == last
        if evaluate or step % max(1, last // MOST_LINES) == 0:
            loss = torch.tensor(self.trainer.last_loss, device=args.device)
            if args.world_size > 1:
                loss = self.trainer.accelerator.reduce(loss, "mean")
            measured = self._write(step, loss.item(), model, held_out=evaluate)
            if evaluate and self.enough is not None and self._accuracy(measured, args) >= self.enough:
                control.should_training_stop = True
                control.should_save = False  # from a checkpoint here the same run would go on past its end
            if self.watch is not None and args.process_index == 0 and (evaluate or step % max(1, last // 40) == 0):
                self.watch(self.journal.events)

    def _accuracy(self, measured: dict[str, float], args) -> float:
        """The accuracy that the first process measured, in every process."""
        accuracy = torch.tensor(measured.get("accuracy", 0.0), device=args.device)
        return (self.trainer.accelerator.reduce(accuracy, "sum") if args.world_size > 1 else accuracy).item()

    def _write(self, step: int, loss: float | None, model, *, held_out: bool) -> dict[str, float]:
        if self.trainer.args.process_index != 0:
            return {}
        if loss is not None:
            self.journal.write("train", step, loss=loss)
        if (hybrid := hybrid_in(model)) is not None:
            self.journal.write("mixture", step, rows=rounded_rows(hybrid.mixture_weights))
        if not held_out or self.measure is None:
            return {}
        measured = self.measure(model)
        self.journal.write("held-out", step, **measured)
        return measured


class ProgressBar(TrainerCallback):
    """A bar of steps on standard error, with the losses as they come."""

    def __init__(self, journal: Journal, title: str):
        self.journal, self.title = journal, title
        self.bar: Any = None

    def on_train_begin(self, args, state, control, **kwargs):
        """Starts where the training starts."""
        if args.process_index == 0:
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.title, unit="step")

    def on_step_end(self, args, state, control, **kwargs):
        """Moves on, and shows the latest losses."""
        if self.bar is not None:
            latest = {event["event"]: event["loss"] for event in self.journal.events[-8:] if "loss" in event}
            self.bar.set_postfix({name: f"{loss:.3f}" for name, loss in latest.items()}, refresh=False)
            self.bar.update()

    def close(self) -> None:
        """Leaves the bar as it is; also after an error."""
        if self.bar is not None:
            self.bar.close()


class Stopper(TrainerCallback):
    """Ends the training after the step in which `wanted()` became true, with a checkpoint."""

    def __init__(self, wanted: Callable[[], bool]):
        self.wanted, self.stopped = wanted, False

    def on_step_end(self, args, state, control: TrainerControl, **kwargs):
        """Asks, and if so has a checkpoint written."""
        if state.global_step < state.max_steps and self.wanted():
            self.stopped = True
            control.should_training_stop = control.should_save = True
