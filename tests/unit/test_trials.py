"""Lists of trials: what is finished is not run again, and one that fails takes no other along."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from manticore_kit import zoo
from manticore_kit.errors import ManticoreError
from manticore_kit.runs import run_trials
from manticore_kit.training.after import discretised, rows_from
from manticore_kit.training.protocol import (
    CHOOSING_SEED,
    UNIFORM,
    UPDATE_RULES,
    best_rates,
    entrants,
    losses_over_seeds,
    rate_trials,
    save_start,
    search_trials,
    slug,
)
from manticore_kit.training.settings import SearchSettings, TrainingSettings
from manticore_kit.training.trials import Trial, one_hot_label, perform

COMPONENTS = ["tiny-gptneo", "tiny-mamba"]


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> str:
    return save_start(COMPONENTS, tmp_path_factory.mktemp("start") / "hybrid", projector={"init": "identity"})


def settings(**more) -> TrainingSettings:
    small = {"steps": 2, "batch_size": 2, "data": {"length": 16, "held_out": 4, "search": 4}, "evaluate_every": 0}
    return TrainingSettings.parse({**small, **more})


def test_what_follows_a_search_is_there_and_is_not_run_again(tmp_path, start):
    trial = Trial(
        tmp_path / "trial",
        start,
        settings(search={"method": "gaea"}),
        hybrid=True,
        mixture=((0.9, 0.1), (0.2, 0.8)),
        then=("retrain", "discretise", "beam"),
        discrete_rates={"tiny-gptneo → tiny-mamba": 3e-3, "tiny-mamba": 1e-3},
    )
    runs = perform(trial)
    assert set(runs) == {"keep", "retrain", "discretise", "beam"}
    found = torch.tensor(runs["keep"].mixture)
    assert not torch.equal(found, torch.tensor(trial.mixture))
    assert torch.equal(torch.tensor(runs["retrain"].mixture), found)
    assert runs["discretise"].mixture == [[1, 0], [0, 1]]
    assert one_hot_label(runs["discretise"].recipe) == "tiny-gptneo → tiny-mamba"
    assert runs["discretise"].settings.rates["components"] == 3e-3
    assert runs["retrain"].settings.rates["components"] == trial.settings.rates["components"]
    assert runs["discretise"].result["parameters"] < runs["keep"].result["parameters"]
    written = {file: file.stat().st_mtime_ns for file in trial.folder.rglob("*") if file.is_file()}
    again = perform(trial)
    assert written == {file: file.stat().st_mtime_ns for file in trial.folder.rglob("*") if file.is_file()}
    assert {name: run.result for name, run in again.items()} == {name: run.result for name, run in runs.items()}


def test_a_hybrid_that_became_one_component_is_called_by_its_name(tmp_path, start):
    trial = Trial(tmp_path, start, settings(), hybrid=True, mixture=((0, 1), (0, 1)), discrete=True)
    assert one_hot_label(perform(trial)["keep"].recipe) == "tiny-mamba"


def test_a_trial_that_chooses_is_judged_on_the_search_windows(tmp_path):
    reported, choosing = (
        perform(Trial(tmp_path / str(choosing), "tiny-mamba", settings(), choosing=choosing))["keep"].losses
        for choosing in (False, True)
    )
    assert reported.keys() == choosing.keys()
    assert all((reported[kind] != choosing[kind]).all() for kind in reported)


def test_every_entrant_meets_its_own_rate_and_the_same_budget(tmp_path, start):
    takes_part = entrants(COMPONENTS, start, start, start, SearchSettings(), mixture_rate=0.5)
    rates = rate_trials(takes_part, settings(), [1e-4, 1e-3], tmp_path)
    assert {trial.settings.seed for trial in rates.values()} == {CHOOSING_SEED}
    assert all(trial.choosing for trial in rates.values())
    # Two components, two frankenmerges and the hybrid, at two rates each.
    assert len(rates) == 10
    for name, entrant in takes_part.items():
        trial = entrant.trial(tmp_path, settings(), 1e-3)
        assert trial.settings.steps == (4 if name.endswith("twice the steps") else 2)
        assert (trial.settings.search is not None) == name.endswith("searched")
        assert trial.settings.rates["mixture"] == (0.5 if trial.settings.search else 0.01)
        assert f"{entrant.rate_of} at 0.001" in rates


def test_the_best_rate_has_the_lowest_loss():
    class Done:
        def __init__(self, loss):
            self.result = {"loss": loss}

    losses = {"a at 0.001": 3.0, "a at 0.0001": 2.0, "b at 0.001": 1.0, "b at 0.0001": 1.5}
    assert best_rates({name: {"keep": Done(loss)} for name, loss in losses.items()}) == {"a": 1e-4, "b": 1e-3}


def test_searches_are_by_every_method_under_every_rule(tmp_path, start):
    trials = search_trials(start, settings(), {UNIFORM: 1e-3}, {"darts": 0.1, "gaea": 0.2}, tmp_path)
    assert set(trials) == {(method, rule) for method in ("darts", "gaea") for rule in UPDATE_RULES}
    assert len({trial.folder for trial in trials.values()}) == len(trials)
    assert trials["gaea", "alternating, bilevel"].settings.search == SearchSettings(
        method="gaea", level="bilevel", updates="alternating"
    )


def test_losses_of_seeds_are_rows(tmp_path):
    runs = [perform(Trial(tmp_path / str(seed), "tiny-gptneo", settings(seed=seed)))["keep"] for seed in (0, 1)]
    losses = losses_over_seeds(runs)
    assert losses.shape == (2, 4)
    assert losses.mean(axis=1).tolist() == pytest.approx([run.result["loss"] for run in runs])


def half(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


def test_trials_come_back_by_name_in_their_order():
    told = []
    with ThreadPoolExecutor(2) as executor:
        done = run_trials(half, {"b": 4, "a": 2}, executor=executor, progress=lambda *it: told.append(it))
    assert list(done.items()) == [("b", 2), ("a", 1)]
    assert [it[:2] for it in told] == [(1, 2), (2, 2)]


def test_a_trial_that_fails_is_named_and_the_others_are_done():
    told = []
    with ThreadPoolExecutor(1) as executor, pytest.raises(ManticoreError, match=r"1 of 3 .* first 'odd'.*3 is odd"):
        run_trials(half, {"x": 2, "odd": 3, "y": 4}, executor=executor, progress=lambda *it: told.append(it))
    assert [name for _, _, name in told] == ["x", "odd", "y"]


def test_processes_of_a_pool_have_one_thread_each():
    assert run_trials(_threads, {1: None, 2: None}, workers=2) == {1: 1, 2: 1}


def _threads(_) -> int:
    import torch

    return torch.get_num_threads()


def test_rows_come_from_runs_recipes_and_plain_files(tmp_path):
    rows = [[0.25, 0.75], [1.0, 0.0]]
    (tmp_path / "rows.yaml").write_text("[[0.25, 0.75], [1, 0]]")
    (tmp_path / "recipe.yaml").write_text("components: []\nmixture: [[0.25, 0.75], [1, 0]]\n")
    (tmp_path / "result.json").write_text('{"mixture": [[0.25, 0.75], [1.0, 0.0]]}')
    for source in ("rows.yaml", "recipe.yaml", "result.json", "."):
        assert rows_from(tmp_path / source) == rows


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[[0.5, 0.6]]", "its sum is 1.1"),
        ("{a: 1}", "holds no mixture"),
        ("[[", "No mixture can be read"),
        ("", "no mixture"),
    ],
)
def test_files_without_rows_are_named(tmp_path, content, says):
    file = tmp_path / "rows.yaml"
    file.write_text(content)
    with pytest.raises(ManticoreError, match=says) as raised:
        rows_from(file)
    assert "rows.yaml" in str(raised.value)
    with pytest.raises(ManticoreError, match=r"missing\.yaml.*No such file"):
        rows_from(Path("missing.yaml"))


def test_discretising_by_beam_takes_the_best_of_all_and_leaves_the_hybrid(start):
    from manticore_kit import ManticoreForCausalLM
    from manticore_kit.tasks.language import builtin_text, per_example_losses

    hybrid = ManticoreForCausalLM.from_pretrained(start)
    windows = builtin_text.held_out(hybrid.tokenizer, "code", length=16, count=4)
    hybrid.set_mixture([[0.4, 0.6], [0.7, 0.3]])
    before = hybrid.mixture.logits.detach().clone()
    by_weight, by_loss = (discretised(hybrid, windows, by) for by in ("nearest", "beam"))
    assert torch.equal(hybrid.mixture.logits, before)
    corners = {}
    for path in ((0, 0), (0, 1), (1, 0), (1, 1)):
        hybrid.set_mixture(np.eye(2)[list(path)].tolist())
        corners[path] = per_example_losses(hybrid, windows).mean().item()
    best = min(corners, key=corners.__getitem__)
    assert per_example_losses(by_loss, windows).mean().item() == pytest.approx(corners[best], abs=1e-5)
    assert per_example_losses(by_weight, windows).mean().item() == pytest.approx(corners[1, 0], abs=1e-5)


def test_names_become_folders():
    names = [f"frankenmerge {a} → {b}" for a in zoo.names() for b in zoo.names()]
    assert len({slug(name) for name in names}) == len(names)
    assert all("/" not in slug(name) and " " not in slug(name) for name in [*names, "EleutherAI/gpt-neo-125m"])
