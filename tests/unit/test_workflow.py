"""From a recipe and a plan to a run's folder, by function and by command line."""

import re
from pathlib import Path

import pytest
import torch
from transformers.utils.logging import enable_progress_bar
from typer.testing import CliRunner

from manticore_kit.cli import app
from manticore_kit.errors import ManticoreError
from manticore_kit.training import workflow
from manticore_kit.training.plan import Plan
from manticore_kit.training.projector_sets import list_projectors

RECIPE = """
components:
  - model: gpt_neo
    config:
      {hidden_size: 32, num_layers: 2, num_heads: 2, attention_types: [[[global], 2]], vocab_size: 2048,
       max_position_embeddings: 32, bos_token_id: 0, eos_token_id: 0}
  - model: gpt_neox
    config: {hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64, vocab_size: 2048}
projector: {init: identity}
tokenizer: tiny-gptneo
"""


@pytest.fixture(autouse=True)
def bars():
    """The command line hides the library's bars, here for the tests that follow in the same process too."""
    yield
    enable_progress_bar()


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A folder with a recipe and a text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "text.txt").write_text("".join(f"def f{n}(x): return x + {n}\n" for n in range(600)))
    return tmp_path


def plan(**more) -> Plan:
    data = {"files": ["text.txt"], "length": 16, "held_out": 8, "search": 8}
    return Plan.parse({"steps": 3, "batch_size": 4, "data": data, **more})


def quiet(text: str) -> None:
    pass


def test_a_search_and_what_follows_are_runs_of_their_own(home):
    steps = plan(search={"method": "gaea"}, after={"do": "retrain", "steps": 2})
    run = workflow.search("recipe.yaml", steps, "run", say=quiet)
    assert run.folder == Path("run/retrained")
    first = workflow.Run(Path("run"))
    assert torch.allclose(torch.tensor(run.mixture), torch.tensor(first.mixture), atol=1e-5)
    assert (first.result["steps"], run.result["steps"]) == (3, 2)
    again = workflow.search("recipe.yaml", steps, "run", say=quiet)
    assert again.result == run.result


def test_a_discrete_hybrid_is_smaller(home):
    steps = plan(search={"method": "darts"}, after={"do": "discretise", "by": "beam"})
    run = workflow.search("recipe.yaml", steps, "run", say=quiet)
    assert run.folder == Path("run/discretised")
    assert run.result["parameters"] < workflow.Run(Path("run")).result["parameters"]
    assert all(set(row) <= {0.0, 1.0} for row in run.mixture)


def test_projectors_are_pretrained_once_and_found_by_the_next(home):
    steps = plan(projectors={"steps": 2, "store": "store"})
    told = []
    workflow.train("recipe.yaml", steps, "first", say=told.append)
    assert len(list_projectors("store")) == 1
    assert not told
    workflow.train("recipe.yaml", steps, "second", say=told.append)
    assert len(list_projectors("store")) == 1
    assert "found in store" in told[0]
    losses = [workflow.Run(Path(name)).result["loss"] for name in ("first", "second")]
    assert losses[0] == losses[1]
    again = workflow.train("recipe.yaml", steps, "second", say=told.append)
    assert again.result["loss"] == losses[1]


def test_programming_sets_rows_that_stay(home):
    (home / "rows.yaml").write_text("[[0.2, 0.8], [0.9, 0.1]]")
    run = workflow.train("recipe.yaml", plan(mixture="rows.yaml"), "run", say=quiet)
    assert run.mixture == [[0.2, 0.8], [0.9, 0.1]]


def test_a_saved_hybrid_is_trained_on(home):
    workflow.train("recipe.yaml", plan(), "first", say=quiet)
    run = workflow.train("first/model", plan(seed=1), "second", say=quiet)
    assert run.result["loss"] < workflow.Run(Path("first")).result["loss"]


def test_a_search_and_a_training_are_told_apart(home):
    with pytest.raises(ManticoreError, match=r"no `search`: add a line such as"):
        workflow.search("recipe.yaml", plan(), "run")
    with pytest.raises(ManticoreError, match="has a `search`"):
        workflow.train("recipe.yaml", plan(search={}), "run")


def test_rates_are_tuned_on_the_search_windows_and_trials_are_kept(home):
    told = []
    steps = plan(tune={"trials": 2, "steps": 2})
    run = workflow.train("recipe.yaml", steps, "run", say=told.append)
    assert len(told) == 2
    rates = run.settings.learning_rates
    assert rates.components != 2e-4
    assert 2e-5 <= rates.components <= 2e-3
    workflow.train("recipe.yaml", plan(tune={"trials": 3, "steps": 2}), "more", say=told.append)
    assert len(told) == 5
    again = workflow.train("recipe.yaml", steps, "run", say=told.append)
    assert len(told) == 5
    assert again.result == run.result


# -------------------------------------------------------------------------------------------------- command line


def manticore(*arguments: str):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_line_searches_and_goes_on(home):
    plan(search={"method": "gaea"}).to_yaml(home / "plan.yaml")
    first = manticore("search", "recipe.yaml", "plan.yaml", "-o", "run")
    assert first.exit_code == 0, first.output
    lines = first.stdout.splitlines()
    assert lines[-1] == "run"
    assert re.search(r"held-out loss +\d\.\d+ nats per token, perplexity", first.stdout)
    assert "gpt_neo" in first.stdout
    assert {"recipe.yaml", "settings.yaml", "environment.json", "metrics.jsonl", "result.json", "model"} <= {
        path.name for path in (home / "run").iterdir()
    }
    assert manticore("search", "recipe.yaml", "plan.yaml", "-o", "run").stdout.splitlines()[-1] == "run"


@pytest.mark.parametrize(
    ("command", "text", "says"),
    [
        ("search", "steps: 3", "no search is in this plan; add `search"),
        ("train", "search: {}", "a search is in this plan; use `manticore search`"),
        ("train", "stepps: 3", "plan.yaml: stepps: unknown key; did you mean 'steps'"),
    ],
)
def test_the_command_line_names_what_is_wrong_before_anything_runs(home, command, text, says):
    (home / "plan.yaml").write_text(text + "\n")
    done = manticore(command, "recipe.yaml", "plan.yaml", "-o", "run")
    assert isinstance(done.exception, ManticoreError)
    assert says in str(done.exception)
    assert not (home / "run").exists()


def test_another_plan_in_the_same_folder_is_refused(home):
    workflow.train("recipe.yaml", plan(), "run", say=quiet)
    before = {path: path.stat().st_mtime_ns for path in (home / "run").rglob("*")}
    with pytest.raises(ManticoreError, match="holds another run: its `steps` is 3, not 4"):
        workflow.train("recipe.yaml", plan(steps=4), "run", say=quiet)
    assert before == {path: path.stat().st_mtime_ns for path in (home / "run").rglob("*")}


def test_the_start_is_the_same_after_a_restart(home):
    one, other = (workflow.start_of("recipe.yaml").state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
