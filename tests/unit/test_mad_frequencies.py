"""What rows are made of occurs as often as the protocol says, in every split.

Seeds are fixed, and a test rejects at p < 1e-4. There are always far more possible rows than rows drawn: where there
are few, those of a split are a random part of them, in which some tokens are more frequent than others.
"""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom, chisquare

from manticore_kit.tasks import mad

SPLITS = ("train", "validation", "test")
IGNORED = -100


def assert_frequencies(counts, expected=None) -> None:
    """`counts` may come from the `expected` frequencies; left out: all the same."""
    counts = np.asarray(counts, dtype=float)
    if len(counts) == 1:
        return
    if expected is not None:
        expected = np.asarray(expected, dtype=float) * counts.sum() / np.sum(expected)
        assert expected.min() > 5, "too few for the test to hold"
    assert chisquare(counts, expected).pvalue > 1e-4, (counts, expected)


def test_a_wrong_frequency_is_noticed():
    with pytest.raises(AssertionError):
        assert_frequencies([1000, 1000, 1300])


@pytest.mark.parametrize("split", SPLITS)
def test_recall_draws_keys_and_values_uniformly(split):
    rows = mad.generate("in-context-recall", split, num_examples=3000, vocab_size=10, seq_len=32, seed=1)
    keys, values = rows.inputs[:, ::2], rows.inputs[:, 1::2]
    assert_frequencies(np.bincount(keys[:, :-1].ravel(), minlength=5))
    assert_frequencies(np.bincount(keys[:, 0], minlength=5))
    first_values = values[:, 0]
    assert_frequencies(np.bincount(first_values - 5, minlength=5))
    # Values of two keys have nothing to do with each other.
    other = [(row[1], row[3]) for row in rows.inputs.tolist() if row[0] != row[2]]
    assert_frequencies(list(Counter(other).values()))
    assert len(set(other)) == 25


@pytest.mark.parametrize("split", SPLITS)
def test_the_key_that_recall_asks_is_uniform_among_the_distinct_ones_shown(split):
    # Of three pairs with two keys, the key that is shown once is asked in half of the rows and not in a third.
    rows = mad.generate("in-context-recall", split, num_examples=8000, seq_len=8, seed=2)
    asks_the_rarer = [shown.count(asked) == 1 for *shown, asked in rows.inputs[:, ::2].tolist() if len(set(shown)) == 2]
    assert len(asks_the_rarer) > 2000
    assert_frequencies(np.bincount(asks_the_rarer, minlength=2))
    rows = mad.generate("in-context-recall", split, num_examples=3000, vocab_size=8, seq_len=48, seed=2)
    asked = [asked for *shown, asked in rows.inputs[:, ::2].tolist() if len(set(shown)) == 4]
    assert_frequencies(np.bincount(asked, minlength=4))


def test_the_share_of_noise_leaves_out_the_one_pair_that_is_kept():
    share, pairs = 0.4, 5
    rows = mad.generate(
        "noisy-in-context-recall", "train", num_examples=8000, seq_len=2 * pairs + 2, frac_noise=share, seed=3
    )
    tokens = np.concatenate([rows.inputs, rows.targets[:, -1:]], axis=1)
    noisy = tokens[:, :-2:2] >= 16
    # One of the pairs is kept, and of the others each is noise by itself.
    assert_frequencies(
        np.bincount(noisy.sum(axis=1), minlength=pairs)[:pairs], binom.pmf(range(pairs), pairs - 1, share)
    )
    assert_frequencies(noisy.sum(axis=0))
    assert_frequencies(np.bincount(tokens[tokens >= 16] - 16, minlength=16))
    lefts, rights = tokens[:, :-2:2][noisy], tokens[:, 1:-2:2][noisy]
    assert_frequencies(np.bincount((lefts - 16) * 16 + rights - 16, minlength=256))


