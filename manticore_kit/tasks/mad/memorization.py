"""Memorization: values of keys that no row shows. The map from keys to values is the same in all rows and splits.

A row is key, insert token, key, insert token … At each insert token the value of the key before it is to be predicted.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from manticore_kit.tasks.mad.settings import Split, TaskSettings
from manticore_kit.tasks.mad.targets import IGNORED, Ints, Tokens


class MemorizationSettings(TaskSettings):
    """Memorization. The ids are keys, then values, then the insert token; `kv_map_seed` draws the map."""

    vocab_size: int = 256
    seq_len: int = 32
    kv_map_seed: Annotated[int, Field(ge=0)] = 0

    @property
    def num_keys(self) -> int:
        return (self.vocab_size - 1) // 2

    @property
    def answers(self) -> range:
        return range(self.num_keys, self.vocab_size - 1)

    def check(self) -> None:
        self.need("vocab_size", 3, "a key, a value and the insert token need an id each")
        why = "a row is keys, each with the insert token after it"
        self.need("seq_len", 2, why)
        self.need_even("seq_len", why)


def draw(settings: MemorizationSettings, _: Split, rng: np.random.Generator, count: int) -> Tokens:
    """Rows (count, seq_len), the same way for every split."""
    tokens = np.full((count, settings.seq_len), settings.vocab_size - 1, dtype=settings.token_type)
    tokens[:, ::2] = rng.integers(settings.num_keys, size=(count, settings.seq_len // 2))
    return tokens


def ask(settings: MemorizationSettings, _: Split, tokens: Tokens) -> tuple[Ints, Ints]:
    """Inputs and targets (rows, seq_len): the value of each key, at the insert token after it, in every split."""
    targets = np.full(tokens.shape, IGNORED)
    targets[:, 1::2] = value_of(settings)[tokens[:, ::2]]
    return tokens.astype(np.int64), targets


def value_of(settings: MemorizationSettings) -> Ints:
    """The value of each key (keys,); no two keys have the same."""
    return np.random.default_rng(settings.kv_map_seed).permutation(settings.answers)[: settings.num_keys]
