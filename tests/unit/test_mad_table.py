"""Who takes part in the table of MAD's tasks, and how accuracies are put together."""

import numpy as np
import pytest
from scipy.stats import t

from manticore_kit.analysis.mixtures import mixture_grid
from manticore_kit.analysis.surface import LossSurface
from manticore_kit.errors import ManticoreError
from manticore_kit.figures import accuracies_figure, loss_surface_figure, mixtures_figure
from manticore_kit.mad.plan import MadPlan
from manticore_kit.mad.search import search
from manticore_kit.mad.table import (
    compare_on_tasks,
    difference_rows,
    entrant_trials,
    reference_points,
    seeds_interval,
    standard_entrants,
    table_rows,
)
from manticore_kit.mad.trials import grid_trials, model_of
from manticore_kit.recipe import Recipe
from manticore_kit.tasks import mad

SMOKE = MadPlan.preset("smoke")


def test_every_entrant_of_the_table_is_what_its_name_says(tmp_path):
    entrants = standard_entrants(32)
    plan = MadPlan.preset("smoke", tasks=["in-context-recall"])
    models = {trial.folder.parts[-4]: model_of(trial) for trial in entrant_trials(entrants, plan, tmp_path).values()}
    assert len(models) == len(entrants) == 10
    described = {name: [type(m).__name__] for name, m in models.items() if not hasattr(m, "mixture")}
    assert described == {
        "attention": ["MadForCausalLM"],
        "Mamba": ["MadForCausalLM"],
        "Hyena": ["MadForCausalLM"],
        "MambaFormer": ["MambaFormerForCausalLM"],
        "StripedHyena": ["StripedHyenaForCausalLM"],
    }
    shapes = {name: tuple(m.mixture_weights.shape) for name, m in models.items() if hasattr(m, "mixture")}
    assert shapes == {
        "hybrid_of_two_DARTS": (2, 2),
        "hybrid_of_two_GAEA": (2, 2),
        "hybrid_of_two_1_block": (1, 2),
        "hybrid_of_two_4_blocks": (4, 2),
        "hybrid_of_three_DARTS": (2, 3),
    }


def test_hybrids_are_searched_by_their_own_method_and_nothing_else_is(tmp_path):
    trials = entrant_trials(standard_entrants(32, small=True), SMOKE, tmp_path)
    methods = {name: trial.settings.search and trial.settings.search.method for (name, *_), trial in trials.items()}
    assert methods["hybrid of two, GAEA"] == "gaea"
    assert methods["hybrid of three, DARTS"] == "darts"
    assert {methods[name] for name in ("attention", "Mamba", "MambaFormer")} == {None}
    assert "hybrid of two, 4 blocks" not in methods


def test_all_have_one_budget_and_the_same_rows(tmp_path):
    trials = entrant_trials(standard_entrants(32), SMOKE, tmp_path)
    assert {(trial.settings.steps, trial.settings.batch_size) for trial in trials.values()} == {(4, 8)}
    assert len({str(sorted(trial.rows.items())) for trial in trials.values()}) == 1


def test_mixtures_of_a_grid_stay(tmp_path):
    recipe = Recipe.parse({"components": [{"model": "tiny-gptneo"}, {"model": "tiny-mamba"}], "blocks": 2})
    grid = np.array([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.0, 1.0]]])
    plan = MadPlan.preset("smoke", tasks=["in-context-recall"])
    for rows, trial in zip(grid, grid_trials(recipe, plan, grid, tmp_path).values(), strict=True):
        assert trial.settings.search is None
        assert np.array_equal(model_of(trial).mixture_weights.detach().numpy(), rows)


def test_intervals_over_seeds_are_students():
    values = [0.5, 0.6, 0.7]
    mean, low, high = seeds_interval(values)
    expected = t.interval(0.95, 2, loc=0.6, scale=np.std(values, ddof=1) / np.sqrt(3))
    assert (mean, low, high) == pytest.approx((0.6, *expected))
    assert seeds_interval([0.999, 1.0])[2] == 1.0
    assert seeds_interval([0.4]) == (0.4, 0.4, 0.4)


def test_table_has_every_model_then_the_references():
    points = reference_points(SMOKE)
    assert set(points) == set(SMOKE.tasks)
    found = {(name, task): [0.5, 0.7] for name in ("a", "b") for task in points}
    rows = table_rows(found, points)
    assert [row[""] for row in rows] == ["a", "b", "majority", "random", "ceiling"]
    assert rows[0]["mean"] == "0.600"


