"""Accuracies agree with counting by hand; guesses and ceilings with playing them out."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manticore_kit.errors import ManticoreError
from manticore_kit.tasks import mad


def slow_accuracy(predictions: list, targets: list) -> mad.Accuracy:
    asked = [(p, t) for p, t in zip(predictions, targets, strict=True) if t != -100]
    classes = sorted({t for _, t in asked})
    shares = [np.mean([p == t for p, t in asked if t == each]) for each in classes]
    return mad.Accuracy(micro=float(np.mean([p == t for p, t in asked])), macro=float(np.mean(shares)))


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([-100, 0, 1, 2, 7])), min_size=1, max_size=30))
def test_accuracies_agree_with_counting(pairs):
    predictions, targets = map(list, zip(*pairs, strict=True))
    if set(targets) == {-100}:
        targets[0] = 3
    expected = slow_accuracy(predictions, targets)
    found = mad.accuracy(np.array(predictions).reshape(1, -1), np.array(targets).reshape(1, -1))
    assert (found.micro, found.macro) == pytest.approx((expected.micro, expected.macro))


def test_a_class_that_is_only_predicted_does_not_count():
    assert mad.accuracy([3, 3, 9, 4], [3, 3, 4, 4]) == mad.Accuracy(micro=0.75, macro=0.75)
    assert mad.accuracy([3, 3, 3, 9], [3, 3, 3, 4]) == mad.Accuracy(micro=0.75, macro=0.5)


def test_what_is_predicted_where_nothing_is_asked_does_not_count():
    assert mad.accuracy([[5, 1], [-100, 0]], [[-100, 1], [-100, 2]]) == mad.Accuracy(micro=0.5, macro=0.5)


def test_targets_predict_themselves():
    for task in mad.TASKS:
        rows = mad.generate(task, "test", num_examples=20)
        assert mad.accuracy(rows.targets, rows.targets) == mad.Accuracy(1.0, 1.0)


@pytest.mark.parametrize(
    ("predictions", "targets", "message"),
    [
        ([1, 2], [1, 2, 3], r"\(2,\) do not fit targets of shape \(3,\)"),
        ([1.0, 2.0], [1, 2], "predictions are of type float64.*argmax"),
        ([1, 2], [True, False], "targets are of type bool"),
        ([1, 2], [-100, -100], "nothing to predict"),
        ([1, 2], [-1, 2], "targets hold -1"),
    ],
)
def test_what_cannot_be_scored_is_refused(predictions, targets, message):
    with pytest.raises(ManticoreError, match=message):
        mad.accuracy(predictions, targets)


CASES = [
    ("in-context-recall", {}),
    ("in-context-recall", {"vocab_size": 9, "seq_len": 20}),
    ("noisy-in-context-recall", {}),
    ("fuzzy-in-context-recall", {"vocab_size": 12, "seq_len": 40}),
    ("selective-copying", {"seq_len": 64, "num_tokens_to_copy": 5}),
    ("compression", {}),
]
ANSWERS = {
    "in-context-recall": lambda s: range(s["vocab_size"] // 2, s["vocab_size"]),
    "noisy-in-context-recall": lambda s: range(8, 16),
    "fuzzy-in-context-recall": lambda s: range((s["vocab_size"] - 1) // 2, s["vocab_size"] - 1),
    "selective-copying": lambda s: range(s["vocab_size"] - 2),
    "compression": lambda s: range(s["vocab_size"]),
    "memorization": lambda s: range((s["vocab_size"] - 1) // 2, s["vocab_size"] - 1),
}


def slow_majority(rows: mad.Rows) -> float:
    answers = ANSWERS[rows.task](rows.settings.plain())
    hits = []
    for inputs, targets in zip(rows.inputs.tolist(), rows.targets.tolist(), strict=True):
        for place, target in enumerate(targets):
            if target != -100:
                read = inputs if rows.task == "compression" else inputs[: place + 1]
                counts = Counter(token for token in read if token in answers)
                most = max(counts.values(), default=0)
                best = [token for token in answers if counts[token] == most]
                hits.append((target in best) / len(best))
    return float(np.mean(hits))


@pytest.mark.parametrize(("task", "changes"), CASES, ids=str)
def test_the_majority_read_so_far_agrees_with_counting(task, changes):
    train, test = (mad.generate(task, split, num_examples=60, **changes) for split in ("train", "test"))
    found = mad.reference_points(train, test)
    assert found["majority"] == pytest.approx(slow_majority(test))
    assert found["random"] == 1 / len(ANSWERS[task](test.settings.plain()))
    assert found["ceiling"] == 1


def test_large_sets_are_counted_in_parts(monkeypatch):
    from manticore_kit.tasks.mad import references

    train, test = (mad.generate("in-context-recall", split, num_examples=50) for split in ("train", "test"))
    whole = mad.reference_points(train, test)
    monkeypatch.setattr(references, "_COUNTS_AT_A_TIME", 1000)
    assert mad.reference_points(train, test) == pytest.approx(whole)


@pytest.mark.parametrize("task", mad.TASKS)
def test_answers_are_what_is_asked_for_and_guessing_among_them_gets_what_it_says(task):
    train, test = (mad.generate(task, split) for split in ("train", "test"))
    answers = list(ANSWERS[task](test.settings.plain()))
    asked = test.targets[test.targets != -100]
    assert set(asked.tolist()) <= set(answers)
    assert len(set(asked.tolist())) > 0.95 * len(answers)
    guesses = np.random.default_rng(0).choice(answers, size=test.targets.shape)
    share = mad.reference_points(train, test)["random"]
    error = np.sqrt(share * (1 - share) / asked.size)
    assert mad.accuracy(guesses, test.targets).micro == pytest.approx(share, abs=4 * error)


def test_in_context_recall_has_the_reference_points_that_models_are_seen_to_reach():
    found = mad.reference_points(*(mad.generate("in-context-recall", split) for split in ("train", "test")))
    assert found == {"random": 1 / 8, "majority": pytest.approx(0.33, abs=0.015), "ceiling": 1}


def test_the_majority_of_memorization_is_the_most_frequent_training_target():
    train, test = (mad.generate("memorization", split, vocab_size=9, seq_len=4) for split in ("train", "test"))
    trained, tested = (Counter(rows.targets[:, 1::2].ravel().tolist()) for rows in (train, test))
    expected = tested[trained.most_common(1)[0][0]] / tested.total()
    assert mad.reference_points(train, test)["majority"] == pytest.approx(expected)


def test_equally_frequent_training_targets_share_the_guess():
    train, test = (mad.generate("memorization", split, vocab_size=9, seq_len=2) for split in ("train", "test"))
    keys = np.array([[0, 8], [1, 8]])
    train = replace(train, inputs=keys, targets=np.array([[-100, 4], [-100, 6]]))
    test = replace(test, inputs=keys[[0, 0, 1, 1]], targets=np.array([[-100, 4], [-100, 4], [-100, 6], [-100, 7]]))
    assert mad.reference_points(train, test)["majority"] == pytest.approx((2 / 4 + 1 / 4) / 2)


def test_the_ceiling_of_memorization_is_what_a_perfect_learner_gets_on_average():
    # Whose guesses for the keys it never saw are drawn among the values that it does not know to be another's.
    train = mad.generate("memorization", "train", vocab_size=64, seq_len=4, num_examples=20)
    test = mad.generate("memorization", "test", vocab_size=64, seq_len=4, num_examples=400)
    known = dict(zip(train.inputs[:, ::2].ravel().tolist(), train.targets[:, 1::2].ravel().tolist(), strict=True))
    left = sorted(set(range(31, 63)) - set(known.values()))
    rng, scores = np.random.default_rng(0), []
    for _ in range(400):
        guess = dict(zip(sorted(set(range(31)) - set(known)), rng.permutation(left).tolist(), strict=False))
        predictions = test.targets.copy()
        predictions[:, 1::2] = np.vectorize({**guess, **known}.get)(test.inputs[:, ::2])
        scores.append(mad.accuracy(predictions, test.targets).micro)
    ceiling = mad.reference_points(train, test)["ceiling"]
    assert 0.5 < ceiling < 0.9
    assert ceiling == pytest.approx(np.mean(scores), abs=4 * np.std(scores) / np.sqrt(len(scores)))


def test_the_last_unseen_key_follows_where_no_other_value_is_left():
    # Two keys and two values: who has seen one pair knows the other.
    train = mad.generate("memorization", "train", vocab_size=5, seq_len=2, num_examples=1)
    test = mad.generate("memorization", "test", vocab_size=5, seq_len=8, num_examples=50)
    train = replace(train, settings=test.settings)
    assert mad.reference_points(train, test)["ceiling"] == 1


@pytest.mark.parametrize(("vocab_size", "seen"), [(256, True), (1024, True), (2048, False), (8192, False)])
def test_keys_that_training_never_shows_lower_the_ceiling_of_the_sweep(vocab_size, seen):
    train, test = (mad.generate("memorization", split, vocab_size=vocab_size) for split in ("train", "test"))
    ceiling = mad.reference_points(train, test)["ceiling"]
    # 256 rows of 16 keys leave each key out with this probability.
    left_out = (1 - 1 / ((vocab_size - 1) // 2)) ** (256 * 16)
    assert ceiling == pytest.approx(1 - left_out, abs=0.02)
    assert (ceiling > 0.995) == seen


def test_reference_points_are_of_training_rows_and_others_of_the_same_settings():
    train, test = (mad.generate("compression", split, num_examples=3) for split in ("train", "test"))
    other = mad.generate("compression", "test", num_examples=3, vocab_size=5)
    for first, second, message in (
        (test, train, "not of test and train: swap them"),
        (train, train, "not of train and train"),
        (train, other, "'vocab_size': 16.*'vocab_size': 5.*same settings"),
    ):
        with pytest.raises(ManticoreError, match=message):
            mad.reference_points(first, second)
