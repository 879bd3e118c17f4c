"""Comparisons of trained models: intervals cover seeds and examples, verdicts keep their level, units count bytes."""

import math

import numpy as np
import pytest
import torch
from vocabularies import byte_pairs, words

from manticore_kit import zoo
from manticore_kit.analysis import bits_per_byte, bytes_per_token, compare_losses, paired_difference, perplexity
from manticore_kit.analysis.comparison import two_way_interval
from manticore_kit.analysis.units import bits_of_loss, predicted_bytes
from manticore_kit.components import load_tokenizer
from manticore_kit.errors import ManticoreError
from manticore_kit.figures import Table
from manticore_kit.tasks.language import builtin_text

EXAMPLES = 48


def draw(rng, seeds, *, mean=0.0, seed_sd=0.0, example_sd=0.06, both_sd=0.03, examples=EXAMPLES):
    """(seeds, examples): a mean, plus an effect of each seed, of each example, and of both together."""
    by_seed, by_example = rng.normal(0, seed_sd, (seeds, 1)), rng.normal(0, example_sd, examples)
    return mean + by_seed + by_example + rng.normal(0, both_sd, (seeds, examples))


@pytest.mark.parametrize("seeds", [2, 3, 6])
@pytest.mark.parametrize("seed_sd", [0.0, 0.01, 0.1], ids=["examples vary", "both vary", "seeds vary"])
def test_two_way_intervals_cover_the_true_mean_about_as_often_as_they_say(seeds, seed_sd):
    rng = np.random.default_rng(0)
    intervals = [
        two_way_interval(draw(rng, seeds, seed_sd=seed_sd), confidence=0.9, seed=i, resamples=399) for i in range(300)
    ]
    covered = np.mean([low <= 0 <= high for low, high in intervals])
    # Of two seeds that do not differ much, an interval covers too often: their spread is hardly known.
    assert 0.86 <= covered <= (0.99 if seeds < 4 else 0.965)


def test_without_the_same_seeds_both_sides_count_theirs():
    rng = np.random.default_rng(1)
    covered = []
    for i in range(300):
        examples = rng.normal(4, 1, EXAMPLES)
        a, b = (draw(rng, seeds, seed_sd=0.05, example_sd=0.01) + examples for seeds in (5, 4))
        low, high = two_way_interval(a, b, confidence=0.9, seed=i, resamples=399)
        covered.append(low <= 0 <= high)
    assert 0.86 <= np.mean(covered) <= 0.97


def test_with_one_seed_the_interval_is_that_over_examples():
    a, b = np.random.default_rng(2).normal(4, 0.3, (2, EXAMPLES))
    expected = paired_difference(a, b)
    assert two_way_interval(a[None], b[None]) == pytest.approx((expected.low, expected.high))
    pair = compare_losses({"a": a[None], "b": b[None]}, "b").pair("a")
    assert (pair.mean, pair.p_value) == pytest.approx((expected.mean, expected.p_value))
    assert pair.adjusted_p == pair.p_value, "a single pair"
    assert pair.seed_spread is None
    assert pair.effect_size == pytest.approx((a - b).mean() / (a - b).std(ddof=1))


def test_entrants_without_a_difference_are_rarely_told_apart():
    """At most 5 % of whole comparisons, whether seeds vary or not, although each asks about three pairs."""
    for seed_sd in (0.0, 0.03):
        rng = np.random.default_rng(3)
        wrong = 0
        for i in range(150):
            examples = rng.normal(4, 1, EXAMPLES)
            entrants = {name: draw(rng, 3, seed_sd=seed_sd) + examples for name in "abcd"}
            pairs = compare_losses(entrants, "d", seed=i, resamples=399).pairs
            wrong += any(pair.verdict != "no difference shown" for pair in pairs)
        assert wrong / 150 <= 0.08


