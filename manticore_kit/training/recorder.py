"""What is written down while a model trains, and how somebody who watches is told."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl

from manticore_kit.hybrid.modeling import ManticoreForCausalLM, rounded_rows
from manticore_kit.tasks.language.evaluate import per_example_losses
from manticore_kit.training.journal import Journal

# A curve needs no more points than this, however long the training.
MOST_LINES = 1000


class Recorder(TrainerCallback):
    """Writes training losses, mixtures and the loss on `held_out` (windows, length) to `journal`.

    `watch(events)` is given all events so far at each held-out loss, and some forty times between the first and the
    last step. Of several processes the first writes.
    """

    def __init__(
        self,
        journal: Journal,
        held_out: Tensor | None,
        evaluate_every: int,
        watch: Callable[[list[dict[str, Any]]], object] | None = None,
    ):
        self.journal, self.held_out, self.evaluate_every, self.watch = journal, held_out, evaluate_every, watch
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
            self._write(step, loss.item(), model, held_out=evaluate)
            if self.watch is not None and args.process_index == 0 and (evaluate or step % max(1, last // 40) == 0):
                self.watch(self.journal.events)

    def _write(self, step: int, loss: float | None, model, *, held_out: bool) -> None:
        if self.trainer.args.process_index != 0:
            return
        if loss is not None:
            self.journal.write("train", step, loss=loss)
        if isinstance(model, ManticoreForCausalLM):
            self.journal.write("mixture", step, rows=rounded_rows(model.mixture_weights))
        if held_out and self.held_out is not None:
            self.journal.write("held-out", step, loss=per_example_losses(model, self.held_out).mean().item())


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
