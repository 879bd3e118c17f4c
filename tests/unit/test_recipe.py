"""Recipes survive YAML, and every mistake in one is named with the field, the value and what would be accepted."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from manticore_kit import Recipe, build
from manticore_kit.errors import ManticoreError
from manticore_kit.recipe import check_rows

TWO = "components: [{model: tiny-gptneo}, {model: tiny-mamba}]\n"

# --------------------------------------------------------------------------------------------------- round trips

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def recipes(draw) -> Recipe:
    blocks, count = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    cuts = st.lists(st.integers(1, 99), min_size=blocks - 1, max_size=blocks - 1, unique=True).map(sorted)
    spec = st.fixed_dictionaries(
        {"model": texts},
        optional={
            "cuts": st.none() | cuts,
            "config": st.none() | st.dictionaries(texts, plain, max_size=3),
            "trust_remote_code": st.booleans(),
        },
    )
    row = st.lists(st.floats(0.01, 1), min_size=count, max_size=count).map(lambda r: [x / math.fsum(r) for x in r])
    data = draw(
        st.fixed_dictionaries(
            {"components": st.lists(spec, min_size=count, max_size=count), "blocks": st.just(blocks)},
            optional={
                "projector": st.fixed_dictionaries(
                    {},
                    optional={
                        "init": st.sampled_from(["aligned", "identity", "random"]),
                        "width": st.integers(1, 10**6),
                    },
                ),
                "ends": st.sampled_from(["own", "shared"]),
                "mixture": st.none() | st.lists(row, min_size=blocks, max_size=blocks),
                "tokenizer": st.none() | texts,
                "seed": st.integers(0, 2**63 - 1),
            },
        )
    )
    return Recipe.parse(data)


@settings(max_examples=100, deadline=None)
@given(recipes())
@example(Recipe.parse({"components": [{"model": "a\x85b\u2028"}]}))
def test_yaml_gives_the_recipe_back(recipe):
    text = recipe.to_yaml()
    again = Recipe.from_yaml(text)
    assert again == recipe
    assert again.to_yaml() == text
    assert len(again.rows) == again.num_blocks
    for row in again.rows:
        assert math.fsum(row) == pytest.approx(1)


def test_a_file_gives_the_recipe_back(tmp_path):
    recipe = Recipe.from_yaml(TWO + "tokenizer: ein Zeichen wie ü oder 木\n")
    text = recipe.to_yaml(tmp_path / "recipe.yaml")
    assert (tmp_path / "recipe.yaml").read_text(encoding="utf-8") == text
    assert Recipe.from_yaml(tmp_path / "recipe.yaml") == Recipe.from_yaml(str(tmp_path / "recipe.yaml")) == recipe
    (tmp_path / "marked.yaml").write_text(text, encoding="utf-8-sig")
    assert Recipe.from_yaml(tmp_path / "marked.yaml") == recipe


def test_short_lists_stand_on_one_line():
    text = Recipe.from_yaml(TWO + "mixture: [[0.5, 0.5], [0.2, 0.8]]\n").to_yaml()
    assert "- [0.5, 0.5]\n- [0.2, 0.8]" in text.replace("  ", "")


def test_what_is_left_out_follows_from_the_rest():
    assert Recipe.from_yaml(TWO).num_blocks == 2
    assert Recipe.from_yaml(TWO).rows == [[0.5, 0.5], [0.5, 0.5]]
    assert Recipe.from_yaml(TWO + "mixture: [[1, 0], [0, 1], [1, 0]]\n").num_blocks == 3
    assert Recipe.from_yaml("components:\n- {model: tiny-mamba, cuts: [1, 2, 3]}\n").num_blocks == 4


# ------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("component: []\n", r"components: Field required; component: unknown key; did you mean 'components'\?"),
        (TWO + "colour: blue\n", r"colour: unknown key; known keys are components, blocks, projector, ends"),
        ("components:\n- {modle: a}\n", r"components\[0\]\.modle: unknown key; did you mean 'model'\?"),
        (TWO + "projector: {initial: aligned}\n", r"projector\.initial: unknown key; did you mean 'init'\?"),
        (TWO + "projector: {init: magic}\n", r"projector\.init: .*'aligned', 'identity' or 'random'.*given: 'magic'"),
        (TWO + "projector: {width: 0}\n", r"projector\.width: .*greater than or equal to 1 \(given: 0\)"),
        (TWO + "ends: both\n", r"ends: .*'own' or 'shared' \(given: 'both'\)"),
        (TWO + "blocks: 0\n", r"blocks: .*greater than or equal to 1"),
        (TWO + "seed: -1\n", r"seed: .*greater than or equal to 0 \(given: -1\)"),
        (TWO + "tokenizer: ''\n", r"tokenizer: .*at least 1 character"),
        ("components: []\n", r"components: .*at least 1 item"),
        (
            "components:\n- tiny-gptneo\n",
            r"components\[0\]: must be a mapping with keys among model, cuts.*'tiny-gptneo'",
        ),
        ("components:\n- {model: 3}\n", r"components\[0\]\.model: .*valid string \(given: 3\)"),
        ("components:\n- {model: a, cuts: [2, 2]}\n", r"\[0\]\.cuts: cuts must be layer numbers .* rising order"),
        ("components:\n- {model: a, cuts: [3, 1]}\n", r"\[0\]\.cuts: cuts must be layer numbers .* rising order"),
        ("components:\n- {model: a, cuts: [0]}\n", r"\[0\]\.cuts: cuts must be layer numbers from 1 up"),
        ("components:\n- {model: a, cuts: [1.5]}\n", r"\[0\]\.cuts\[0\]: .*valid integer.* \(given: 1.5\)"),
        ("components:\n- {model: a, config: {d: 2020-01-01}}\n", r"\[0\]\.config\.d: .*not a valid JSON value"),
        (
            TWO + "mixture: [[0.5, 0.4]]\n",
            r"mixture: mixture row 0 \(block 1\) is \[0.5, 0.4\]: its sum is 0.9 and must be 1",
        ),
        (TWO + "mixture: [[.nan, 1]]\n", r"mixture row 0 \(block 1\) is \[nan, 1.0\]: weights must be finite"),
        (TWO + "mixture: [[.inf, 0]]\n", r"mixture row 0 \(block 1\) is \[inf, 0.0\]: weights must be finite"),
        (
            TWO + "mixture: [[1, 0], [1.5, -0.5]]\n",
            r"mixture row 1 \(block 2\) is \[1.5, -0.5\]: weights must be 0 or more",
        ),
        (TWO + "mixture: [[1, 0], [1]]\n", r"mixture row 1 \(block 2\) is \[1.0\]: it has 1 weights and needs 2"),
        (TWO + "mixture: [[1, 0, 0]]\n", r"mixture rows have 3 weights, but there are 2 components"),
        (TWO + "mixture: []\n", r"mixture needs a row for each block"),
        (TWO + "mixture: [[]]\n", r"mixture row 0 \(block 1\) is \[\]: it has 0 weights"),
        (TWO + "mixture: half\n", r"mixture: .*valid list \(given: 'half'\)"),
        (
            "components:\n- {model: a, cuts: [1, 2]}\n- {model: b, cuts: [1]}\nblocks: 4\n",
            r"disagree on the number of blocks: .*\[0\].cuts says 3, .*\[1\].cuts says 2, blocks says 4",
        ),
        ("- a\n- b\n", r"this is of type list, and a recipe is a mapping that lists at least `components:`"),
        ("\n", r"this is empty, and a recipe is a mapping"),
        (TWO + TWO, r"the key 'components' is there twice"),
        ("components: [\n", r"is not plain YAML"),
        ("components: []\n--- \nends: own\n", r"is not plain YAML.*single document"),
        ("ends: 2001-13-45\n", r"is not plain YAML.*month"),
        ("[" * 3000 + "\n", r"is not plain YAML"),
        ("ends: \0\n", r"is not plain YAML.*special characters"),
    ],
)
def test_mistakes_are_named(text, says):
    with pytest.raises(ManticoreError, match=says) as raised:
        Recipe.from_yaml(text)
    assert str(raised.value).startswith("recipe: ")


def test_every_mistake_is_named_at_once():
    with pytest.raises(ManticoreError) as raised:
        Recipe.from_yaml("components:\n- {model: a, cutts: [1]}\nends: up\nseed: x\n")
    assert all(place in str(raised.value) for place in ("components[0].cutts", "ends", "seed"))


def test_long_values_are_shortened():
    with pytest.raises(ManticoreError) as raised:
        Recipe.parse({"components": "a" * 10**6, "mixture": [[0.5] * 10**4]})
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:builtins.open [{marker}, w]",
        "!!python/object/new:pathlib.Path [{marker}]",
        "!!python/name:os.system",
        "!!python/module:os",
    ],
)
def test_yaml_builds_no_python_objects(tag, tmp_path):
    marker = tmp_path / "ran"
    with pytest.raises(ManticoreError, match=r"is not plain YAML, and a recipe is nothing else: .*python/"):
        Recipe.from_yaml(TWO + f"tokenizer: {tag.format(marker=marker)}\n")
    assert not marker.exists()


@pytest.mark.parametrize("source", [None, 3, b"components\n", {}, [], ""])
def test_only_paths_and_text_are_read(source):
    with pytest.raises(ManticoreError, match="path of a YAML file or from YAML text"):
        Recipe.from_yaml(source)


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "empty.yaml").touch()
    (tmp_path / "picture.yaml").write_bytes(b"\x89PNG\xff\xfe")
    for path, says in {
        tmp_path / "none.yaml": r"none.yaml.* cannot be read \(No such file",
        tmp_path: r"cannot be read \(Is a directory",
        tmp_path / "picture.yaml": r"cannot be read \('utf-8' codec",
        tmp_path / "empty.yaml": r"empty.yaml: this is empty",
        "components: [a]": r"cannot be read .*give the recipe's text, which has more than one line",
        "null\0byte": r"cannot be read \(embedded null byte\)",
        Path("x" * 300): r"cannot be read \(File name too long",
    }.items():
        with pytest.raises(ManticoreError, match=says):
            Recipe.from_yaml(path)


@pytest.mark.parametrize(
    ("field", "value"), [("blocks", 3), ("mixture", [[0.5, 0.4]]), ("ends", "both"), ("colour", "blue"), ("seed", None)]
)
def test_a_refused_edit_changes_nothing(field, value):
    recipe = Recipe.from_yaml(TWO + "mixture: [[0.5, 0.5]]\n")
    before = recipe.model_copy(deep=True)
    with pytest.raises(ManticoreError, match=field):
        setattr(recipe, field, value)
    assert recipe == before
    recipe.ends = "shared"
    assert recipe.ends == "shared"


# ----------------------------------------------------------------------------------------------------------- rows


@pytest.mark.parametrize("rows", [[[1, 0]], ((0.5, 0.5),), np.array([[0.25, 0.75]]), torch.tensor([[0.25, 0.75]])])
def test_rows_of_any_kind_of_number_are_taken(rows):
    checked = check_rows(rows, blocks=1, components=2)
    assert checked == [[float(x) for x in rows[0]]]


@pytest.mark.parametrize(
    "rows",
    [
        None,
        3,
        "ab",
        [1, 2],
        [["a", "b"]],
        [[None, 1]],
        [[10**400, 0]],
        [[1j, 0]],
        {"a": 1},
        [{}],
        object(),
        torch.zeros(1, 2, device="meta"),
    ],
)
def test_rows_of_anything_else_are_refused(rows):
    with pytest.raises(ValueError, match=r"the mixture must be rows of numbers|needs 2"):
        check_rows(rows, blocks=1, components=2)


def test_rounded_rows_pass_and_worse_ones_do_not():
    assert check_rows([[0.333, 0.333, 0.333]])
    with pytest.raises(ValueError, match="must be 1"):
        check_rows([[0.33, 0.33, 0.33]])
    with pytest.raises(ValueError, match="3 rows, but the hybrid has 2 blocks"):
        check_rows([[1]] * 3, blocks=2)


# ---------------------------------------------------------------------------------------- what shows when it is built

SMALL = "{model: gpt2, config: {n_layer: 4, n_embd: 16, n_head: 2, vocab_size: 32}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"components: [{SMALL}}}, {{model: tiny-mambo}}]\n", r"^components\[1\]: .*'tiny-mambo'"),
        (f"components: [{SMALL}, cuts: [4]}}]\n", r"^components\[0\]\.cuts: 'gpt2' has 4 layers.* cuts are \[4\]"),
        (f"components: [{SMALL}}}]\nblocks: 5\n", r"^components\[0\]: 'gpt2' has 4 layers.* 5 blocks"),
        (f"components: [{SMALL}}}]\ntokenizer: tiny-gptneox\n", r"^tokenizer: .*'tiny-gptneox'"),
    ],
)
def test_what_shows_only_when_it_is_built_names_the_field_too(text, says, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ManticoreError, match=says):
        build(Recipe.from_yaml(text))
