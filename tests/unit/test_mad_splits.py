"""Splits have no row in common, do not depend on each other, and come out the same every time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manticore_kit.tasks import mad
from manticore_kit.tasks.mad import splits

SPLITS = ("train", "validation", "test")

# Each has a few hundred or a few thousand rows, so that independent draws have many in common.
SMALL = [
    ("in-context-recall", {"vocab_size": 4, "seq_len": 10}),
    ("noisy-in-context-recall", {"vocab_size": 6, "noise_vocab_size": 2, "frac_noise": 0.3, "seq_len": 8}),
    ("fuzzy-in-context-recall", {"vocab_size": 6, "key_motif_size": 1, "value_motif_size": 2, "seq_len": 9}),
    ("selective-copying", {"vocab_size": 4, "num_tokens_to_copy": 3, "seq_len": 12}),
    ("compression", {"vocab_size": 4, "seq_len": 6}),
    ("memorization", {"vocab_size": 11, "seq_len": 6}),
]


def distinct(rows: mad.Rows) -> set[tuple]:
    return set(map(tuple, rows.inputs.tolist()))


@pytest.mark.parametrize(("task", "changes"), SMALL, ids=str)
def test_no_row_is_in_two_splits_whatever_the_seeds(task, changes):
    found = {
        split: set().union(
            *(distinct(mad.generate(task, split, num_examples=2000, seed=seed, **changes)) for seed in (0, 1))
        )
        for split in SPLITS
    }
    for split in SPLITS:
        assert len(found[split]) > 10
        for other in set(SPLITS) - {split}:
            assert not found[split] & found[other]


@pytest.mark.parametrize(("task", "changes"), SMALL, ids=str)
def test_rows_that_are_only_drawn_independently_would_be_shared(task, changes, monkeypatch):
    monkeypatch.setattr(splits, "QUARTERS", dict.fromkeys(SPLITS, (0, 1, 2, 3)))
    train, test = (distinct(mad.generate(task, split, num_examples=2000, **changes)) for split in ("train", "test"))
    assert len(train & test) > 10


@settings(max_examples=40, deadline=None)
@given(
    vocab_size=st.integers(5, 9),  # 256 rows at least
    seq_len=st.integers(5, 7),
    seeds=st.tuples(st.integers(0, 2**64), st.integers(0, 2**64)),
    counts=st.tuples(st.integers(1, 400), st.integers(1, 400)),
)
def test_no_training_row_is_tested_for_any_seeds_and_sizes(vocab_size, seq_len, seeds, counts):
    train, test = (
        mad.generate("compression", split, num_examples=count, seed=seed, vocab_size=vocab_size, seq_len=seq_len)
        for split, count, seed in zip(("train", "test"), counts, seeds, strict=True)
    )
    assert (len(train), len(test)) == counts
    assert not distinct(train) & distinct(test)


def test_the_splits_together_are_all_rows():
    # Three tokens at five places and the one that ends the row.
    found = [
        distinct(mad.generate("compression", split, num_examples=4000, vocab_size=4, seq_len=6)) for split in SPLITS
    ]
    assert [len(rows) for rows in found] == pytest.approx([3**5 / 2, 3**5 / 4, 3**5 / 4], abs=25)
    assert len(set.union(*found)) == 3**5


@pytest.mark.parametrize("task", mad.TASKS)
def test_the_quarters_are_equal_and_a_single_token_decides_anew(task):
    rng = np.random.default_rng(0)
    train = mad.generate(task, "train", num_examples=4000)
    rows = np.concatenate([train.inputs, train.targets[:, -1:]], axis=1) if "recall" in task else train.inputs
    rows = rows.astype(np.uint8)
    assert set(splits.quarters(rows).tolist()) == {0, 1}
    changed = rows.copy()
    changed[np.arange(4000), rng.integers(rows.shape[1], size=4000)] ^= 1
    quarters = splits.quarters(changed)
    assert np.bincount(quarters.astype(int)) == pytest.approx([1000] * 4, abs=5 * 27)
    for step in (1, 8):  # eight tokens are hashed at a time
        moved = np.roll(rows, step, axis=1)
        assert np.bincount(splits.quarters(moved).astype(int)) == pytest.approx([1000] * 4, abs=5 * 27)


@pytest.mark.parametrize("task", mad.TASKS)
def test_the_same_call_gives_the_same_rows_whatever_came_before(task):
    size = {"num_examples": 50, "seed": 7}
    first = {split: mad.generate(task, split, **size) for split in SPLITS}
    np.random.default_rng(0)
    again = {split: mad.generate(task, split, **size) for split in reversed(SPLITS)}
    for split in SPLITS:
        assert (first[split].inputs == again[split].inputs).all()
        assert (first[split].targets == again[split].targets).all()
    other_seed = mad.generate(task, "train", num_examples=50, seed=8)
    assert not distinct(other_seed) & distinct(first["train"])


def test_splits_tasks_and_seeds_have_generators_of_their_own(monkeypatch):
    # Without the hash, what is left of a split is its generator.
    monkeypatch.setattr(splits, "QUARTERS", dict.fromkeys(SPLITS, (0, 1, 2, 3)))
    drawn = [
        tuple(splits.generator_of(seed, task, split).integers(2**60, size=20))
        for seed in (0, 1, 2**64)
        for task in range(6)
        for split in SPLITS
    ]
    assert len({number for numbers in drawn for number in numbers}) == 20 * len(drawn)
    train, test = (mad.generate("compression", split, num_examples=300) for split in ("train", "test"))
    assert not distinct(train) & distinct(test)
    assert (train.inputs[:, :-1] == test.inputs[:, :-1]).mean() == pytest.approx(1 / 15, abs=0.015)
    recall = mad.generate("in-context-recall", "test", num_examples=300)
    same_without_noise = {"vocab_size": 16, "noise_vocab_size": 0, "frac_noise": 0}
    assert not distinct(recall) & distinct(
        mad.generate("noisy-in-context-recall", "test", num_examples=300, **same_without_noise)
    )


def test_numpys_global_generator_is_left_alone():
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    for task in mad.TASKS:
        mad.generate(task, "test", num_examples=5)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_where_only_one_row_is_possible_every_split_has_it():
    rows = [mad.generate("compression", split, vocab_size=2, seq_len=4, num_examples=700) for split in SPLITS]
    for each in rows:
        assert each.inputs.tolist() == [[0, 0, 0, 1]] * 700


def test_where_few_rows_are_possible_those_of_a_split_are_repeated():
    asked = []

    def draw(number: int) -> np.ndarray:
        asked.append(number)
        tokens = np.zeros((number, 3), dtype=np.uint8)
        tokens[0] = its_own  # a row in a batch, for as long as there are batches
        return tokens

    candidates = np.array([[a, b, 1] for a in range(16) for b in range(16)], dtype=np.uint8)
    home = int(splits.quarters(np.zeros((1, 3), dtype=np.uint8))[0])
    split = next(name for name in SPLITS if home not in splits.QUARTERS[name])
    its_own = candidates[np.isin(splits.quarters(candidates), splits.QUARTERS[split])][0]
    rows = splits.rows_of_split(split, 5000, draw)
    assert rows.tolist() == [its_own.tolist()] * 5000
    assert sum(asked) < 200_000, "it gives up"
    rows = splits.rows_of_split(split, 5, lambda number: np.zeros((number, 3), dtype=np.uint8))
    assert rows.tolist() == [[0, 0, 0]] * 5


def test_keeping_splits_apart_draws_little_more_than_the_shares_ask_for():
    asked = []

    def draw(number: int) -> np.ndarray:
        asked.append(number)
        return np.random.default_rng(len(asked)).integers(250, size=(number, 32), dtype=np.uint8)

    assert splits.rows_of_split("train", 12_800, draw).shape == (12_800, 32)
    assert sum(asked) < 1.05 * 2 * 12_800
    asked.clear()
    assert splits.rows_of_split("test", 1, draw).shape == (1, 32)
    assert sum(asked) < 100
