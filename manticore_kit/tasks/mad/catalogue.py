"""The tasks by name, with the baseline's numbers of rows and the difficulty sweep (Poli et al. 2024) as data."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import ValidationError

from manticore_kit.errors import ManticoreError
from manticore_kit.strict_data import explain
from manticore_kit.tasks.mad import compression, fuzzy_recall, memorization, recall, selective_copying
from manticore_kit.tasks.mad.compression import CompressionSettings
from manticore_kit.tasks.mad.fuzzy_recall import FuzzyRecallSettings
from manticore_kit.tasks.mad.memorization import MemorizationSettings
from manticore_kit.tasks.mad.recall import NoisyRecallSettings, RecallSettings
from manticore_kit.tasks.mad.selective_copying import SelectiveCopyingSettings
from manticore_kit.tasks.mad.settings import Split, TaskSettings
from manticore_kit.tasks.mad.targets import Ints, Tokens


@dataclass(frozen=True)
class Task:
    """What makes a task: settings whose defaults are the baseline, how rows are drawn, and what is asked about them.

    `sweep` names the values that each setting takes, one at a time; `num_examples` is the number of training rows.
    """

    settings: type[TaskSettings]
    draw: Callable[..., Tokens]
    ask: Callable[..., tuple[Ints, Ints]]
    sweep: Mapping[str, tuple]
    num_train_examples: int = 12_800
    num_test_examples: int = 1_280

    def num_examples(self, split: Split) -> int:
        """The protocol's number of rows; validation has as many as test."""
        return self.num_train_examples if split == "train" else self.num_test_examples


_VOCABULARIES = (32, 64, 128)
_RECALL_LENGTHS = (256, 512, 1024)
_FEWER_ROWS = (6_400, 3_200, 1_600, 800)
_RECALL_SWEEP = {"vocab_size": _VOCABULARIES, "seq_len": _RECALL_LENGTHS, "num_examples": _FEWER_ROWS}

CATALOGUE: dict[str, Task] = {
    "in-context-recall": Task(RecallSettings, recall.draw, recall.ask, _RECALL_SWEEP),
    "noisy-in-context-recall": Task(
        NoisyRecallSettings,
        recall.draw,
        recall.ask,
        {
            "vocab_size": (48, 80, 144),
            "seq_len": _RECALL_LENGTHS,
            "frac_noise": (0.4, 0.6, 0.8),
            "num_examples": _FEWER_ROWS,
        },
    ),
    "fuzzy-in-context-recall": Task(FuzzyRecallSettings, fuzzy_recall.draw, fuzzy_recall.ask, _RECALL_SWEEP),
    "selective-copying": Task(
        SelectiveCopyingSettings,
        selective_copying.draw,
        selective_copying.ask,
        {
            "vocab_size": _VOCABULARIES,
            "seq_len": (512, 1024),
            "num_tokens_to_copy": (32, 64, 96),
            "num_examples": _FEWER_ROWS,
        },
    ),
    "compression": Task(
        CompressionSettings,
        compression.draw,
        compression.ask,
        {"vocab_size": _VOCABULARIES, "seq_len": (64, 128, 256), "num_examples": _FEWER_ROWS},
    ),
    "memorization": Task(
        MemorizationSettings,
        memorization.draw,
        memorization.ask,
        {"vocab_size": (512, 1024, 2048, 4096, 8192)},
        num_train_examples=256,
    ),
}
TASKS = tuple(CATALOGUE)


def task_of(name: str) -> Task:
    """The task called `name`; raises `ManticoreError` where there is none."""
    if name not in TASKS:
        refuse("task", name, TASKS)
    return CATALOGUE[name]


def settings_of(task: str, **settings: Any) -> TaskSettings:
    """The settings of a task, the baseline's where they are left out.

    Raises `ManticoreError` for a task or a setting that there is not, and for settings with which there are no rows;
    the message gives the smallest value that works.
    """
    model = task_of(task).settings
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise ManticoreError(explain(error, model, task)) from None


def difficulty_sweep(task: str) -> list[dict[str, Any]]:
    """The changes to the baseline by which a task is made harder: none first, then one variable at a time.

    Each is what `generate` takes for training rows; `num_examples` is of no concern to validation and test. Raises
    `ManticoreError` for a task that there is not.
    """
    sweep = task_of(task).sweep
    return [{}, *({name: value} for name, values in sweep.items() for value in values)]


def refuse(noun: str, given: object, known: Iterable[str]) -> NoReturn:
    """Raises `ManticoreError` about a name that is none of the `known`, with the one that may have been meant."""
    known = list(known)
    near = difflib.get_close_matches(str(given), known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ManticoreError(f"{noun} {given!r}: there is none of that name; {hint}There are {', '.join(known)}.")
