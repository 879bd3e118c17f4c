"""Every row keeps the rules of its task, read off the row alone; and each rule notices a row that breaks it.

The rules are written out once more in plain Python, one token at a time, with nothing of what generates the rows.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manticore_kit.tasks import mad

IGNORED = -100
SPLITS = ("train", "validation", "test")
Broken = set[str]


def broken_rules(rows: mad.Rows) -> Broken:
    """The rules that some row breaks."""
    shapes = {rows.inputs.shape, rows.targets.shape}
    broken = set() if len(shapes) == 1 and len(rows.inputs) else {"shapes"}
    for inputs, targets in zip(rows.inputs.tolist(), rows.targets.tolist(), strict=True):
        broken |= RULES[rows.task](rows.settings.plain(), rows.split == "train", inputs, targets)
    if rows.task == "memorization":
        broken |= rules_of_the_map(rows.inputs.tolist(), rows.targets.tolist())
    return broken


def recall_rules(s: dict, training: bool, inputs: list, targets: list) -> Broken:
    meaningful = s["vocab_size"] - s.get("noise_vocab_size", 0)
    half = meaningful // 2
    row = [*inputs, targets[-1]]
    if len(row) != s["seq_len"]:
        return {"length"}
    broken, value_of, wanted, noisy, shown_to_the_probe = set(), {}, [], [], False
    for left, right in zip(row[::2], row[1::2], strict=True):
        is_noise = meaningful <= left < s["vocab_size"] and meaningful <= right < s["vocab_size"]
        noisy.append(is_noise)
        if is_noise:
            wanted += [IGNORED, IGNORED]
            continue
        if not (0 <= left < half <= right < meaningful):
            broken.add("a key and its value, or two tokens of noise")
        shown_to_the_probe = left in value_of
        wanted += [IGNORED, right if shown_to_the_probe else IGNORED]
        if value_of.setdefault(left, right) != right:
            broken.add("a key keeps its value")
    if all(noisy[:-1]):
        broken.add("a pair at least")
    if noisy[-1] or not shown_to_the_probe:
        broken.add("the last pair asks a key that was shown")
    if any(noisy) and not s.get("frac_noise"):
        broken.add("no noise where none is asked for")
    if targets != (row[1:] if training else wanted[1:]):
        broken.add("targets")
    return broken


def parse(row: list, num_keys: int, padding: int) -> tuple[int, list[tuple[tuple, tuple]]]:
    """Length of the padding, and the pairs of motifs. A pair is some tokens of keys and then some of values."""
    lead = next((place for place, token in enumerate(row) if token != padding), len(row))
    pairs: list[tuple[tuple, tuple]] = []
    for token in row[lead:]:
        if token < num_keys:
            if not pairs or pairs[-1][1]:
                pairs.append(((), ()))
            pairs[-1] = ((*pairs[-1][0], token), ())
        elif not pairs:
            pairs.append(((), (token,)))
        else:
            pairs[-1] = (pairs[-1][0], (*pairs[-1][1], token))
    return lead, pairs


def fuzzy_rules(s: dict, training: bool, inputs: list, targets: list) -> Broken:
    padding, longest = s["vocab_size"] - 1, (s["key_motif_size"], s["value_motif_size"])
    num_keys = padding // 2
    row = [*inputs, targets[-1]]
    if len(row) != s["seq_len"] + 1:
        return {"length"}
    lead, pairs = parse(row, num_keys, padding)
    broken, value_of = set(), {}
    wanted: list[int] = [IGNORED] * lead
    if padding in row[lead:]:
        broken.add("padding on the left alone")
    if lead >= sum(longest):
        broken.add("no more padding than leaves no room for a pair")
    for key, value in pairs:
        sizes = (len(key), len(value))
        if not all(1 <= size <= most for size, most in zip(sizes, longest, strict=True)):
            broken.add("motifs have a size from one to the longest")
        if not training and len(key) != longest[0]:
            broken.add("keys are of the greatest length in validation and test")
        if any(len(set(motif)) < len(motif) for motif in (key, value)):
            broken.add("the tokens of a motif differ")
        wanted += [IGNORED] * len(key) + (list(value) if key in value_of else [IGNORED] * len(value))
        if value_of.setdefault(key, value) != value:
            broken.add("a key keeps its value")
    if len(pairs) < 2 or pairs[-1] not in pairs[:-1]:
        broken.add("the last pair asks a key that was shown")
    if targets != (row[1:] if training else wanted[1:]):
        broken.add("targets")
    return broken


def copying_rules(s: dict, training: bool, inputs: list, targets: list) -> Broken:
    blank, copy, count = s["vocab_size"] - 2, s["vocab_size"] - 1, s["num_tokens_to_copy"]
    if len(inputs) != s["seq_len"]:
        return {"length"}
    broken = set()
    if not all(0 <= token < s["vocab_size"] for token in inputs):
        broken.add("ids")
    at = len(inputs) - count - 1
    if inputs[at:] != [copy] + [blank] * count or copy in inputs[:at]:
        broken.add("the copy token and blanks end the row")
    contents = [token for token in inputs[:at] if token != blank]
    if len(contents) != count:
        broken.add("so many contents as are to be copied")
    if inputs[at - 1] == blank:
        broken.add("the last content touches the copy token")
    if targets != [IGNORED] * (at + 1) + contents:
        broken.add("targets")
    return broken


def compression_rules(s: dict, training: bool, inputs: list, targets: list) -> Broken:
    last = s["vocab_size"] - 1
    broken = set() if len(inputs) == s["seq_len"] else {"length"}
    if inputs[-1] != last or not all(0 <= token < last for token in inputs[:-1]):
        broken.add("the last id ends the row and stands nowhere else")
    if targets != inputs:
        broken.add("targets")
    return broken


def memorization_rules(s: dict, training: bool, inputs: list, targets: list) -> Broken:
    insert = s["vocab_size"] - 1
    half = insert // 2
    broken = set() if len(inputs) == s["seq_len"] else {"length"}
    if not all(0 <= key < half for key in inputs[::2]) or set(inputs[1::2]) != {insert}:
        broken.add("keys, each with the insert token")
    if set(targets[::2]) != {IGNORED} or not all(half <= value < insert for value in targets[1::2]):
        broken.add("targets")
    return broken


def rules_of_the_map(inputs: list, targets: list) -> Broken:
    shown = {
        (key, value) for row, to in zip(inputs, targets, strict=True) for key, value in zip(row, to[1:], strict=False)
    }
    pairs = {(key, value) for key, value in shown if value != IGNORED}
    keys, values = {key for key, _ in pairs}, {value for _, value in pairs}
    return set() if len(keys) == len(values) == len(pairs) else {"one value for each key, and no value for two"}


RULES: dict[str, Callable[[dict, bool, list, list], Broken]] = {
    "in-context-recall": recall_rules,
    "noisy-in-context-recall": recall_rules,
    "fuzzy-in-context-recall": fuzzy_rules,
    "selective-copying": copying_rules,
    "compression": compression_rules,
    "memorization": memorization_rules,
}

# Beside the baseline: odd vocabularies, the smallest rows, long motifs, ids that take two bytes.
OTHERS = [
    ("in-context-recall", {"vocab_size": 7, "seq_len": 6}),
    ("in-context-recall", {"vocab_size": 2, "seq_len": 4}),
    ("in-context-recall", {"vocab_size": 600, "seq_len": 1024}),
    ("noisy-in-context-recall", {"vocab_size": 5, "noise_vocab_size": 1, "frac_noise": 0.9, "seq_len": 8}),
    ("noisy-in-context-recall", {"noise_vocab_size": 0, "frac_noise": 0}),
    ("fuzzy-in-context-recall", {"vocab_size": 7, "seq_len": 11}),
    ("fuzzy-in-context-recall", {"vocab_size": 128, "key_motif_size": 12, "value_motif_size": 1, "seq_len": 300}),
    ("fuzzy-in-context-recall", {"vocab_size": 10, "key_motif_size": 1, "value_motif_size": 5}),
    ("selective-copying", {"vocab_size": 3, "num_tokens_to_copy": 4, "seq_len": 9}),
    ("selective-copying", {"num_tokens_to_copy": 96}),
    ("compression", {"vocab_size": 300, "seq_len": 3}),
    ("memorization", {"vocab_size": 8, "seq_len": 2}),
    ("memorization", {"vocab_size": 8192}),
]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("task", "changes"), [*((task, {}) for task in mad.TASKS), *OTHERS], ids=str)
def test_every_row_keeps_the_rules(task, changes, split):
    rows = mad.generate(task, split, num_examples=300, seed=3, **changes)
    assert rows.inputs.dtype == rows.targets.dtype == np.int64
    assert broken_rules(rows) == set()


@st.composite
def calls(draw) -> tuple[str, dict]:
    """A task and settings with which there are rows."""
    task = draw(st.sampled_from(mad.TASKS))
    extra = draw(st.integers(0, 40))
    if task == "fuzzy-in-context-recall":
        key, value = draw(st.integers(1, 5)), draw(st.integers(1, 5))
        changes = {"key_motif_size": key, "value_motif_size": value}
        vocab_size, seq_len = max(2 * key + 1, 2 * value), 2 * (key + value) - 1
    elif task == "selective-copying":
        changes = {"num_tokens_to_copy": (count := draw(st.integers(1, 12)))}
        vocab_size, seq_len = 3, 2 * count + 1
    elif task == "noisy-in-context-recall":
        changes = {"noise_vocab_size": (noise := draw(st.integers(1, 5))), "frac_noise": draw(st.floats(0, 0.99))}
        vocab_size, seq_len, extra = noise + 2, 4, 2 * extra
    else:
        changes = {}
        vocab_size = 3 if task == "memorization" else 2
        seq_len, extra = (2, extra) if task == "compression" else (4, 2 * extra)
    return task, {**changes, "vocab_size": vocab_size + draw(st.integers(0, 300)), "seq_len": seq_len + extra}


@settings(max_examples=200, deadline=None)
@given(call=calls(), split=st.sampled_from(SPLITS), seed=st.integers(0, 2**70), count=st.integers(1, 12))
def test_every_row_keeps_the_rules_whatever_the_settings(call, split, seed, count):
    task, changes = call
    rows = mad.generate(task, split, num_examples=count, seed=seed, **changes)
    assert len(rows) == len(rows.inputs) == count
    assert broken_rules(rows) == set()


# Broken twins. Each spoils the rows of a call so that the named rule must notice, whichever others do too.
NOISY = {"vocab_size": 12, "noise_vocab_size": 4, "frac_noise": 0.5, "seq_len": 32}
FEW = {"vocab_size": 16, "seq_len": 8}  # three pairs, eight keys
Spoil = Callable[[np.ndarray, np.ndarray], None]


def at(array: str, place, value) -> Spoil:
    """Puts a value at a place of the inputs or the targets of the first row."""

    def spoil(inputs, targets):
        (inputs if array == "inputs" else targets)[0, place] = value

    return spoil


def another_value_of_the_probe(inputs, targets):
    targets[0, -1] = 8 if targets[0, -1] != 8 else 9


def a_probe_never_shown(inputs, targets):
    inputs[0, -1] = min(set(range(8)) - set(inputs[0, :-1:2].tolist()))


def nothing_but_noise(inputs, targets):
    inputs[0, :-1], targets[0, :-1] = 11, IGNORED


def one_target_less(inputs, targets):
    targets[0, np.flatnonzero(targets[0] != IGNORED)[0]] = IGNORED


def a_target_that_cannot_be_known(inputs, targets):
    targets[0, 0] = inputs[0, 1]


def one_step_late(inputs, targets):
    targets[:] = np.roll(targets, 1, axis=1)


def last_content_first(inputs, targets):
    targets[:, -16:] = targets[:, :-17:-1].copy()


def of_pairs(change: Callable[[list], list]) -> Spoil:
    """Changes the pairs of the first row of fuzzy recall at the baseline, and fits padding and final target to it."""

    def spoil(inputs, targets):
        row = [*inputs[0].tolist(), int(targets[0, -1])]
        tokens = [token for key, value in change(parse(row, 7, 15)[1]) for token in (*key, *value)]
        row = [15] * (len(row) - len(tokens)) + tokens[-len(row) :]
        inputs[0], targets[0, -1] = row[:-1], row[-1]

    return spoil


def first(key: tuple | None = None, value: tuple | None = None) -> Spoil:
    """Puts another motif into the first pair of fuzzy recall, which is then followed by as many as before."""
    return of_pairs(lambda pairs: [(key or pairs[0][0], value or pairs[0][1]), *pairs[1:]])


TWINS = [
    ("in-context-recall", "test", {}, at("inputs", 0, 15), "a key and its value, or two tokens of noise"),
    ("in-context-recall", "test", {}, at("inputs", 1, 16), "a key and its value, or two tokens of noise"),
    ("in-context-recall", "test", {}, another_value_of_the_probe, "a key keeps its value"),
    ("in-context-recall", "test", FEW, a_probe_never_shown, "the last pair asks a key that was shown"),
    ("in-context-recall", "test", {}, one_target_less, "targets"),
    ("in-context-recall", "test", {}, a_target_that_cannot_be_known, "targets"),
    ("in-context-recall", "validation", {}, one_target_less, "targets"),
    ("in-context-recall", "train", {}, one_target_less, "targets"),
    ("in-context-recall", "train", {}, one_step_late, "targets"),
    ("noisy-in-context-recall", "test", NOISY, at("inputs", 0, 11), "a key and its value, or two tokens of noise"),
    ("noisy-in-context-recall", "test", NOISY, nothing_but_noise, "a pair at least"),
    ("noisy-in-context-recall", "test", NOISY, nothing_but_noise, "the last pair asks a key that was shown"),
    ("fuzzy-in-context-recall", "test", {}, first(key=(1, 2, 1)), "the tokens of a motif differ"),
    ("fuzzy-in-context-recall", "test", {}, first(value=(9, 9)), "the tokens of a motif differ"),
    ("fuzzy-in-context-recall", "test", {}, first(value=(9, 8, 7, 10)), "motifs have a size from one to the longest"),
    (
        "fuzzy-in-context-recall",
        "test",
        {},
        first(key=(1, 2)),
        "keys are of the greatest length in validation and test",
    ),
    ("fuzzy-in-context-recall", "train", {}, at("inputs", 60, 15), "padding on the left alone"),
    (
        "fuzzy-in-context-recall",
        "test",
        {},
        of_pairs(lambda p: p[3:]),
        "no more padding than leaves no room for a pair",
    ),
    (
        "fuzzy-in-context-recall",
        "test",
        {},
        of_pairs(lambda p: [*p[1:-1], (p[-1][0], (7,)), (p[-1][0], (8,))]),
        "a key keeps its value",
    ),
    (
        "fuzzy-in-context-recall",
        "test",
        {},
        of_pairs(lambda p: [pair for pair in p if pair != p[-1]] + p[-1:]),
        "the last pair asks a key that was shown",
    ),
    ("fuzzy-in-context-recall", "test", {}, one_target_less, "targets"),
    ("fuzzy-in-context-recall", "train", {}, one_step_late, "targets"),
    ("selective-copying", "train", {}, at("inputs", -17, 14), "the copy token and blanks end the row"),
    ("selective-copying", "train", {}, at("inputs", 0, 15), "the copy token and blanks end the row"),
    ("selective-copying", "train", {}, at("inputs", 3, 16), "ids"),
    ("selective-copying", "test", {}, at("inputs", slice(0, 239), 14), "so many contents as are to be copied"),
    ("selective-copying", "test", {}, at("inputs", 238, 14), "the last content touches the copy token"),
    ("selective-copying", "test", {}, last_content_first, "targets"),
    ("selective-copying", "test", {}, one_step_late, "targets"),
    ("compression", "train", {}, at("inputs", -1, 3), "the last id ends the row and stands nowhere else"),
    ("compression", "train", {}, at("inputs", 4, 15), "the last id ends the row and stands nowhere else"),
    ("compression", "test", {}, one_step_late, "targets"),
    ("memorization", "train", {}, at("inputs", 1, 7), "keys, each with the insert token"),
    ("memorization", "train", {}, at("inputs", 0, 127), "keys, each with the insert token"),
    ("memorization", "test", {}, one_step_late, "targets"),
    ("memorization", "test", {}, at("targets", 1, 126), "targets"),
    (
        "memorization",
        "test",
        {},
        lambda inputs, targets: targets.__setitem__((0, 1), targets[0, 1] % 128 + 127),
        "one value for each key, and no value for two",
    ),
    *((task, split, {}, None, "length") for task in mad.TASKS for split in ("train", "test")),
]


@pytest.mark.parametrize(("task", "split", "changes", "spoil", "rule"), TWINS)
def test_each_rule_notices_a_row_that_breaks_it(task, split, changes, spoil, rule):
    rows = mad.generate(task, split, num_examples=40, seed=5, **changes)
    inputs, targets = rows.inputs.copy(), rows.targets.copy()
    if spoil is None:
        inputs, targets = inputs[:, 1:], targets[:, 1:]
    else:
        spoil(inputs, targets)
    assert broken_rules(rows) == set()
    assert rule in broken_rules(replace(rows, inputs=inputs, targets=targets))


def test_keys_of_many_tokens_that_differ_in_one_are_told_apart():
    # Their numbers differ only beyond what a float64 holds.
    from manticore_kit.tasks.mad import fuzzy_recall

    s = mad.settings_of("fuzzy-in-context-recall", vocab_size=128, key_motif_size=10, value_motif_size=1, seq_len=42)
    key, other = [*range(50, 60)], [*range(50, 59), 60]
    row = [127] * 10 + [*key, 100, *other, 101, *key, 100]
    _, targets = fuzzy_recall.ask(s, "test", np.array([row], dtype=np.uint8))
    assert np.flatnonzero(targets[0] != IGNORED).tolist() == [len(row) - 2]
    assert targets[0, -1] == 100