def test_a_difference_that_only_some_seeds_have_is_not_called_one():
    """Over examples it is beyond doubt, so the sign-flip test alone would call it."""
    rng = np.random.default_rng(4)
    examples = rng.normal(4, 1, EXAMPLES)
    lucky = examples + np.array([[-0.4], [-0.3], [0.25]]) + rng.normal(0, 0.01, (3, EXAMPLES))
    pair = compare_losses({"lucky": lucky, "base": examples[None].repeat(3, axis=0)}, "base").pair("lucky")
    assert pair.adjusted_p < 0.001
    assert pair.low < 0 < pair.high
    assert pair.verdict == "no difference shown"
    assert pair.share_of_seeds == pytest.approx(2 / 3)
    assert pair.seed_spread == pytest.approx(np.std([-0.4, -0.3, 0.25], ddof=1), abs=0.01)


def test_asking_about_many_pairs_costs_significance():
    rng = np.random.default_rng(5)
    base = rng.normal(4, 1, (1, EXAMPLES))
    slight = base - 0.02 + rng.normal(0, 0.06, (1, EXAMPLES))
    others = {f"other {i}": base + rng.normal(0, 0.06, (1, EXAMPLES)) for i in range(30)}
    alone = compare_losses({"slight": slight, "base": base}, "base").pair("slight")
    among = compare_losses({"slight": slight, "base": base, **others}, "base").pair("slight")
    assert (alone.p_value, alone.low, alone.high) == (among.p_value, among.low, among.high)
    assert alone.verdict == "better"
    assert among.verdict == "no difference shown"


def test_seeds_that_share_their_order_of_data_are_paired():
    rng = np.random.default_rng(6)
    base = draw(rng, 4, seed_sd=0.3) + 4
    better = base - 0.05 + rng.normal(0, 0.01, base.shape)
    paired = compare_losses({"better": better, "base": base}, "base").pair("better")
    unpaired = compare_losses({"better": better[:3], "base": base}, "base").pair("better")
    shuffled = compare_losses({"better": better[[1, 2, 3, 0]], "base": base}, "base").pair("better")
    assert paired.verdict == "better"
    assert paired.share_of_seeds == 1
    assert paired.seed_spread is not None
    assert unpaired.seed_spread is not None
    assert paired.seed_spread < 0.05 < unpaired.seed_spread
    assert shuffled.verdict == unpaired.verdict == "no difference shown"


def test_swapping_the_two_changes_signs_only():
    rng = np.random.default_rng(7)
    entrants = {"a": draw(rng, 3, mean=4, seed_sd=0.02), "b": draw(rng, 3, mean=4.01, seed_sd=0.02)}
    there = compare_losses(entrants, "b").pair("a")
    back = compare_losses(entrants, "a").pair("b")
    assert (back.mean, back.effect_size) == pytest.approx((-there.mean, -there.effect_size))
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), rel=0.05)
    assert back.p_value == pytest.approx(there.p_value)
    assert back.share_of_seeds == 1 - there.share_of_seeds


def test_nothing_depends_on_the_order_of_seeds_or_the_level_of_all_losses():
    rng = np.random.default_rng(8)
    a, b = draw(rng, 3, mean=4, seed_sd=0.02), draw(rng, 3, mean=4.01, seed_sd=0.02)
    pair = compare_losses({"a": a, "b": b}, "b").pair("a")
    turned = compare_losses({"a": a[::-1], "b": b[::-1]}, "b").pair("a")
    lifted = compare_losses({"a": a + 3, "b": b + 3}, "b").pair("a")
    for other in (turned, lifted):
        assert (other.mean, other.p_value) == pytest.approx((pair.mean, pair.p_value))
        assert (other.low, other.high) == pytest.approx((pair.low, pair.high), rel=0.1)
    assert compare_losses({"a": a, "b": b}, "b").pair("a") == pair, "same seed, same numbers"


def test_a_model_against_itself():
    losses = draw(np.random.default_rng(9), 3, mean=4, seed_sd=0.02)
    pair = compare_losses({"a": losses, "b": losses}, "b").pair("a")
    assert (pair.mean, pair.low, pair.high, pair.p_value, pair.effect_size) == (0, 0, 0, 1, 0)
    assert pair.verdict == "no difference shown"


