"""The project's lists agree: dependencies, tested versions, conda environment, hooks, notebooks."""

import ast
import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from itertools import chain
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from manticore_kit.reports import declared_parameters

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = [
    line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")
]
PINS = {canonicalize_name(name): version for name, version in (line.split("==") for line in CONSTRAINTS)}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BUILT_ON_THE_SPOT = "cuda"  # compiled against the CUDA and torch that are there, so no version can be pinned


def direct_requirements() -> list[Requirement]:
    optional = [lines for extra, lines in PROJECT["optional-dependencies"].items() if extra != BUILT_ON_THE_SPOT]
    return [Requirement(line) for line in chain(PROJECT["dependencies"], *optional)]


def test_a_constraint_is_a_name_and_an_exact_version():
    assert [line for line in CONSTRAINTS if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert len(PINS) == len(CONSTRAINTS)


@pytest.mark.parametrize("requirement", direct_requirements(), ids=str)
def test_every_dependency_is_pinned_within_its_range(requirement):
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_all_that_the_dependencies_bring_along_is_pinned_too():
    pending = [(canonicalize_name(requirement.name), requirement.extras) for requirement in direct_requirements()]
    seen, floating = set(), {}
    while pending:
        name, extras = pending.pop()
        if (name, frozenset(extras)) in seen:
            continue
        seen.add((name, frozenset(extras)))
        try:
            needs = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:  # asked for by another system or Python only
            continue
        for need in needs:
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras or {""}):
                needed = canonicalize_name(need.name)
                if needed not in PINS or not need.specifier.contains(PINS[needed], prereleases=True):
                    floating[needed] = f"{name} needs {need}, pinned {PINS.get(needed)}"
                pending.append((needed, need.extras))
    assert floating == {}


def test_conda_users_get_the_same_project_python_and_versions():
    *conda, last = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (python,) = [entry.split("=")[1] for entry in conda if entry.startswith("python=")]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)
    assert set(conda) == {f"python={python}", "pip"}  # everything else comes through the project itself
    assert last["pip"] == ["-c constraints.txt", "-e .[lab]"]


def test_every_dependency_says_why_it_is_there():
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    for requirement in direct_requirements():
        (line,) = [line for line in lines if line.strip().startswith(f'"{requirement.name}>=')]
        assert re.search(r",\s+# \w+", line), line


def test_hooks_fetch_nothing():
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    assert {hook["language"] for repo in repos for hook in repo["hooks"]} == {"system"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_typed_parameters_a_smoke_preset_and_no_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in code if cell.outputs or cell.execution_count] == []
    (cell,) = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assigned = [node.target.id for node in ast.parse(cell.source).body if isinstance(node, ast.AnnAssign)]
    assert len(assigned) == len(ast.parse(cell.source).body)
    declared = declared_parameters(path)
    assert list(declared) == assigned
    assert {"smoke", declared["preset"].default_value} <= set(declared["preset"].choices)
    for parameter in declared.values():
        assert parameter.help, f"{parameter.name} has no comment that says what it is"
        assert parameter.type is not None
