"""Motifs, ordered tuples of distinct tokens: made from random digits, and told apart by a number.

A whole set of them is a list of arrays, one for each place in the tuple.
"""

from collections.abc import Sequence

import numpy as np

from manticore_kit.tasks.mad.mixing import Words
from manticore_kit.tasks.mad.targets import Ints, Tokens


def spell(digits: list[Tokens]) -> list[Tokens]:
    """Turn digits, those at place p below n − p, into distinct tokens below n, in the same arrays.

    A digit counts among the tokens that the places before it leave over, so each tuple comes from one row of digits.
    """
    for place in reversed(range(len(digits))):
        for earlier in reversed(digits[:place]):
            digits[place] += digits[place] >= earlier
    return digits


def number_of(motif: Sequence[Tokens], size: Ints, tokens: int) -> Words:
    """A number for each motif, made of the first `size` of its tokens below `tokens`.

    No two motifs have the same where (tokens + 2) to the power of the longest size is below 2⁶⁴; beyond, hardly any.
    """
    base = np.uint64((tokens + 1) | 1)  # odd, so that no place vanishes where the number overflows
    number = np.zeros(motif[0].shape, dtype=np.uint64)
    for place, token in enumerate(motif):
        number = number * base + (token.astype(np.uint64) + np.uint64(1)) * (place < size)
    return number
