"""Training, validation and test rows that have nothing in common.

- Every possible row belongs to one split: a hash of its tokens gives half of all rows to training, a quarter to
  validation and a quarter to test. A row that is drawn for a split and belongs to another is thrown away and drawn
  anew. So no row is in two splits, whatever the seeds and the numbers of examples: what one seed tests, no other seed
  trains on. (The last token of a recall row is not read, but it follows from those that are.)
- The hash knows nothing of what tokens mean, so a split's rows are a random part of all. Where there are many, as at
  every setting of the difficulty sweep, no token is more frequent in one split than in another.
- Every split of a task is drawn by a generator of its own. Making one needs no other, and none continues another.
- A split gives up when it has drawn four times as many rows as should have been enough. That happens only where there
  are a few dozen rows at most. Then those that it found are repeated; and where it found none, as all splits but one
  must where a single row is possible, it takes rows that belong to others.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from manticore_kit.tasks.mad.mixing import Words, mix
from manticore_kit.tasks.mad.settings import Split
from manticore_kit.tasks.mad.targets import Tokens

# Quarters of all rows that belong to each split.
QUARTERS: dict[Split, tuple[int, ...]] = {"train": (0, 1), "validation": (2,), "test": (3,)}

_BATCH = 1024  # rows at a time: the work stays in the processor's cache
_SPARE = 64  # rows more than expected to be needed, so that one batch is nearly always enough for the last few
_PATIENCE = 4  # times as many batches as should be enough
_SALT = 0x4D414421


def generator_of(seed: int, task_number: int, split: Split) -> np.random.Generator:
    """The generator of one split of one task, independent of those of other splits, tasks and seeds."""
    key = (task_number, list(QUARTERS).index(split))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def rows_of_split(split: Split, count: int, draw: Callable[[int], Tokens]) -> Tokens:
    """`count` rows (count, length) that belong to `split`, of those that `draw` gives for a number of rows."""
    share = len(QUARTERS[split]) / 4
    found: list[Tokens] = []
    missing = count
    for _ in range(_PATIENCE * math.ceil(count / share / _BATCH)):
        batch = draw(min(_BATCH, math.ceil(missing / share) + _SPARE))
        found.append(batch[np.isin(quarters(batch), QUARTERS[split])][:missing])
        missing -= len(found[-1])
        if not missing:
            break
    rows = np.concatenate(found)
    if missing:
        rows = np.resize(rows, (count, rows.shape[1])) if len(rows) else draw(count)
    return rows


def quarters(tokens: Tokens) -> NDArray[np.uint64]:
    """The quarter of all rows to which each row of `tokens` (rows, length) belongs, 0 to 3, (rows,).

    It depends on the tokens and their type alone.
    """
    words = _words(tokens)
    keys = np.random.SeedSequence(_SALT).generate_state(words.shape[1], np.uint64)
    # Each place has a key, so that the same tokens at other places come out otherwise.
    return mix(mix(words ^ keys).sum(axis=1)) >> np.uint64(62)


def _words(tokens: Tokens) -> Words:
    """Eight bytes of each row at a time, (rows, words), the last filled up with zeros."""
    rows, length = tokens.shape
    size = tokens.itemsize * length
    padded = np.zeros((rows, math.ceil(size / 8) * 8), dtype=np.uint8)
    padded[:, :size] = np.ascontiguousarray(tokens).view(np.uint8)
    return padded.view(np.uint64)