def pairs_of(rows: mad.Rows) -> list[list[tuple[tuple, tuple]]]:
    """The pairs of motifs of each row of fuzzy recall."""
    padding = rows.settings.vocab_size - 1
    found = []
    for inputs, last in zip(rows.inputs.tolist(), rows.targets[:, -1].tolist(), strict=True):
        pairs = []
        for token in [*inputs, last]:
            if token < padding // 2:
                if not pairs or pairs[-1][1]:
                    pairs.append(([], []))
                pairs[-1][0].append(token)
            elif token != padding:
                pairs[-1][1].append(token)
        found.append([(tuple(key), tuple(value)) for key, value in pairs])
    return found


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("which", [0, -1], ids=["first pair", "probe"])
def test_fuzzy_motifs_are_uniform_given_a_uniform_length(split, which):
    # Three tokens of keys and four of values. The first pair always fits, so its length says nothing of the row's.
    rows = mad.generate(
        "fuzzy-in-context-recall", split, num_examples=4000, vocab_size=8, key_motif_size=3, seq_len=48, seed=4
    )
    pairs = [row[which] for row in pairs_of(rows)]
    for part, tokens, least in ((0, 3, 1 if split == "train" else 3), (1, 4, 1)):
        motifs = [pair[part] for pair in pairs]
        sizes = np.bincount([len(motif) for motif in motifs], minlength=4)
        assert_frequencies(sizes[least:])
        assert sizes[:least].sum() == 0
        for size in range(least, 4):
            counts = Counter(motif for motif in motifs if len(motif) == size)
            assert len(counts) == {1: tokens, 2: tokens * (tokens - 1), 3: tokens * (tokens - 1) * (tokens - 2)}[size]
            assert_frequencies(list(counts.values()))


def test_values_of_two_fuzzy_keys_have_nothing_to_do_with_each_other():
    rows = mad.generate(
        "fuzzy-in-context-recall", "test", num_examples=4000, vocab_size=6, key_motif_size=1, value_motif_size=1, seed=5
    )
    values = [dict(row) for row in pairs_of(rows)]
    both = Counter((value[(0,)], value[(1,)]) for value in values if len(value) == 2)
    assert len(both) == 9
    assert_frequencies(list(both.values()))


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_fuzzy_probe_stands_anywhere_among_the_fillers(split):
    # With so many ids hardly any filler has the probe's key.
    rows = mad.generate("fuzzy-in-context-recall", split, num_examples=4000, vocab_size=128, seq_len=48, seed=6)
    places = []
    for pairs in pairs_of(rows):
        keys = [key for key, _ in pairs]
        if len(keys[-1]) > 1 and keys.count(keys[-1]) == 2:
            places.append((keys.index(keys[-1]), len(keys) - 1))
    shares = np.array([(place + np.random.default_rng(i).random()) / of for i, (place, of) in enumerate(places)])
    assert len(places) > 2500
    assert_frequencies(np.histogram(shares, bins=8, range=(0, 1))[0])
    usual = Counter(of for _, of in places).most_common(1)[0][0]
    assert_frequencies(np.bincount([place for place, of in places if of == usual], minlength=usual))


@pytest.mark.parametrize("split", SPLITS)
def test_blanks_stand_before_uniformly_drawn_contents(split):
    rows = mad.generate(
        "selective-copying", split, num_examples=4000, vocab_size=7, seq_len=25, num_tokens_to_copy=4, seed=7
    )
    assert_frequencies(np.bincount(rows.targets[:, -4:].ravel(), minlength=5))
    for place in range(-4, 0):
        assert_frequencies(np.bincount(rows.targets[:, place], minlength=5))
    blanks = 25 - 2 * 4 - 1
    position = np.nonzero(rows.inputs < 5)[1].reshape(-1, 4)
    before = np.diff(position, axis=1, prepend=-1) - 1
    usual = range(9)
    for counts in before.T:
        found = np.bincount(counts, minlength=blanks + 1)
        assert_frequencies(
            [*found[:9], found[9:].sum()], [*binom.pmf(usual, blanks, 1 / 4), binom.sf(8, blanks, 1 / 4)]
        )


@pytest.mark.parametrize("split", SPLITS)
def test_compression_and_memorization_draw_tokens_uniformly(split):
    rows = mad.generate("compression", split, num_examples=3000, vocab_size=9, seq_len=12, seed=8)
    for place in range(11):
        assert_frequencies(np.bincount(rows.inputs[:, place], minlength=8))
    assert_frequencies(np.bincount(rows.inputs[:, 0] * 8 + rows.inputs[:, 4], minlength=64))
    rows = mad.generate("memorization", split, num_examples=3000, vocab_size=40, seq_len=12, seed=8)
    for place in range(0, 12, 2):
        assert_frequencies(np.bincount(rows.inputs[:, place], minlength=19))
    assert_frequencies(np.bincount(rows.inputs[:, 0] * 19 + rows.inputs[:, 4], minlength=361))


def test_the_map_of_memorization_is_drawn_uniformly():
    firsts = Counter(
        int(mad.generate("memorization", "test", num_examples=4, vocab_size=6, kv_map_seed=seed).targets.max())
        for seed in range(400)
    )
    # Two of three values are taken: the greatest is among them in two of three maps, and never the least alone.
    assert_frequencies([firsts[4], firsts[3]], [2, 1])
    assert set(firsts) == {3, 4}
