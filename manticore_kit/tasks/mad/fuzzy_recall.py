"""Fuzzy in-context recall: as in-context recall, of keys and values of several tokens each.

- A *motif* is an ordered tuple of distinct tokens. Its length is uniform from 1 to the longest, and given the length
  every motif is as likely as any other. In validation and test every key has the greatest length.
- A row is pairs of a key motif and its value motif. One pair, the probe, stands at a random place among the others,
  the fillers, and once more at the end; so what the last pair asks was always shown.
- Fillers are drawn one after another, and the first that does not fit beside the probe's two places ends the row. It
  is padded on the left; the padding is shorter than the longest pair.
- The value of a key is computed from the key and a number that the row draws. There are far too many motifs (240,000
  of three tokens out of 64) to draw a value for each.
"""

import numpy as np

from manticore_kit.tasks.mad.mixing import STEP, Words, below, mix
from manticore_kit.tasks.mad.motifs import number_of, spell
from manticore_kit.tasks.mad.settings import Split, TaskSettings
from manticore_kit.tasks.mad.targets import Ints, Mask, Tokens, next_tokens, seen_before


class FuzzyRecallSettings(TaskSettings):
    """Fuzzy in-context recall. The ids are tokens of keys, then of values, then the padding; `seq_len` are read."""

    vocab_size: int = 16
    seq_len: int = 128
    key_motif_size: int = 3
    value_motif_size: int = 3

    @property
    def num_keys(self) -> int:
        """How many ids key motifs are made of."""
        return (self.vocab_size - 1) // 2

    @property
    def answers(self) -> range:
        return range(self.num_keys, self.vocab_size - 1)

    def check(self) -> None:
        key, value = self.key_motif_size, self.value_motif_size
        self.need("key_motif_size", 1, "a key is a token at least")
        self.need("value_motif_size", 1, "a value is a token at least")
        # Half of the ids but the padding are for keys, rounded down, and the others for values.
        why = f"the tokens of a motif differ, and up to {key} make a key and up to {value} a value, beside the padding"
        self.need("vocab_size", max(2 * key + 1, 2 * value), why)
        why = f"a pair of up to {key + value} tokens is shown and then asked for, of which the last token is not read"
        self.need("seq_len", 2 * (key + value) - 1, why)


def draw(settings: FuzzyRecallSettings, split: Split, rng: np.random.Generator, count: int) -> Tokens:
    """Rows (count, seq_len + 1)."""
    longest = settings.key_motif_size
    shortest = 1 if split == "train" else longest
    # The probe, and as many fillers as there can be.
    slots = 1 + (settings.seq_len + 1 - 2 * (shortest + 1)) // (shortest + 1)
    shape, kind = (count, slots), settings.token_type
    size = rng.integers(shortest, longest, size=shape, endpoint=True)
    key = spell([rng.integers(settings.num_keys - place, size=shape, dtype=kind) for place in range(longest)])
    salt = rng.integers(2**64, size=(count, 1), dtype=np.uint64)
    value, value_size = _values_of(settings, salt + number_of(key, size, settings.num_keys))
    pairs = np.stack([*key, *(token + settings.num_keys for token in value)], axis=2)
    used = np.stack(
        [*(place < size for place in range(longest)), *(place < value_size for place in range(len(value)))], axis=2
    )
    return _lay_out(settings, rng, pairs, used)


def _values_of(settings: FuzzyRecallSettings, words: Words) -> tuple[list[Tokens], Ints]:
    """Value motifs, counted from the first token of values, and their sizes: the same wherever `words` are."""
    words = mix(words)
    size = 1 + below(settings.value_motif_size, words).astype(np.int64)
    digits = []
    for place in range(settings.value_motif_size):
        words = mix(words + STEP)
        digits.append(below(len(settings.answers) - place, words).astype(settings.token_type))
    return spell(digits), size


def _lay_out(settings: FuzzyRecallSettings, rng: np.random.Generator, pairs: Tokens, used: Mask) -> Tokens:
    """Rows of the `pairs` (rows, slots, tokens), of which the first is the probe; of a pair, the `used` tokens."""
    length, each = settings.seq_len + 1, np.arange(len(pairs))
    size = used.sum(axis=2)
    fits = size[:, 1:].cumsum(axis=1) <= length - 2 * size[:, :1]
    used[:, 1:] &= fits[..., None]
    fillers = fits.sum(axis=1)
    at, most = rng.integers(fillers, endpoint=True), int(fillers.max())
    # The copy at the end, and the slots that are used in some row.
    pairs = np.concatenate([pairs[:, : most + 1], pairs[:, :1]], axis=1)
    used = np.concatenate([used[:, : most + 1], used[:, :1]], axis=1)
    # One filler is as good as another, so the probe may change places with one instead of moving all up to there.
    for array in (pairs, used):
        array[:, 0] = array[each, at]
        array[each, at] = array[:, -1]
    tokens = np.full((len(pairs), length), settings.vocab_size - 1, dtype=settings.token_type)
    padding = length - used.sum(axis=(1, 2))
    tokens[np.arange(length) >= padding[:, None]] = pairs[used]  # both go row by row
    return tokens


def ask(settings: FuzzyRecallSettings, split: Split, tokens: Tokens) -> tuple[Ints, Ints]:
    """Inputs and targets (rows, seq_len): in training every next token, else those of values of keys seen before."""
    if split == "train":
        return next_tokens(tokens)
    longest, num_keys = settings.key_motif_size, settings.num_keys
    is_key = tokens < num_keys
    starts = is_key.copy()
    starts[:, 1:] &= ~is_key[:, :-1]
    # Every key has the greatest length here, so it is what stands in a window of that length.
    windows = tokens.shape[1] - longest + 1
    motif = [tokens[:, place : place + windows] for place in range(longest)]
    # As int64 without a sign: together with what stands for no key, uint64 would become float64.
    number = (number_of(motif, np.array(longest), num_keys) & np.uint64(2**63 - 1)).astype(np.int64)
    place = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
    keys = -1 - place  # each another, as if it were a key that is not seen again
    keys[:, :windows] = np.where(starts[:, :windows], number, keys[:, :windows])
    pair = np.maximum.accumulate(np.where(starts, place, 0), axis=1)  # where the pair of each token begins
    is_value = ~is_key & (tokens < settings.vocab_size - 1)
    return next_tokens(tokens, is_value & np.take_along_axis(seen_before(keys), pair, axis=1))
