"""Compression: random tokens, all of which are to be rebuilt from what a model knows after the last.

Other than in the other tasks, a target is not predicted after reading up to its position: the whole row is read first.
"""

import numpy as np

from manticore_kit.tasks.mad.settings import Split, TaskSettings
from manticore_kit.tasks.mad.targets import Ints, Tokens


class CompressionSettings(TaskSettings):
    """Compression. The last id ends each row."""

    vocab_size: int = 16
    seq_len: int = 32

    @property
    def answers(self) -> range:
        return range(self.vocab_size)

    def check(self) -> None:
        self.need("vocab_size", 2, "the last id ends each row and others fill it")
        self.need("seq_len", 2, "a row is a token at least and the id that ends it")


def draw(settings: CompressionSettings, _: Split, rng: np.random.Generator, count: int) -> Tokens:
    """Rows (count, seq_len), the same way for every split."""
    last = settings.vocab_size - 1
    tokens = rng.integers(last, size=(count, settings.seq_len), dtype=settings.token_type)
    tokens[:, -1] = last
    return tokens


def ask(_: CompressionSettings, __: Split, tokens: Tokens) -> tuple[Ints, Ints]:
    """Inputs and targets (rows, seq_len), which are the same, in every split."""
    return tokens.astype(np.int64), tokens.astype(np.int64)
