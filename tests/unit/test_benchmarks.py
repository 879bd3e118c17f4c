"""The benchmarks' pieces run and give well-formed rows; no time is judged here."""

import json
import sys
from functools import cache
from itertools import count
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import environment
from benchmarks.__main__ import measure_groups
from benchmarks.clock import Clock, threads
from benchmarks.figure import scaling_figure
from benchmarks.groups import GROUPS
from benchmarks.measure import measure, ratios, total
from benchmarks.page import page_text
from benchmarks.rows import Row
from manticore_kit.errors import ManticoreError

CPU = Clock(torch.device("cpu"))

SMALL = {"batch": 2, "length": 8, "width": 32, "depth": 2}
TINY = {
    "scan": {"loop_rounds": 1, "batch": 2, "channels": 4, "length": 8, "state": 2, "lengths": (4, 8)},
    "mamba": SMALL,
    "hybrid": {**SMALL, "wide": 64, "wide_batch": 1},
    "discrete": {**SMALL, "prompt": 2, "new_tokens": 3},
    "generation": {"width": 32, "depth": 2, "prompt": 2, "new_tokens": 3, "long": 25, "long_rounds": 1},
    "surface": {"points": 2, "windows": 2},
    "edit": {"edits": 2, "windows": 2},
    "startup": {},
    "mad_training": {"batch": 2, "length": 8, "width": 32},
    "mad_generation": {"train": 8, "test": 4, "memorization_train": 4},
    "shares": SMALL,
    "scaling": {
        "tokens": 32,
        "length": 8,
        "width": 64,
        "lengths": (8, 16),
        "blocks": (1, 2),
        "batches": (1, 2),
        "components": (1, 2),
    },
}


@cache
def measured(name: str) -> list[Row]:
    """One group at its tiniest, with single rounds and no repeats."""
    with pytest.MonkeyPatch.context() as patch, threads(1):
        patch.setattr("benchmarks.measure.SHORTEST", 0.0)
        # A new process takes longer to import the libraries than all the rest here takes together.
        patch.setattr("benchmarks.groups.scan._in_a_plain_process", lambda work, *arguments: work(*arguments))
        rounds = {"rounds": 1} if "rounds" in (GROUPS[name].rows.__kwdefaults__ or {}) else {}
        return list(GROUPS[name].rows(CPU, **rounds, **TINY[name]))


def page_of(rows: list[Row]) -> str:
    """The page of `rows`, by way of what a run writes."""
    groups = [
        {"name": name, "title": f"Title of {name}", "method": "How.", "sizes": {"lengths": (1, 2)}}
        for name in dict.fromkeys(row.group for row in rows)
    ]
    data = {"header": environment.describe(CPU), "quick": False, "groups": groups, "rows": [r.as_data() for r in rows]}
    data = json.loads(json.dumps(data))
    return page_text(data, [Row.from_data(row) for row in data["rows"]])


@pytest.mark.parametrize("name", TINY)
def test_a_group_gives_rows_of_its_own_that_the_page_shows(name):
    rows = measured(name)
    assert {row.group for row in rows} == {name}
    assert len({(row.name, row.at) for row in rows}) == len(rows)
    page = page_of(rows)
    for row in rows:
        assert row.low <= row.median <= row.high < float("inf")
        assert row.unit
        if name == "scaling":
            assert "images/benchmarks.svg" in page
        elif name == "shares":
            assert row.name.split(", ")[1] in page
        else:
            assert row.name in page


def test_memory_of_building_is_measured_with_the_sizes_that_are_asked_for():
    # A build takes long even of tiny models; what is measured there has a test of its own.
    assert set(GROUPS) - set(TINY) == {"building"}
    assert list(GROUPS["building"].rows(CPU, cases=(), width=64, layers=1, vocabulary=64)) == []


def test_a_run_keeps_every_round_with_the_sizes_and_the_method(tmp_path, monkeypatch):
    monkeypatch.setattr(GROUPS["mamba"], "QUICK", {"rounds": 2, **SMALL})
    with threads(1):
        data = measure_groups(["mamba"], tmp_path / "new" / "benchmarks.json", quick=True)
    kept = json.loads((tmp_path / "new" / "benchmarks.json").read_text())
    assert kept == data
    assert {len(row["values"]) for row in kept["rows"]} == {2}
    (group,) = kept["groups"]
    assert group["title"] == "Mamba's training step"
    assert group["sizes"] == {"rounds": 2, **SMALL}
    page = page_text(kept, [Row.from_data(row) for row in kept["rows"]])
    assert " ".join(group["method"].split()) in page
    assert kept["header"]["torch"] == torch.__version__


@pytest.mark.parametrize("name", GROUPS)
def test_a_quick_run_changes_only_sizes_that_there_are(name):
    assert set(GROUPS[name].QUICK) <= set(GROUPS[name].rows.__kwdefaults__)


def test_works_run_in_turn_after_a_round_that_is_not_measured():
    order, ticks = [], count()
    works = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}

    class Ticking(Clock):
        def __call__(self) -> float:
            return float(next(ticks))

    times = measure(works, Ticking(torch.device("cpu")), 3)
    assert order == ["a", "b"] + ["a", "b"] * 3
    assert times == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_short_work_is_repeated_and_its_time_divided():
    calls = []
    times = measure({"short": lambda: calls.append(0)}, CPU, 1)
    assert len(calls) > 1000
    assert times["short"][0] < 1e-4


def test_a_ratio_is_taken_within_each_round():
    assert ratios([2, 30], total([1, 5], [1, 10])) == [1, 2]


def test_a_row_reports_the_median_the_middle_half_and_whether_its_target_holds():
    row = Row("g", "n", (4, 1, 2, 3, 100), "×", "<= 3")
    assert (row.low, row.median, row.high, row.holds) == (2, 3, 4, True)
    assert not Row("g", "n", (3.5,), "×", "<= 3").holds
    assert Row("g", "n", (3.5,), "×", ">= 3").holds
    assert not Row("g", "n", (0.5,), "s", "< 0.5").holds
    assert Row.from_data(json.loads(json.dumps(row.as_data()))) == row


@pytest.mark.parametrize("bad", [{"target": "about 3"}, {"values": ()}])
def test_a_row_that_could_not_be_judged_is_refused(bad):
    with pytest.raises(ManticoreError, match="g, n"):
        Row(**{"group": "g", "name": "n", "values": (1,), "unit": "×", **bad})


def test_the_page_says_which_targets_are_missed():
    rows = [
        Row("scan", "kept", (2, 3, 4), "×", ">= 3"),
        Row("scan", "missed", (2, 3, 4), "×", ">= 1000"),
        Row("edit", "without a target", (7,), "ms"),
    ]
    lines = page_of(rows).splitlines()
    assert "1 of 2 are missed." in lines
    assert "| Title of scan | kept | ≥ 3 × | 3.00 × | 2.50 – 3.50 | 3 | yes |" in lines
    assert "|  | missed | ≥ 1,000 × | 3.00 × | 2.50 – 3.50 | 3 | **no** |" in lines
    assert "| Title of edit | without a target | 7.00 ms |  | 1 |" in lines
    assert "All of them hold." in page_of(rows[:1])


def test_the_figure_has_two_curves_in_each_panel():
    figure = scaling_figure(measured("scaling"))
    curves = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert len(curves) == 2 * 2 * 4
    assert len({(trace.xaxis, trace.yaxis) for trace in curves}) == 2 * 4
    for trace in curves:
        assert len(trace.x) == len(trace.y) > 1
