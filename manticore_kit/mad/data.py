"""A MAD task as `fit` takes it: rows to learn, rows to choose by, rows to report.

A causal language model predicts the *next* token, while a target of MAD belongs to the position that it stands at. So a
row gets one more token at its end and its targets move up by one; then every model's own loss is the task's. Nothing
reads the added token: what comes later changes nothing before it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from manticore_kit.tasks import mad
from manticore_kit.training.data import Examples, Judgement, in_passes

# Rows of validation that are looked at while a model trains; all of them are at the end.
QUICK = 256

_ROWS_AT_A_TIME = 64


@dataclass(frozen=True)
class MadData:
    """The rows of one task: for `fit`, and to judge a model by."""

    train: mad.Rows
    validation: mad.Rows
    test: mad.Rows

    @classmethod
    def of(
        cls,
        task: str,
        *,
        seed: int = 0,
        num_examples: int | None = None,
        judged_examples: int | None = None,
        **settings: Any,
    ) -> "MadData":
        """All three sets of `task`, drawn with `seed`; `num_examples` rows to learn, `judged_examples` in the others.

        Numbers left out are the protocol's; `settings` are the task's own. Raises `ManticoreError` for unknown names,
        and for settings that make no task.
        """
        train = mad.generate(task, "train", num_examples=num_examples, seed=seed, **settings)
        rest = {"num_examples": judged_examples, "seed": seed, **settings}
        return cls(train, mad.generate(task, "validation", **rest), mad.generate(task, "test", **rest))

    @property
    def task(self) -> str:
        """The name of the task."""
        return self.train.task

    def training_examples(self, count: int, seed: int) -> Examples:
        """`count` training rows in the order of `seed`; none comes again before all were there."""
        order = in_passes(len(self.train.inputs), count, np.random.default_rng(seed))
        return _examples(self.train, order)

    @property
    def search_examples(self) -> Examples:
        """The validation rows."""
        return _examples(self.validation)

    def measure(self, model: Any) -> dict[str, float]:
        """Loss (nats per target) and micro accuracy on the first validation rows."""
        losses, scores = _judged(model, self.validation, QUICK)
        return {"loss": float(losses.mean()), "accuracy": scores.micro}

    def judge(self, model: Any) -> Judgement:
        """The loss on each test row, and accuracies: on test rows micro and macro, on validation rows micro."""
        losses, scores = _judged(model, self.test)
        chosen_by = _judged(model, self.validation)[1].micro
        return Judgement(
            {"test": losses},
            {"accuracy": scores.micro, "macro_accuracy": scores.macro, "validation_accuracy": chosen_by},
        )


def _examples(rows: mad.Rows, order: Tensor | None = None) -> Examples:
    inputs, targets = torch.from_numpy(rows.inputs), torch.from_numpy(rows.targets)
    return Examples(torch.cat([inputs, inputs[:, -1:]], dim=1), F.pad(targets, (1, 0), value=mad.IGNORED), order=order)


@torch.inference_mode()
def _judged(model: Any, rows: mad.Rows, count: int | None = None) -> tuple[NDArray, mad.Accuracy]:
    """The mean loss on each row (examples,) and the accuracy, of the first `count` rows."""
    ids, targets = _examples(rows).input_ids[:count], torch.from_numpy(rows.targets[:count])
    device = next(model.parameters()).device
    losses, predictions = [], []
    was_training = model.training
    model.eval()
    try:
        for batch, wanted in zip(ids.split(_ROWS_AT_A_TIME), targets.split(_ROWS_AT_A_TIME), strict=True):
            logits = model(input_ids=batch.to(device)).logits[:, : wanted.shape[1]].float().cpu()
            each = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none", ignore_index=mad.IGNORED)
            losses.append(each.sum(dim=1) / (wanted != mad.IGNORED).sum(dim=1))
            predictions.append(logits.argmax(dim=-1))
    finally:
        model.train(was_training)
    return torch.cat(losses).double().numpy(), mad.accuracy(torch.cat(predictions).numpy(), targets.numpy())
