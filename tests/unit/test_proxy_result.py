"""The file that proxy tasks leave, and how it programs recipes and saved hybrids."""

from pathlib import Path

import pytest
import torch
from toys import hybrid_of

from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid.building import build
from manticore_kit.proxy_result import Programming, ProxyResult, result_file
from manticore_kit.recipe import Recipe
from manticore_kit.training.after import rows_from
from manticore_kit.training.plan import Plan
from manticore_kit.training.workflow import program, start_of

TASKS = {
    "in-context-recall": {
        "mixtures": [[[1.0, 0.0], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]],
        "accuracy": [0.9, 1.0],
        "random": 0.125,
    },
    "compression": {"mixtures": [[[0.25, 0.75], [0.0, 1.0]]], "accuracy": [0.8], "random": 0.07},
}
PLAIN = {"families": ["gpt_neo", "mamba"], "blocks": 2, "search": "darts", "tasks": TASKS}


@pytest.fixture
def file(tmp_path) -> Path:
    ProxyResult.parse(PLAIN).to_yaml(tmp_path / "mad.yaml")
    return tmp_path / "mad.yaml"


def pair(**changes) -> Recipe:
    sizes = {"num_hidden_layers": 2, "vocab_size": 50, "hidden_size": 32}
    neo = {**sizes, "attention_types": [[["global"], 2]], "num_attention_heads": 4}
    return Recipe.parse(
        {
            "components": [{"model": "gpt_neo", "config": neo}, {"model": "mamba", "config": sizes}],
            "projector": {"init": "identity"},
            **changes,
        }
    )


def test_mixtures_are_means_over_seeds_and_weighted_tasks(file):
    result = ProxyResult.from_yaml(file)
    assert result.mixture({"in-context-recall": 1.0}) == [[0.75, 0.25], [0.5, 0.5]]
    assert result.mixture({"in-context-recall": 1.0, "compression": 3.0}) == [[0.375, 0.625], [0.125, 0.875]]
    assert result.mixture() == [[0.5, 0.5], [0.25, 0.75]]
    for row in result.mixture({"in-context-recall": 0.3, "compression": 0.1}):
        assert sum(row) == pytest.approx(1)


def test_recipe_names_the_file_and_is_built_at_its_mixture(file):
    recipe = pair(program={"mad": str(file), "tasks": ["compression"]})
    assert recipe.num_blocks == 2
    assert recipe.rows == [[0.25, 0.75], [0.0, 1.0]]
    hybrid = build(recipe)
    torch.testing.assert_close(hybrid.mixture_weights, torch.tensor([[0.25, 0.75], [0.0, 1.0]]))
    # What was built stands by itself: rows, and no file.
    assert hybrid.recipe.program is None
    assert hybrid.recipe.mixture == [[0.25, 0.75], [0.0, 1.0]]


def test_path_in_a_recipes_file_lies_beside_the_recipe(file):
    nested = file.parent / "recipes"
    nested.mkdir()
    pair(program={"mad": "../mad.yaml"}).to_yaml(nested / "recipe.yaml")
    assert Recipe.from_yaml(nested / "recipe.yaml").rows == ProxyResult.from_yaml(file).mixture()


def test_folder_of_a_search_names_its_file(file):
    assert result_file(file.parent) == file
    assert Programming(mad=str(file.parent), tasks=None).rows == ProxyResult.from_yaml(file).mixture()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": 1}, "found for 2 blocks of gpt_neo and mamba, and this hybrid has 1"),
        (
            {"program": {"mad": "FILE", "tasks": ["copying"]}},
            "no task 'copying'; it has in-context-recall, compression",
        ),
        ({"program": {"mad": "FILE", "tasks": {"compression": 0.0}}}, "one must be above"),
        ({"program": {"mad": "nowhere.yaml"}}, "nowhere.yaml' cannot be read"),
        ({"mixture": [[0.5, 0.5], [0.5, 0.5]]}, "both `mixture` and `program`"),
    ],
)
def test_mistakes_are_named(file, changes, message):
    given = {"program": {"mad": str(file)}, **changes}
    given["program"]["mad"] = given["program"]["mad"].replace("FILE", str(file))
    with pytest.raises(ManticoreError, match=message):
        build(pair(**given))


def test_other_families_are_refused(file):
    other = pair(program={"mad": str(file)})
    other.components.reverse()
    with pytest.raises(ManticoreError, match=r"found for 2 blocks of gpt_neo and mamba, .* 2 blocks of mamba and"):
        build(other)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"a": {"mixtures": [[[0.5, 0.5]]], "accuracy": [1], "random": 0}}, "1 rows of .* where 2 blocks"),
        ({"a": {"mixtures": [[[0.9, 0.5], [1, 0]]], "accuracy": [1], "random": 0}}, "with sum 1"),
        ({"a": {"mixtures": [[[1, 0], [1, 0]]], "accuracy": [1.5], "random": 0}}, "less than or equal to 1"),
        ({}, "at least 1"),
    ],
)
def test_damaged_files_are_refused(tasks, message):
    with pytest.raises(ManticoreError, match=message):
        ProxyResult.parse({**PLAIN, "tasks": tasks})


def test_saved_hybrid_is_programmed_too_unless_it_is_of_others(file, tmp_path):
    hybrid_of("gpt_neo", "mamba").save_pretrained(tmp_path / "hybrid")
    by = Programming(mad=str(file), tasks=None)
    weights = start_of(tmp_path / "hybrid", by).mixture_weights
    torch.testing.assert_close(weights, torch.tensor(by.rows))
    hybrid_of("mamba", "gpt_neo").save_pretrained(tmp_path / "other")
    with pytest.raises(ManticoreError, match="2 blocks of mamba and gpt_neo"):
        start_of(tmp_path / "other", by)


def test_plan_that_says_otherwise_is_refused(file, tmp_path):
    by = Programming(mad=str(file), tasks=None)
    for other in ({"search": {"method": "darts"}}, {"mixture": "rows.yaml"}):
        with pytest.raises(ManticoreError, match=f"This plan has a `{next(iter(other))}`"):
            program(tmp_path, by, Plan.parse({"steps": 2, **other}), tmp_path / "run")


def test_rows_of_a_plan_come_from_a_result_too(file):
    assert rows_from(file) == ProxyResult.from_yaml(file).mixture()
    assert rows_from(file.parent) == ProxyResult.from_yaml(file).mixture()