def test_models_are_compared_row_by_row_with_the_reference():
    class Fake:
        def __init__(self, losses):
            self.losses = {"test": losses}

    rng = np.random.default_rng(0)
    rows = rng.uniform(1, 2, 40)
    best = {
        ("hybrid", "copying"): {seed: Fake(rows) for seed in range(3)},
        ("same", "copying"): {seed: Fake(rows + rng.normal(0, 0.1, 40)) for seed in range(3)},
        ("behind", "copying"): {seed: Fake(rows + 0.5 + rng.normal(0, 0.1, 40)) for seed in range(3)},
    }
    same, behind = difference_rows(compare_on_tasks(best, "hybrid"))
    assert behind[""] == "behind"
    assert behind["copying"].endswith("worse")
    assert "worse" not in same["copying"]


def test_figures_take_names_as_text():
    found = {("<b>a</b>", "copying"): [0.5, 0.75]}
    figure = accuracies_figure(found, {"copying": 0.1}, title="t").to_json()
    assert "<b>a</b>" not in figure
    assert "0.62" in figure
    drawn = mixtures_figure(["<i>x</i>", "y"], {"copying": np.full((2, 2, 2), 0.5)}, title="t").to_json()
    assert "<i>x</i>" not in drawn
    with pytest.raises(ManticoreError, match="no accuracy of 'b' on 'copying'"):
        accuracies_figure({("a", "copying"): [1.0], ("b", "other"): [1.0]}, {"copying": 0.1})
    with pytest.raises(ManticoreError, match=r"shape \(2, 2\)"):
        mixtures_figure(["x", "y"], {"copying": np.full((2, 2), 0.5)})


def test_search_needs_two_components_and_a_folder_of_its_own(tmp_path):
    pair = Recipe.parse({"components": [{"model": "tiny-gptneo"}, {"model": "tiny-mamba"}], "blocks": 2})
    single = Recipe.parse({"components": [{"model": "tiny-gptneo"}]})
    with pytest.raises(ManticoreError, match="this recipe has one"):
        search(single, SMOKE, tmp_path / "one")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ManticoreError, match="holds no search on MAD tasks"):
        search(pair, SMOKE, tmp_path)


def test_search_is_read_where_it_is_finished_and_refuses_another_plan(tmp_path):
    pair = Recipe.parse({"components": [{"model": "tiny-gptneo"}, {"model": "tiny-mamba"}], "blocks": 2})
    plan = MadPlan.preset("smoke", tasks=["compression"])
    first = search(pair, plan, tmp_path / "mad", workers=1)
    again = search(pair, plan, tmp_path / "mad", workers=1)
    assert first == again
    assert first.families == ["gpt_neo", "mamba"]
    assert first.tasks["compression"].random == pytest.approx(
        mad.reference_points(*(mad.generate("compression", s, num_examples=8, seq_len=8) for s in ("train", "test")))[
            "random"
        ],
        abs=1e-6,
    )
    with pytest.raises(ManticoreError, match="a search by another plan"):
        search(pair, plan.model_copy(update={"steps": 5}), tmp_path / "mad", workers=1)


def test_named_mixtures_are_marked_on_a_surface_and_on_nothing_else():
    grid = mixture_grid(np.full((2, 2), 0.5), points=3)
    surface = LossSurface(("a", "b"), grid, np.random.default_rng(0).uniform(3, 4, (9, 4)))
    figure = loss_surface_figure(surface, marks={"<b>mean</b>": [[0.75, 0.25], [0.4, 0.6]]})
    (mark,) = [trace for trace in figure.data if trace.name == "&lt;b&gt;mean&lt;/b&gt;"]
    assert (mark.x[0], mark.y[0]) == (0.25, 0.6)
    with pytest.raises(ManticoreError, match=r"'x' of shape \(1, 2\)"):
        loss_surface_figure(surface, marks={"x": [[0.5, 0.5]]})
    curve = LossSurface(("a", "b"), grid[::3, :1], np.random.default_rng(0).uniform(3, 4, (3, 4)))
    with pytest.raises(ManticoreError, match="drawn over a contour plot"):
        loss_surface_figure(curve, marks={"x": [[0.5, 0.5]]})