def test_every_entrant_is_compared_with_every_reference_and_references_not_with_each_other():
    rng = np.random.default_rng(10)
    comparison = compare_losses({name: draw(rng, 2, mean=4) for name in "abcd"}, ["b", "d"])
    asked = [(pair.name, pair.reference) for pair in comparison.pairs]
    assert asked == [("a", "b"), ("a", "d"), ("c", "b"), ("c", "d")]
    assert all(pair.adjusted_p >= pair.p_value for pair in comparison.pairs)
    with pytest.raises(ManticoreError, match="'a' against None was not compared. Compared were: a against b; "):
        comparison.pair("a")


def test_rows_make_a_table():
    rng = np.random.default_rng(11)
    examples = rng.normal(3, 0.5, EXAMPLES)
    entrants = {
        "component": examples + draw(rng, 3, seed_sd=0.01, example_sd=0.02),
        "ensemble": examples[None] - 0.3,
        "hybrid": examples - 0.5 + draw(rng, 3, seed_sd=0.01, example_sd=0.02),
    }
    comparison = compare_losses(entrants, "component")
    rows = comparison.rows(bytes_per_token=3.0)
    assert [row[""] for row in rows] == list(entrants)
    assert [row["verdict"] for row in rows] == ["", "better", "better"]
    mean = entrants["hybrid"].mean()
    assert rows[2]["loss (nats/token)"].startswith(f"{mean:.3f} [")
    assert rows[2]["perplexity"] == f"{math.exp(mean):.4g}"
    assert rows[2]["bits per byte"] == f"{mean / math.log(2) / 3:.3f}"
    assert rows[2]["p (Holm)"] == "< 0.001"
    assert rows[2]["difference"].startswith("−0.5")
    assert rows[2]["better in"] == "100%"
    assert "better" in str(Table(rows))
    assert "bits per byte" not in comparison.rows()[0]
    both = compare_losses(entrants, ["component", "ensemble"]).rows()
    assert [(row[""], row["against"]) for row in both][-2:] == [("hybrid", "component"), ("hybrid", "ensemble")]
    assert repr(comparison) == (
        "Comparison(component (3 trainings), ensemble (1 training), hybrid (3 trainings); against component)"
    )
    assert str(comparison.pair("hybrid")).endswith("Holm's p < 0.001: better")


