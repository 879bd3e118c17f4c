"""In-context recall, with and without noise: pairs of a key and its value, of which the last pair repeats one.

A row is key, value, key, value … Every key keeps its value throughout the row, and each row has other values. The last
pair asks a key drawn from those shown. With noise, some pairs but never all are two tokens that mean nothing.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from manticore_kit.tasks.mad.settings import Split, TaskSettings
from manticore_kit.tasks.mad.targets import Ints, Tokens, next_tokens, seen_before


class RecallSettings(TaskSettings):
    """In-context recall. The ids are keys, then values; a row is `seq_len` tokens, of which the last is not read."""

    vocab_size: int = 16
    seq_len: int = 128

    @property
    def meaningful(self) -> int:
        """How many ids are keys or values."""
        return self.vocab_size

    @property
    def noise_share(self) -> float:
        """The probability that a pair is noise."""
        return 0.0

    @property
    def num_keys(self) -> int:
        return self.meaningful // 2

    @property
    def answers(self) -> range:
        return range(self.num_keys, self.meaningful)

    def check(self) -> None:
        noise = self.vocab_size - self.meaningful
        beside = f", beside {noise} ids of noise" if noise else ""
        self.need("vocab_size", noise + 2, f"a key and a value need an id each{beside}")
        why = "a row is whole pairs of a key and a value, two at least, of which the last repeats one"
        self.need("seq_len", 4, why)
        self.need_even("seq_len", why)


class NoisyRecallSettings(RecallSettings):
    """In-context recall with noise. The ids are keys, then values, then noise."""

    vocab_size: int = 32
    noise_vocab_size: int = 16
    frac_noise: Annotated[float, Field(ge=0, lt=1)] = 0.2

    @property
    def meaningful(self) -> int:
        return self.vocab_size - self.noise_vocab_size

    @property
    def noise_share(self) -> float:
        return self.frac_noise

    def check(self) -> None:
        self.need("noise_vocab_size", 0, "it is a number of ids")
        if self.frac_noise:
            self.need("noise_vocab_size", 1, f"a share of {self.frac_noise:g} of the pairs is noise, which needs an id")
        super().check()


def draw(settings: RecallSettings, _: Split, rng: np.random.Generator, count: int) -> Tokens:
    """Rows (count, seq_len), the same way for every split."""
    num_keys, known, kind = settings.num_keys, settings.meaningful, settings.token_type
    each, pairs = np.arange(count), settings.seq_len // 2 - 1
    keys = rng.integers(num_keys, size=(count, pairs), dtype=kind)
    value_of = rng.integers(num_keys, known, size=(count, num_keys), dtype=kind)
    tokens = np.empty((count, pairs + 1, 2), dtype=kind)
    tokens[:, :-1, 0], tokens[:, :-1, 1] = keys, value_of[each[:, None], keys]
    if settings.noise_share:
        noisy = rng.random((count, pairs), dtype=np.float32) < settings.noise_share
        noisy[each, rng.integers(pairs, size=count)] = False
        noise = rng.integers(known, settings.vocab_size, size=(count, pairs, 2), dtype=kind)
        np.copyto(tokens[:, :-1], noise, where=noisy[..., None])
        keys[noisy] = num_keys
    shown = np.zeros((count, num_keys + 1), dtype=bool)
    shown[each[:, None], keys] = True
    probe = _one_of(shown[:, :-1], rng)
    tokens[:, -1, 0], tokens[:, -1, 1] = probe, value_of[each, probe]
    return tokens.reshape(count, settings.seq_len)


def ask(settings: RecallSettings, split: Split, tokens: Tokens) -> tuple[Ints, Ints]:
    """Inputs and targets (rows, seq_len − 1): in training every next token, else the values of keys seen before."""
    if split == "train":
        return next_tokens(tokens)
    pairs = tokens.reshape(len(tokens), -1, 2)
    keys = pairs[..., 0].astype(np.int64)
    noisy = keys >= settings.meaningful
    keys[noisy] = -1 - np.nonzero(noisy)[1]  # each another, as if it were a key that is not seen again
    asked = np.zeros(pairs.shape, dtype=bool)
    asked[..., 1] = seen_before(keys)
    return next_tokens(tokens, asked.reshape(tokens.shape))


def _one_of(marked: np.ndarray, rng: np.random.Generator) -> Ints:
    """For each row of `marked` (rows, places), one of the places that are marked, each as likely as the others."""
    rank = rng.integers(marked.sum(axis=1))
    return (marked.cumsum(axis=1) > rank[:, None]).argmax(axis=1)
