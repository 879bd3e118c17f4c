"""Hugging Face's Trainer with what a hybrid's training needs: parts with their own rates, searches, safe checkpoints.

A search moves the mixture beside the weights. Single-level and simultaneous, both step by the gradients of one batch.
Otherwise the mixture's gradient is computed by itself: on batches held for it where the search is bilevel, and at the
weights as they are after their step where updates alternate. It goes to the logits alone, so the extra pass costs no
gradients of weights.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from manticore_kit.errors import ManticoreError
from manticore_kit.training.data import Examples, check_labels
from manticore_kit.training.optimizer import PartsOptimizer
from manticore_kit.training.parts import freeze, hybrid_in, parameter_groups
from manticore_kit.training.settings import TrainingSettings

COMPLETE = "complete"  # the file that says that a checkpoint was written to its end


class PartsTrainer(Trainer):
    """Trains `model` by `settings`; `search_examples` are those of a bilevel search."""

    def __init__(
        self,
        model: nn.Module,
        arguments: TrainingArguments,
        examples: Any,
        *,
        settings: TrainingSettings,
        search_examples: Examples | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ):
        self.settings, self.search_examples = settings, search_examples
        self.last_loss = float("nan")
        self._summed = 0.0
        self._batches: list[dict[str, Any]] = []
        freeze(model, settings)
        super().__init__(model=model, args=arguments, train_dataset=examples, callbacks=list(callbacks))
        if self._own_pass:
            self.add_callback(_MixtureStep(self))

    @property
    def _folder(self) -> Path:
        return Path(str(self.args.output_dir))

    @property
    def _own_pass(self) -> bool:
        """Whether the mixture's gradient takes a pass of its own."""
        search = self.settings.search
        return search is not None and (search.level == "bilevel" or search.updates == "alternating")

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """AdamW by parts, and the mixture by the rule of its search."""
        if self.optimizer is None:
            target: Any = self.model if model is None else model
            search = self.settings.search
            self.optimizer = PartsOptimizer(
                parameter_groups(target, self.settings, set(self.get_decay_parameter_names(target))),
                exponentiated=search is not None and search.method == "gaea",
                apart={"mixture"} if search is not None and search.updates == "alternating" else (),
                betas=(self.args.adam_beta1, self.args.adam_beta2),
                eps=self.args.adam_epsilon,
            )
        return self.optimizer

    def training_step(self, model, inputs, num_items_in_batch=None) -> Tensor:
        """One forward and backward; raises `ManticoreError` where the loss is not a number."""
        if self.settings.search is not None and self.settings.search.level == "single" and self._own_pass:
            self._batches.append(inputs)
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            self._explain(loss, inputs)
        self._summed += loss.item()  # of accumulated batches, each scaled to its share
        if self.accelerator.sync_gradients:
            self.last_loss, self._summed = self._summed, 0.0
        return loss

    def _explain(self, loss: Tensor, inputs: dict[str, Any]) -> None:
        check_labels(inputs["labels"])
        raise ManticoreError(
            f"The loss became {loss.item()} at step {self.state.global_step + 1}. {self._what_is_left()} Lower the "
            "learning rates, clip gradients harder (`max_grad_norm`), or look at the examples of this step."
        )

    # ---------------------------------------------------------------------------------------------------- search

    def mixture_gradient(self) -> Tensor:
        """The gradient of the mixture's logits at the present weights, on this step's own batches for the search."""
        model: Any = self.accelerator.unwrap_model(self.model)
        model.train()
        batches = self._batches or self._search_batches()
        logits = hybrid_in(model).mixture.logits  # pyright: ignore[reportOptionalMemberAccess]
        total = torch.zeros_like(logits)
        for batch in batches:
            with self.compute_loss_context_manager():
                loss = model(**self._prepare_inputs(batch)).loss / len(batches)
            if not torch.isfinite(loss):
                self._explain(loss, batch)
            total += torch.autograd.grad(loss, logits)[0]
        self._batches.clear()
        if self.args.world_size > 1:
            total = self.accelerator.reduce(total, "mean")
        return total  # pyright: ignore[reportReturnType]

    def _search_batches(self) -> list[dict[str, Tensor]]:
        """This process's share of the examples drawn for this step; the draw depends on seed and step alone."""
        examples = self.search_examples
        assert examples is not None
        step = self.state.global_step
        rng = np.random.default_rng([self.settings.seed, step])
        drawn = rng.choice(len(examples), size=self.settings.batch_size, replace=False)
        own = torch.from_numpy(drawn).view(self.args.world_size, -1)[self.args.process_index]
        return [examples[part] for part in own.split(self.args.train_batch_size)]  # pyright: ignore[reportArgumentType]

    # ----------------------------------------------------------------------------------------------- checkpoints

    def _issue_warnings_after_load(self, load_result) -> None:
        """Says nothing of tied weights, which a checkpoint holds once."""

    def _save_checkpoint(self, model, trial) -> None:
        """Writes a checkpoint, and drops the one before only when the new one is complete."""
        folder = self._folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        wrong = [name for name, p in self.model.named_parameters() if not _is_good(name, p)]  # pyright: ignore[reportOptionalMemberAccess]
        if wrong:
            raise ManticoreError(
                f"{wrong[0]!r} is not finite after step {self.state.global_step}, so no checkpoint was written. "
                f"{self._what_is_left()} Lower the learning rates, or clip gradients harder (`max_grad_norm`)."
            )
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # each process writes the state of its random numbers
            if self.args.should_save:
                (folder / COMPLETE).touch()
        except (OSError, RuntimeError, SafetensorError, ManticoreError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ManticoreError(
                f"The checkpoint after step {self.state.global_step} could not be written: {error}. "
                f"{self._what_is_left()} Free some space and start the run again; it goes on from there."
            ) from error
        if self.args.should_save:
            for other in checkpoints(self._folder):
                if other != folder:
                    (other / COMPLETE).unlink()  # first, so that none is ever found half there
                    shutil.rmtree(other)

    def _what_is_left(self) -> str:
        left = checkpoints(self._folder)
        return f"The last good checkpoint is {left[-1]}." if left else "There is no earlier checkpoint."


class _MixtureStep(TrainerCallback):
    """Takes the mixture's own pass at its place in the step."""

    def __init__(self, trainer: PartsTrainer):
        self.trainer = trainer

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if self.trainer.settings.search.updates == "simultaneous":  # pyright: ignore[reportOptionalMemberAccess]
            self._logits(model).grad = self.trainer.mixture_gradient()

    def on_optimizer_step(self, args, state, control, model=None, optimizer=None, **kwargs):
        if self.trainer.settings.search.updates == "alternating":  # pyright: ignore[reportOptionalMemberAccess]
            self._logits(model).grad = self.trainer.mixture_gradient()
            cast(PartsOptimizer, getattr(optimizer, "optimizer", optimizer)).step_part("mixture")

    def _logits(self, model) -> nn.Parameter:
        return hybrid_in(self.trainer.accelerator.unwrap_model(model)).mixture.logits  # pyright: ignore[reportOptionalMemberAccess]


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in `folder`, oldest first."""
    found = [path.parent for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{COMPLETE}")]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def _is_good(name: str, parameter: Tensor) -> bool:
    """Whether all numbers are finite; a logit of −∞ is a mixture weight of 0."""
    bad = parameter.isnan() if name.endswith("mixture.logits") else ~parameter.isfinite()
    return not bad.any()
