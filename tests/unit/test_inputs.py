"""Whatever a hybrid cannot use is refused in a sentence, and leaves the hybrid as it was."""

import json

import numpy as np
import pytest
import torch
from families import tiny
from transformers import AutoModelForCausalLM

import manticore_kit as mk
from manticore_kit import ManticoreForCausalLM
from manticore_kit.errors import ManticoreError

IDS = torch.randint(3, 97, (8, 16), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hybrid() -> ManticoreForCausalLM:
    return ManticoreForCausalLM.from_components([tiny("gpt_neo"), tiny("mamba", width=64, depth=3, seed=1)])


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS, use_cache=False).logits


BAD_IDS = [
    (None, "NoneType"),
    ([[1, 2]], "list"),
    (IDS.numpy(), "ndarray"),
    (IDS[0], r"shape \(16,\)"),
    (IDS[None], r"shape \(1, 8, 16\)"),
    (IDS.float(), "float32"),
    (IDS[:0], r"shape \(0, 16\)"),
    (IDS[:, :0], r"shape \(8, 0\)"),
    (IDS + 90, "knows the ids 0 to 96"),
    (IDS - 50, "holds -"),
]


@pytest.mark.parametrize(("ids", "says"), BAD_IDS)
def test_forward_refuses_what_are_no_ids(hybrid, ids, says):
    with pytest.raises(ManticoreError, match=says):
        hybrid(ids)


@pytest.mark.parametrize(("ids", "says"), [*BAD_IDS, (IDS.repeat(1, 5), "80 tokens.*64"), (IDS[:1, :9], "at least 96")])
def test_align_refuses_the_same_and_changes_nothing(hybrid, ids, says):
    before, recipe = logits(hybrid), hybrid.recipe
    with pytest.raises(ManticoreError, match=says):
        hybrid.align(ids)
    assert torch.equal(logits(hybrid), before)
    assert hybrid.recipe == recipe


@pytest.mark.parametrize("width", [0, -1, 63, 97, 10**12, 2.5, "64", True])
def test_widths_that_hold_no_state_are_refused(hybrid, width):
    before, recipe = logits(hybrid), hybrid.recipe
    with pytest.raises(ManticoreError, match=r"from 64 .* to 96"):
        hybrid.align(IDS, width=width)
    assert torch.equal(logits(hybrid), before)
    assert hybrid.recipe == recipe


def test_a_numpy_width_is_a_width(hybrid, tmp_path):
    hybrid.align(IDS, width=np.int64(96))
    hybrid.save_pretrained(tmp_path / "hybrid")
    assert hybrid.recipe.projector.width == 96


@pytest.mark.parametrize(
    ("models", "options", "says"),
    [
        (3, {}, "list of models"),
        ([], {}, "list of models"),
        ("tiny-gptneo", {}, "list of models"),
        (torch.zeros(2), {}, "list of models"),
        (None, {"cuts": 3}, "a list for each"),
        (None, {"cuts": [1, 2]}, r"components\[0\].cuts"),
        (None, {"cuts": [["x"], [1]]}, r"components\[0\].cuts"),
        (None, {"projector": "aligned"}, "give a dict"),
        (None, {"projector": {"width": 10**12}}, "from 64 .* to 96"),
        (None, {"mixture": 3}, "mixture: .*valid list"),
        (None, {"mixture": [1, 0]}, r"mixture\[0\]: .*valid list"),
        (None, {"mixture": torch.zeros(2, 2, device="meta")}, "valid number"),
        (None, {"tokenizer": 3}, "loaded tokenizer"),
        (None, {"blocks": 3, "cuts": [[2], [1]]}, "disagree on the number of blocks"),
        (None, {"blocks": 1, "mixture": [[1, 0], [1, 0]]}, "disagree on the number of blocks"),
        (None, {"blocks": 0}, "blocks"),
    ],
)
def test_from_components_says_what_it_takes(models, options, says):
    if models is None:
        models = [tiny("gpt_neo"), tiny("mamba", width=64, depth=3, seed=1)]
    with pytest.raises(ManticoreError, match=says):
        ManticoreForCausalLM.from_components(models, **options)


@pytest.mark.parametrize("recipe", [None, "recipe.yaml", {"components": []}])
def test_build_takes_a_recipe(recipe):
    with pytest.raises(ManticoreError, match=r"Recipe\.from_yaml"):
        mk.build(recipe)


def test_tuples_when_asked_for(hybrid):
    with torch.no_grad():
        (first, *_) = hybrid(IDS, return_dict=False)
    assert torch.equal(first, logits(hybrid))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda c: c.update(components=[]), "damaged"),
        (lambda c: c["components"][0].update(cuts=[9]), "damaged"),
        (lambda c: c["components"][0].pop("stack"), "damaged"),
        (lambda c: c.update(ends="open"), "damaged"),
        (lambda c: c["components"][0]["config"].update(model_type="no_such"), "no_such"),
        (lambda c: c["components"][0].update(attention="evil/kernel"), "evil/kernel.*fetched from the hub"),
        (lambda c: c["components"][0]["config"].update(experts_implementation="evil/kernel"), "fetched from the hub"),
    ],
)
def test_a_damaged_or_hostile_configuration_is_refused(hybrid, tmp_path, damage, says):
    hybrid.save_pretrained(tmp_path / "hybrid")
    file = tmp_path / "hybrid" / "config.json"
    config = json.loads(file.read_text())
    damage(config)
    file.write_text(json.dumps(config))
    with pytest.raises(ManticoreError, match=says):
        AutoModelForCausalLM.from_pretrained(tmp_path / "hybrid")
