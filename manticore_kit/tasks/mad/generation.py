"""Sets of rows: for training, for choosing, and for the figures that are reported."""

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from manticore_kit.errors import ManticoreError
from manticore_kit.tasks.mad.catalogue import TASKS, refuse, settings_of, task_of
from manticore_kit.tasks.mad.settings import Split, TaskSettings
from manticore_kit.tasks.mad.splits import generator_of, rows_of_split
from manticore_kit.tasks.mad.targets import Ints


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one split of a task.

    `inputs` and `targets` are ids (examples, length), int64. `targets[i, t]` is what is to be predicted after reading
    `inputs[i, :t + 1]` (in compression: after reading all of `inputs[i]`); −100 where nothing is asked.
    """

    task: str
    split: Split
    settings: TaskSettings
    inputs: Ints
    targets: Ints

    def __len__(self) -> int:
        return len(self.inputs)


def generate(task: str, split: Split, *, num_examples: int | None = None, seed: int = 0, **settings: Any) -> Rows:
    """Return rows of a task, with the baseline's settings and the protocol's number of rows where these are left out.

    *train* asks for all that the task asks while a model learns, *validation* and *test* only for what can be known.
    No row of one split is in another, not even with another seed; `splits.py` says how, and when there are too few
    rows for that. The same call gives the same rows, whichever others were made before.

    Raises `ManticoreError` for a task, split or setting that there is not, and for settings with which there are no
    rows.
    """
    values = settings_of(task, **settings)
    if split not in get_args(Split):
        refuse("split", split, get_args(Split))
    rules = task_of(task)
    count = rules.num_examples(split) if num_examples is None else _whole("num_examples", num_examples, 1)
    rng = generator_of(_whole("seed", seed, 0), TASKS.index(task), split)
    tokens = rows_of_split(split, count, lambda number: rules.draw(values, split, rng, number))
    return Rows(task, split, values, *rules.ask(values, split, tokens))


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ManticoreError(f"{name} is {value!r}; give a whole number, {least} or more.")
    return int(value)
