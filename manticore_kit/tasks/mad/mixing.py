"""A hash of 64-bit numbers: each bit of what comes out depends on all bits of what goes in.

It is the output function of SplitMix64 (Steele, Lea and Flood 2014), with David Stafford's constants.
"""

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

# Steps between successive inputs that make `mix` a generator of random numbers.
STEP = np.uint64(0x9E3779B97F4A7C15)


def mix(words: Words) -> Words:
    """Scrambles `words` of any shape one by one; no two words become the same."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def below(limit: int, words: Words) -> Words:
    """Numbers from 0 up to but without `limit` (less than 2³²), as uniform as `words` are."""
    return ((words >> np.uint64(32)) * np.uint64(limit)) >> np.uint64(32)
