"""The baseline and the sweep are the protocol's, and what cannot be generated is refused with the smallest that can."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manticore_kit.errors import ManticoreError
from manticore_kit.tasks import mad

SPLITS = ("train", "validation", "test")

BASELINES = {
    "in-context-recall": {"vocab_size": 16, "seq_len": 128},
    "noisy-in-context-recall": {"vocab_size": 32, "seq_len": 128, "noise_vocab_size": 16, "frac_noise": 0.2},
    "fuzzy-in-context-recall": {"vocab_size": 16, "seq_len": 128, "key_motif_size": 3, "value_motif_size": 3},
    "selective-copying": {"vocab_size": 16, "seq_len": 256, "num_tokens_to_copy": 16},
    "compression": {"vocab_size": 16, "seq_len": 32},
    "memorization": {"vocab_size": 256, "seq_len": 32, "kv_map_seed": 0},
}
LENGTHS = {
    "in-context-recall": 127,
    "noisy-in-context-recall": 127,
    "fuzzy-in-context-recall": 128,
    "selective-copying": 256,
    "compression": 32,
    "memorization": 32,
}
VOCABULARIES, RECALL_LENGTHS, FEWER_ROWS = [32, 64, 128], [256, 512, 1024], [6400, 3200, 1600, 800]
SWEEPS = {
    "in-context-recall": {"vocab_size": VOCABULARIES, "seq_len": RECALL_LENGTHS, "num_examples": FEWER_ROWS},
    "noisy-in-context-recall": {
        "vocab_size": [48, 80, 144],
        "seq_len": RECALL_LENGTHS,
        "frac_noise": [0.4, 0.6, 0.8],
        "num_examples": FEWER_ROWS,
    },
    "fuzzy-in-context-recall": {"vocab_size": VOCABULARIES, "seq_len": RECALL_LENGTHS, "num_examples": FEWER_ROWS},
    "selective-copying": {
        "vocab_size": VOCABULARIES,
        "seq_len": [512, 1024],
        "num_tokens_to_copy": [32, 64, 96],
        "num_examples": FEWER_ROWS,
    },
    "compression": {"vocab_size": VOCABULARIES, "seq_len": [64, 128, 256], "num_examples": FEWER_ROWS},
    "memorization": {"vocab_size": [512, 1024, 2048, 4096, 8192]},
}


def test_there_are_six_tasks_in_the_papers_order():
    assert list(BASELINES) == list(mad.TASKS)


@pytest.mark.parametrize("task", mad.TASKS)
def test_the_defaults_are_the_baseline(task):
    found = mad.settings_of(task)
    assert found.plain() == BASELINES[task]
    assert {name: getattr(found, name) for name in BASELINES[task]} == BASELINES[task]
    assert mad.settings_of(task, **found.plain()) == found


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", mad.TASKS)
def test_sizes_are_the_protocols(task, split):
    rows = mad.generate(task, split)
    count = 1280 if split != "train" else 256 if task == "memorization" else 12_800
    assert rows.inputs.shape == rows.targets.shape == (count, LENGTHS[task])
    assert (rows.task, rows.split, rows.settings) == (task, split, mad.settings_of(task))
    assert len(rows) == count


@pytest.mark.parametrize("task", mad.TASKS)
def test_the_sweep_changes_one_variable_at_a_time_from_the_baseline(task):
    first, *changes = mad.difficulty_sweep(task)
    assert first == {}
    assert all(len(change) == 1 for change in changes)
    names = dict.fromkeys(name for change in changes for name in change)
    assert {name: [c[name] for c in changes if name in c] for name in names} == SWEEPS[task]
    changes[0].clear()
    assert mad.difficulty_sweep(task)[1] != {}, "a new list every time"


@pytest.mark.parametrize(
    ("task", "change"), [(task, change) for task in mad.TASKS for change in mad.difficulty_sweep(task)], ids=str
)
def test_every_setting_of_the_sweep_generates(task, change):
    rows = mad.generate(task, "train", **{"num_examples": 64, **change})
    assert len(rows) == change.get("num_examples", 64)
    assert len(np.unique(rows.inputs, axis=0)) == len(rows)
    assert rows.inputs.max() == rows.settings.vocab_size - 1 or "recall" in task


def test_the_map_of_memorization_belongs_to_its_own_seed():
    def pairs(**call) -> set:
        rows = mad.generate("memorization", **call)
        return set(zip(rows.inputs[:, ::2].ravel().tolist(), rows.targets[:, 1::2].ravel().tolist(), strict=True))

    train = pairs(split="train")
    assert len(train) == 127
    for split in SPLITS:
        assert pairs(split=split, seed=5) <= train
    assert len(pairs(split="test", kv_map_seed=1) & train) < 10


def smallest_that_works(message: str) -> tuple[str, int]:
    """The setting that an error is about, and the value that it recommends."""
    name = re.search(r": (\w+) is ", message)
    value = re.search(r"smallest value (?:from there on )?that works is (\d+)", message)
    assert name, message
    assert value, message
    return name[1], int(value[1])


@pytest.mark.parametrize(
    ("task", "changes", "name", "least"),
    [
        ("in-context-recall", {"vocab_size": 1}, "vocab_size", 2),
        ("in-context-recall", {"seq_len": 2}, "seq_len", 4),
        ("in-context-recall", {"seq_len": 127}, "seq_len", 128),
        ("in-context-recall", {"seq_len": -8}, "seq_len", 4),
        ("noisy-in-context-recall", {"vocab_size": 16}, "vocab_size", 18),
        ("noisy-in-context-recall", {"noise_vocab_size": 32}, "vocab_size", 34),
        ("noisy-in-context-recall", {"noise_vocab_size": 0}, "noise_vocab_size", 1),
        ("noisy-in-context-recall", {"noise_vocab_size": -1, "frac_noise": 0}, "noise_vocab_size", 0),
        ("noisy-in-context-recall", {"seq_len": 9}, "seq_len", 10),
        ("fuzzy-in-context-recall", {"vocab_size": 3}, "vocab_size", 7),
        ("fuzzy-in-context-recall", {"key_motif_size": 8}, "vocab_size", 17),
        ("fuzzy-in-context-recall", {"value_motif_size": 9}, "vocab_size", 18),
        ("fuzzy-in-context-recall", {"key_motif_size": 0}, "key_motif_size", 1),
        ("fuzzy-in-context-recall", {"value_motif_size": -2}, "value_motif_size", 1),
        ("fuzzy-in-context-recall", {"seq_len": 3}, "seq_len", 11),
        ("selective-copying", {"vocab_size": 2}, "vocab_size", 3),
        ("selective-copying", {"num_tokens_to_copy": 128}, "seq_len", 257),
        ("selective-copying", {"num_tokens_to_copy": 0}, "num_tokens_to_copy", 1),
        ("selective-copying", {"seq_len": 20}, "seq_len", 33),
        ("compression", {"vocab_size": 0}, "vocab_size", 2),
        ("compression", {"seq_len": 1}, "seq_len", 2),
        ("memorization", {"vocab_size": 2}, "vocab_size", 3),
        ("memorization", {"seq_len": 0}, "seq_len", 2),
        ("memorization", {"seq_len": 31}, "seq_len", 32),
    ],
)
def test_settings_without_rows_are_refused_with_the_smallest_that_works(task, changes, name, least):
    with pytest.raises(ManticoreError, match=f"^{task}: ") as error:
        mad.settings_of(task, **changes)
    assert smallest_that_works(str(error.value)) == (name, least)
    with pytest.raises(ManticoreError, match=f"{name} is {least - 1},"):
        mad.settings_of(task, **{**changes, name: least - 1})
    for split in SPLITS:
        assert len(mad.generate(task, split, num_examples=3, **{**changes, name: least})) == 3


@settings(max_examples=300, deadline=None)
@given(task=st.sampled_from(mad.TASKS), data=st.data())
def test_following_the_errors_leads_to_rows(task, data):
    fields = [name for name in BASELINES[task] if name not in {"frac_noise", "kv_map_seed"}]
    changes = {name: data.draw(st.integers(-3, 40), label=name) for name in fields}
    for _ in range(2 * len(fields) + 1):
        try:
            mad.settings_of(task, **changes)
            break
        except ManticoreError as error:
            name, least = smallest_that_works(str(error))
            assert least > changes[name]
            changes[name] = least
    assert len(mad.generate(task, "test", num_examples=2, **changes)) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("in-context-recal", {}), "task 'in-context-recal'.*did you mean 'in-context-recall'"),
        (("zzz", {}), "task 'zzz': there is none of that name; There are in-context-recall, noisy"),
        ((None, {}), "task None"),
        (
            ("compression", {"vocab": 3}),
            "vocab: unknown key; did you mean 'vocab_size'.*known keys are vocab_size, seq",
        ),
        (("compression", {"frac_noise": 0.1}), "frac_noise: unknown key; known keys are"),
        (("compression", {"vocab_size": "many"}), "vocab_size: .*integer.*'many'"),
        (("compression", {"vocab_size": 2.5}), "vocab_size: .*integer.*2.5"),
        (("compression", {"vocab_size": None, "seq_len": "x"}), "vocab_size: .*; seq_len: "),
        (("noisy-in-context-recall", {"frac_noise": 1.0}), "frac_noise: .*less than 1.*1.0"),
        (("noisy-in-context-recall", {"frac_noise": -0.1}), "frac_noise: .*greater than or equal to 0.*-0.1"),
        (("noisy-in-context-recall", {"frac_noise": float("nan")}), "frac_noise: .*nan"),
        (("memorization", {"kv_map_seed": -1}), "kv_map_seed: .*greater than or equal to 0.*-1"),
    ],
)
def test_what_there_is_not_is_named_with_what_there_is(call, message):
    task, changes = call
    with pytest.raises(ManticoreError, match=message):
        mad.settings_of(task, **changes)
    with pytest.raises(ManticoreError, match=message):
        mad.generate(task, "train", num_examples=2, **changes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"split": "tests"}, "split 'tests'.*did you mean 'test'.*train, validation, test"),
        ({"split": 0}, "split 0: .*There are train"),
        ({"num_examples": 0}, "num_examples is 0; give a whole number, 1 or more"),
        ({"num_examples": 2.0}, r"num_examples is 2\.0"),
        ({"num_examples": True}, "num_examples is True"),
        ({"seed": -1}, "seed is -1; give a whole number, 0 or more"),
        ({"seed": "7"}, "seed is '7'"),
    ],
)
def test_calls_that_cannot_be_met_are_refused(call, message):
    with pytest.raises(ManticoreError, match=message):
        mad.generate("compression", **{"split": "test", **call})


def test_the_sweep_of_no_task_is_refused():
    with pytest.raises(ManticoreError, match="did you mean 'compression'"):
        mad.difficulty_sweep("compresion")


def test_settings_do_not_change_once_rows_were_made_with_them():
    found = mad.settings_of("compression")
    with pytest.raises(ManticoreError, match="vocab_size"):
        found.vocab_size = 3
    assert found == mad.settings_of("compression")


def test_numpys_numbers_are_numbers():
    rows = mad.generate(
        "compression", "test", num_examples=np.int64(3), seed=np.uint8(4), vocab_size=np.int32(5), seq_len=np.int64(6)
    )
    same = mad.generate("compression", "test", num_examples=3, seed=4, vocab_size=5, seq_len=6)
    assert (rows.inputs == same.inputs).all()
    assert rows.settings.plain() == {"vocab_size": 5, "seq_len": 6}
