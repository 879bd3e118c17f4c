"""Settings and text of a training: mistakes are named, order depends on the seed alone, parts move as they are told."""

import pytest
import torch
from toys import counting, hybrid_of, small_settings, text_of

from manticore_kit.components.loading import load_tokenizer
from manticore_kit.errors import ManticoreError
from manticore_kit.training.data import load_text
from manticore_kit.training.fit import fit
from manticore_kit.training.parts import part_names
from manticore_kit.training.plan import Plan
from manticore_kit.training.settings import DataSettings, TrainingSettings

TEXT = text_of(counting(1, 40, seed=0))


def test_settings_survive_a_file(tmp_path):
    settings = TrainingSettings.parse({"steps": 7, "search": {"method": "gaea"}, "trainer": {"bf16": True}})
    settings.to_yaml(tmp_path / "settings.yaml")
    assert TrainingSettings.from_yaml(tmp_path / "settings.yaml") == settings


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"step": 3}, "step: unknown key; did you mean 'steps'"),
        ({"steps": 0}, "steps:.*greater than or equal to 1"),
        ({"search": {"method": "random"}}, "search.method:.*'darts', 'gaea' or 'dash'.*random"),
        ({"search": {"metod": "gaea"}}, "search.metod: unknown key; did you mean 'method'"),
        ({"search": {}, "freeze": ["mixture"]}, "a search moves the mixture"),
        ({"freeze": ["components", "projectors", "embeddings"]}, "every part is frozen"),
        ({"learning_rates": {"components": -1}}, r"learning_rates.components:.*given: -1"),
        ({"trainer": {"max_steps": 3}}, "max_steps is decided by `steps`"),
        ({"trainer": {"bf61": True}}, "no field 'bf61'; did you mean"),
        ({"data": {"mix": {"prose": 0}}}, "the mix needs a kind"),
        ({"data": {"mix": {"poetry": 1}}}, "data.mix.*poetry"),
    ],
)
def test_mistakes_name_the_field(data, says):
    with pytest.raises(ManticoreError, match=says):
        TrainingSettings.parse(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"after": {"do": "retrain"}}, "`after` follows a search"),
        ({"mixture": "rows.yaml", "search": {}}, "leave one out"),
        ({"after": {"do": "prune"}, "search": {}}, "after.do"),
        ({"projectors": {"step": 3}}, "projectors.step: unknown key; did you mean 'steps'"),
    ],
)
def test_mistakes_in_a_plan_name_the_field(data, says):
    with pytest.raises(ManticoreError, match=says):
        Plan.parse(data)


def test_a_plan_holds_its_training():
    plan = Plan.parse({"steps": 9, "search": {"method": "dash"}, "after": {"do": "retrain"}})
    assert plan.training == TrainingSettings.parse({"steps": 9, "search": {"method": "dash"}})


def test_only_a_search_moves_the_mixture():
    assert "mixture" not in TrainingSettings.parse({}).moving
    assert TrainingSettings.parse({"search": {}, "freeze": ["components"]}).moving == (
        "projectors",
        "embeddings",
        "mixture",
    )
    assert TrainingSettings.parse({"search": {"method": "gaea"}}).rates["mixture"] == 0.1


def test_parts_move_or_stay(tmp_path):
    settings = small_settings(freeze=["components"], learning_rates={"projectors": 0}, search={"method": "darts"})
    hybrid = hybrid_of()
    before = {name: parameter.detach().clone() for name, parameter in hybrid.named_parameters()}
    fit(hybrid, TEXT, settings, tmp_path / "run", keep_model=False)
    moved = {"components": False, "projectors": False, "embeddings": True, "mixture": True}
    parts = part_names(hybrid)
    assert set(parts.values()) == set(moved)
    for name, parameter in hybrid.named_parameters():
        assert torch.equal(parameter, before[name]) != moved[parts[name]], name
    assert all(parameter.requires_grad for parameter in hybrid.parameters())


def test_without_a_search_the_mixture_stays(tmp_path):
    hybrid = hybrid_of(mixture=[[0.3, 0.7], [0.6, 0.4]])
    before = hybrid.mixture.logits.detach().clone()
    fit(hybrid, TEXT, small_settings(), tmp_path / "run", keep_model=False)
    assert torch.equal(hybrid.mixture.logits, before)


@pytest.mark.parametrize("search", [{"method": "darts"}, {"method": "gaea", "level": "bilevel"}])
def test_accumulated_batches_equal_a_large_one(tmp_path, search):
    found = []
    for accumulated in (1, 2):
        settings = small_settings(search=search, trainer={"gradient_accumulation_steps": accumulated})
        hybrid = hybrid_of()
        fit(hybrid, TEXT, settings, tmp_path / str(accumulated), keep_model=False)
        found.append(hybrid.state_dict())
    for name in found[0]:
        assert torch.allclose(found[0][name], found[1][name], atol=1e-4), name


def test_the_order_of_windows_is_the_seeds():
    one, again, other = (TEXT.training_windows(100, seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    # Each window comes once before any comes again.
    assert len({tuple(row.tolist()) for row in one[:40]}) == len({tuple(row.tolist()) for row in TEXT.train["toy"]})


def test_sides_of_the_built_in_text_share_no_window():
    tokenizer = load_tokenizer("tiny-gptneo")
    text = load_text(DataSettings.model_validate({"length": 32, "held_out": 40, "search": 20}), tokenizer)
    assert {kind: len(windows) for kind, windows in text.held_out.items()} == {"prose": 20, "code": 20}
    assert len(text.search_windows) == 20
    sides = [
        {tuple(row.tolist()) for row in windows}
        for windows in (torch.cat(list(text.train.values())), text.search_windows, text.held_out_windows)
    ]
    assert sum(len(side) for side in sides) == len(set.union(*sides))


def test_files_of_ones_own_are_split_in_order(tmp_path):
    tokenizer = load_tokenizer("tiny-gptneo")
    (tmp_path / "text.txt").write_text("".join(f"line {n} of the text\n" for n in range(400)))
    settings = {"files": [str(tmp_path / "text.txt")], "length": 16, "held_out": 4, "search": 3}
    text = load_text(DataSettings.model_validate(settings), tokenizer)
    joined = torch.cat([text.train["files"], text.search_windows, text.held_out_windows])
    whole = tokenizer((tmp_path / "text.txt").read_text(), verbose=False)["input_ids"]
    assert joined.flatten().tolist() == whole[: joined.numel()]
    assert (len(text.search_windows), len(text.held_out_windows)) == (3, 4)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"files": ["missing.txt"]}, r"data.files: 'missing.txt' cannot be read \(No such file"),
        ({"files": ["short.txt"], "length": 4}, "give more text"),
        ({"held_out": 100_000}, r"data.held_out=100000 takes 50000 windows .* built-in prose, which has \d+"),
        ({"search": 100_000}, "data.search=100000"),
    ],
)
def test_text_that_is_too_little_is_named(tmp_path, monkeypatch, data, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.txt").write_text("only a few words that fill no split")
    with pytest.raises(ManticoreError, match=says):
        load_text(DataSettings.model_validate(data), load_tokenizer("tiny-gptneo"))
