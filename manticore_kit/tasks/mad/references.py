"""What guessing gets on a set of rows, and the most that can be had: without these a figure says little.

All are micro accuracies, in expectation over ties and over guesses, so no seed is needed.
"""

import numpy as np

from manticore_kit.errors import ManticoreError
from manticore_kit.tasks.mad.generation import Rows
from manticore_kit.tasks.mad.targets import IGNORED, Ints

# Counts of ids at all positions, at a time (16 MB).
_COUNTS_AT_A_TIME = 4_000_000


def reference_points(train: Rows, test: Rows) -> dict[str, float]:
    """Return the micro accuracies on `test`, rows of validation or test, that models are to be compared with.

    - *random*: guessing among the ids that can be an answer.
    - *majority*: the one of these ids that has been read most often in the row so far (in compression: in the row);
      among equals, and where none was read, a guess. In memorization, whose rows show no answers, it is the most
      frequent target of `train`.
    - *ceiling*: knowing all that `train` and the row tell. It is 1 but in memorization, where a key that `train` never
      shows can only be guessed among the values that are not known to be another key's.

    Raises `ManticoreError` where `train` holds no training rows, `test` holds some, or they are of different tasks or
    settings.
    """
    if train.split != "train" or test.split == "train":
        raise ManticoreError(
            f"reference points are of training rows and rows of validation or test, not of {train.split} and "
            f"{test.split}: swap them or generate others."
        )
    if (train.task, train.settings) != (test.task, test.settings):
        raise ManticoreError(
            f"training rows are of {train.task} with {train.settings.plain()}, but {test.split} rows are of "
            f"{test.task} with {test.settings.plain()}: generate both with the same settings."
        )
    memorized = test.task == "memorization"
    return {
        "random": 1 / len(test.settings.answers),
        "majority": _most_frequent(train, test) if memorized else _majority_so_far(test),
        "ceiling": _ceiling_of_memory(train, test) if memorized else 1.0,
    }


def _most_frequent(train: Rows, test: Rows) -> float:
    counts, found = (np.bincount(_asked(rows), minlength=rows.settings.vocab_size) for rows in (train, test))
    return float(found[counts == counts.max()].mean() / found.sum())


def _majority_so_far(rows: Rows) -> float:
    answers = np.array(rows.settings.answers)
    batches = np.array_split(np.arange(len(rows)), -(-rows.inputs.size * len(answers) // _COUNTS_AT_A_TIME))
    return sum(_hits_of_majority(rows, batch, answers) for batch in batches) / len(_asked(rows))


def _hits_of_majority(rows: Rows, batch: Ints, answers: Ints) -> float:
    """Expected number of right guesses on the rows numbered `batch`."""
    inputs, targets = rows.inputs[batch], rows.targets[batch]
    row, position = np.nonzero(targets != IGNORED)
    read_up_to = np.full_like(position, -1) if rows.task == "compression" else position
    counts = np.cumsum(inputs[..., None] == answers, axis=1, dtype=np.int32)[row, read_up_to]
    is_best = counts == counts.max(axis=1, keepdims=True)
    hits = is_best[np.arange(len(row)), targets[row, position] - answers[0]]
    return float((hits / is_best.sum(axis=1)).sum())


def _ceiling_of_memory(train: Rows, test: Rows) -> float:
    shown = np.unique(train.inputs[:, ::2])
    is_known = np.isin(test.inputs[:, ::2], shown)
    values_left = len(test.settings.answers) - len(shown)
    return float(is_known.mean() + (~is_known).mean() / max(values_left, 1))


def _asked(rows: Rows) -> Ints:
    return rows.targets[rows.targets != IGNORED]
