"""Parameters by part add up to the model, and sharing is counted once."""

import pytest
from torch import nn

from manticore_kit.analysis import folder_bytes, parameters_by_part
from manticore_kit.errors import ManticoreError


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.components = nn.ModuleList([nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)])
        self.projectors = nn.ModuleList([nn.Linear(4, 4)])
        self.scale = nn.Parameter(self.projectors[0].bias.new_zeros(3))
        self.components[1].weight = self.components[0].weight


def test_parts_add_up_with_tied_weights_counted_once():
    model = Model()
    counts = parameters_by_part(model)
    assert counts == {"components": 40, "projectors": 20, "other": 3}
    assert sum(counts.values()) == sum(p.numel() for p in model.parameters())


def test_the_most_deeply_named_part_counts_a_parameter():
    names = ["components", "components.0", "components.1", "scale", "projectors"]
    assert parameters_by_part(Model(), names) == {
        "components": 0,
        "components.0": 40,
        "components.1": 0,
        "scale": 3,
        "projectors": 20,
    }


def test_a_name_is_no_prefix_of_a_longer_name():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "ab": nn.Linear(3, 3)})
    assert parameters_by_part(model, ["a"]) == {"a": 6, "other": 12}


def test_an_unknown_part_is_refused():
    with pytest.raises(ManticoreError, match=r"no part 'mixer'.*components, projectors"):
        parameters_by_part(Model(), ["mixer"])


def test_a_folder_weighs_what_its_files_weigh(tmp_path):
    (tmp_path / "component").mkdir()
    (tmp_path / "config.json").write_bytes(b"12345")
    (tmp_path / "component" / "weights").write_bytes(b"1234567")
    assert folder_bytes(tmp_path) == 12
    with pytest.raises(ManticoreError, match="not a folder"):
        folder_bytes(tmp_path / "config.json")
