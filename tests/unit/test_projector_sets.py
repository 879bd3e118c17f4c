"""Projector sets belong to their components: found by these alone, refused by all others, whole or not there."""

import pytest
import torch
from families import tiny

from manticore_kit import ManticoreForCausalLM
from manticore_kit.errors import ManticoreError
from manticore_kit.training.projector_sets import (
    find_projectors,
    list_projectors,
    load_projectors,
    read_set,
    save_projectors,
    store_projectors,
)


def hybrid(families=("gpt_neo", "mamba"), seed=0, **arguments):
    """Components that differ from those of another `seed`, projectors at random."""
    models = [tiny(family, seed=seed + k) for k, family in enumerate(families)]
    arguments.setdefault("projector", {"init": "random"})
    return ManticoreForCausalLM.from_components(models, **arguments)


def projectors(model):
    return {name: tensor.clone() for name, tensor in model.projectors.state_dict().items()}


def test_a_set_is_found_and_loaded_by_the_same_components(tmp_path):
    one, other = hybrid(), hybrid()
    other.reset_projectors(other.config.width, "identity")
    folder = store_projectors(one, {"steps": 3}, store=tmp_path)
    assert find_projectors(other, store=tmp_path) == folder
    found = load_projectors(other, folder)
    assert found.made == {"steps": 3}
    assert all(torch.equal(tensor, projectors(one)[name]) for name, tensor in projectors(other).items())


def test_the_newest_of_several_is_found_and_each_has_a_name(tmp_path):
    one = hybrid()
    assert find_projectors(one, store=tmp_path / "missing") is None
    folders = [store_projectors(one, {"number": n}, store=tmp_path) for n in range(3)]
    assert len(set(folders)) == 3
    assert find_projectors(one, store=tmp_path) == folders[-1]
    assert [each.made["number"] for each in list_projectors(tmp_path)] == [2, 1, 0]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"families": ("gpt_neox", "mamba")}, "the components are others"),
        ({"families": ("mamba", "gpt_neo")}, "others|another order"),
        ({"seed": 5}, "components have other weights|components are others"),
        ({"ends": "shared"}, r"ends shared, not own"),
        ({"cuts": [[1], [2]]}, r"cuts \[\[1\], \[2\]\], not \[\[2\], \[2\]\]"),
        ({"projector": {"init": "random", "width": 64}}, "shared width 64, not 32"),
        ({"projector": {"kind": "low_rank"}}, "projector kind low_rank, not linear"),
    ],
)
def test_a_set_refuses_another_pair_and_says_which_it_belongs_to(tmp_path, other, says):
    folder = save_projectors(hybrid(), tmp_path / "set", {})
    another = hybrid(**other)
    before = projectors(another)
    with pytest.raises(ManticoreError, match=says) as raised:
        load_projectors(another, folder)
    assert read_set(folder).title in str(raised.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in projectors(another).items())
    assert find_projectors(another, store=tmp_path) is None


def test_components_in_another_order_are_told_from_others(tmp_path):
    models = [tiny("gpt_neo"), tiny("mamba", seed=1)]
    folder = save_projectors(ManticoreForCausalLM.from_components(models), tmp_path / "set", {})
    with pytest.raises(ManticoreError, match="another order"):
        load_projectors(ManticoreForCausalLM.from_components(models[::-1]), folder)


def test_fine_tuned_components_are_refused(tmp_path):
    one = hybrid()
    folder = save_projectors(one, tmp_path / "set", {})
    with torch.no_grad():
        next(one.component(1).model.parameters()).add_(1e-3)
    with pytest.raises(ManticoreError, match="other weights, as after fine-tuning"):
        load_projectors(one, folder)


def test_damaged_and_foreign_folders_are_named(tmp_path):
    one = hybrid()
    with pytest.raises(ManticoreError, match=r"holds no projector set.*No such file"):
        load_projectors(one, tmp_path / "missing")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "projectors.json").write_text('{"joins": 3}')
    with pytest.raises(ManticoreError, match="holds no projector set"):
        load_projectors(one, tmp_path / "foreign")
    assert list_projectors(tmp_path) == []
    folder = save_projectors(one, tmp_path / "set", {})
    weights = folder / "projectors.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    before = projectors(one)
    with pytest.raises(ManticoreError, match="are damaged"):
        load_projectors(one, folder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in projectors(one).items())


def test_nothing_is_written_over_and_nothing_half_written_stays(tmp_path, monkeypatch):
    one = hybrid()
    folder = save_projectors(one, tmp_path / "set", {"number": 1})
    with pytest.raises(ManticoreError, match="is not empty"):
        save_projectors(one, folder, {"number": 2})
    assert read_set(folder).made == {"number": 1}

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("manticore_kit.training.projector_sets.save_file", full)
    with pytest.raises(ManticoreError, match=r"No space left on device.*Nothing is left"):
        save_projectors(one, tmp_path / "next", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_hybrids_without_projectors_have_none_to_save(tmp_path):
    with pytest.raises(ManticoreError, match="no projectors"):
        save_projectors(hybrid(blocks=1), tmp_path / "set", {})


def test_the_store_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("MANTICORE_PROJECTORS", str(tmp_path / "store"))
    assert store_projectors(hybrid(), {}).parent == tmp_path / "store"