@pytest.mark.parametrize(
    ("entrants", "reference", "message"),
    [
        ({}, "a", "given for nothing"),
        ({"a": [[1.0, 2.0]]}, "a", "given for a: a comparison takes two"),
        ({"a": [[1.0, 2.0]], "b": [[1.0, 2.0]]}, "c", "reference is 'c' and losses are given for: a, b"),
        ({"a": [[1.0, 2.0]], "b": [[1.0, 2.0]]}, [], "reference is"),
        ({"a": [[1.0, 2.0]], "b": [[1.0, 2.0]]}, ["a", "b"], "leave at least one"),
        ({"a": [[1.0, 2.0]], "b": [[1.0, 2.0]]}, ["a", "a"], "different ones"),
        ({"a": [[1.0, 2.0]], "b": [[1.0, 2.0, 3.0]]}, "a", "a 2, b 3"),
        ({"a": [[1.0, 2.0]], "b": [1.0, 2.0]}, "a", r"b have the shape \(2,\).*losses\[None\]"),
        ({"a": [[1.0, 2.0]], "b": np.empty((0, 2))}, "a", r"b have the shape \(0, 2\)"),
        ({"a": [[1.0]], "b": [[1.0]]}, "a", r"a have the shape \(1, 1\)"),
        ({"a": [[1.0, 2.0]], "b": [[1.0, 2.0], [1.0, math.nan]]}, "a", "b hold nan in training 1 at example 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(entrants, reference, message):
    with pytest.raises(ManticoreError, match=message):
        compare_losses(entrants, reference)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(zoo.names()[0])


@pytest.mark.parametrize("kind", ["prose", "code"])
def test_predicted_bytes_are_those_of_the_text(tokenizer, kind):
    document = max((d.text for d in builtin_text.documents(kind, "held-out")), key=lambda text: not text.isascii())
    text = document[:4000] + " naïve — 数学 🙂"
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids[0]) == text
    first = len(tokenizer.decode(ids[0, :1]).encode())
    assert predicted_bytes(ids, tokenizer).tolist() == [len(text.encode()) - first]


def test_a_character_that_windows_share_is_counted_by_its_bytes():
    """Without merges each byte is a token, so windows of two predict one byte each, also within a character."""
    bytewise = byte_pairs(["text"], 257)
    text = "é数🙂"
    ids = bytewise(text, return_tensors="pt")["input_ids"][0]
    assert len(ids) == len(text.encode())
    assert predicted_bytes(torch.stack([ids[:-1], ids[1:]], dim=1), bytewise).tolist() == [1] * (len(ids) - 1)


def test_the_end_of_a_text_has_no_bytes(tokenizer):
    ids = tokenizer("some words", return_tensors="pt")["input_ids"]
    ended = torch.cat([ids, torch.tensor([[tokenizer.eos_token_id]])], dim=1)
    assert predicted_bytes(ended, tokenizer).tolist() == predicted_bytes(ids, tokenizer).tolist()
    assert bytes_per_token(ended, tokenizer) < bytes_per_token(ids, tokenizer)


def test_added_tokens_count_as_they_are_written(tokenizer):
    own = byte_pairs(["text"], 257)
    own.add_tokens(["   ", "→"])
    ids = own("a   →b", return_tensors="pt")["input_ids"]
    assert ids.shape == (1, 4)
    assert predicted_bytes(ids, own).tolist() == [len("   →b".encode())]


def test_other_tokenizers_count_what_they_decode():
    tokenizer = words(["?", "ein", "höher", "als"])
    ids = torch.tensor([[1, 2, 3], [3, 3, 1]])
    assert predicted_bytes(ids, tokenizer).tolist() == [len(" höher als".encode()), len(" als ein")]


def test_bits_per_byte_are_nats_over_bytes(tokenizer):
    windows = builtin_text.held_out(tokenizer, "code", length=32, count=8)
    losses = np.random.default_rng(0).uniform(2, 4, 8)
    bits = (losses * 31).sum() / math.log(2)
    expected = bits / predicted_bytes(windows, tokenizer).sum()
    assert bits_per_byte(losses, windows, tokenizer) == pytest.approx(expected)
    assert bits_of_loss(losses.mean(), bytes_per_token(windows, tokenizer)) == pytest.approx(expected)


def test_guessing_bytes_blindly_costs_eight_bits_each():
    bytewise = byte_pairs(["text"], 257)
    ids = bytewise("any text", return_tensors="pt")["input_ids"]
    assert bits_per_byte([math.log(256)], ids, bytewise) == pytest.approx(8)


def test_perplexity_is_the_number_of_equally_likely_tokens():
    assert perplexity(math.log(50)) == pytest.approx(50)
    assert perplexity(1e4) == math.inf


def test_units_refuse_what_they_cannot_count(tokenizer):
    ids = tokenizer("some words of text", return_tensors="pt")["input_ids"]
    with pytest.raises(ManticoreError, match=r"losses of shape \(2,\).*1 windows"):
        bits_per_byte([1.0, 2.0], ids, tokenizer)
    with pytest.raises(ManticoreError, match="1 of them not finite"):
        bits_per_byte([math.nan], ids, tokenizer)
    with pytest.raises(ManticoreError, match="from 2048 to 2048 and this tokenizer has 2048"):
        predicted_bytes(torch.full((1, 2), 2048), tokenizer)
    with pytest.raises(ManticoreError, match="stand for no text"):
        bytes_per_token(torch.full((1, 3), tokenizer.eos_token_id), tokenizer)
    with pytest.raises(ManticoreError, match="bytes_per_token is 0"):
        bits_of_loss(1.0, 0)
