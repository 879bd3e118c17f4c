"""The command line is quick to answer, speaks in sentences, and says with its exit status how it went."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import manticore_kit.hybrid  # noqa: F401  (lets AutoModelForCausalLM know hybrids)
from manticore_kit.doctor import examine

MANTICORE = Path(sys.executable).with_name("manticore")
HEAVY = {"torch", "transformers", "plotly", "papermill", "nbconvert", "numpy"}


def manticore(*arguments: str, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run([MANTICORE, *arguments], capture_output=True, text=True, **kwargs)


def test_help_names_the_commands_and_imports_nothing_heavy():
    shown = manticore("--help")
    assert shown.returncode == 0
    assert {"describe", "build", "report", "zoo", "mad", "program", "doctor"} <= set(shown.stdout.split())
    loaded = "import sys, manticore_kit.cli; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout
    assert not HEAVY & set(modules.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("report", "no-such-notebook"), "no notebook 'no-such-notebook'"),
        (("build", "no-such-recipe.yaml", "-o", "out"), "no-such-recipe.yaml"),
    ],
)
def test_deliberate_errors_are_one_message_without_a_traceback(arguments, says, tmp_path):
    ended = manticore(*arguments, cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("manticore: ")
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with two random models, `shallow` and `deep`, and a recipe that joins them."""
    folder = tmp_path_factory.mktemp("models")
    for name, layers in (("shallow", 2), ("deep", 4)):
        config = LlamaConfig(
            vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=layers, num_attention_heads=2
        )
        LlamaForCausalLM(config).save_pretrained(folder / name)
    components = [{"model": f"./{name}"} for name in ("shallow", "deep")]
    recipe = {"components": components, "projector": {"init": "identity"}, "mixture": [[0.5, 0.5], [0.2, 0.8]]}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def test_describe_speaks_to_people_and_programs(folder):
    described = json.loads(manticore("describe", "./deep", "--json", cwd=folder).stdout)
    assert (described["family"], described["layers"], described["width"]) == ("llama", 4, 16)
    lines = manticore("describe", "./deep", cwd=folder).stdout.splitlines()
    rows = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines)
    assert rows["layer kinds"] == "attention × 4"
    assert rows["parameters"] == f"{described['parameters']:,}"


def test_build_saves_the_hybrid_says_what_it_is_and_ends_with_the_folder(folder):
    ended = manticore("build", "recipe.yaml", "-o", "hybrid", cwd=folder)
    *facts, last = ended.stdout.splitlines()
    assert last == "hybrid", ended.stderr
    hybrid: Any = AutoModelForCausalLM.from_pretrained(folder / "hybrid")
    assert hybrid.mixture_weights.tolist() == [[0.5, 0.5], pytest.approx([0.2, 0.8])]
    told = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in facts)
    assert told["components"] == "./shallow (layers 0, 1), ./deep (layers 0-1, 2-3)"
    assert told["mixture"] == "block 1: 0.5 ./shallow, 0.5 ./deep; block 2: 0.2 ./shallow, 0.8 ./deep"
    assert told["size"] == f"{hybrid.num_parameters():,} parameters, 0.1 MB on disk"
    assert told["load with"] == "manticore_kit.ManticoreForCausalLM.from_pretrained('hybrid')"


def test_build_replaces_a_hybrid_when_told_to_and_nothing_else_ever(folder, tmp_path):
    def build(out: str, *options: str, recipe: str = "recipe.yaml") -> subprocess.CompletedProcess:
        return manticore("build", str(folder / recipe), "-o", out, *options, cwd=folder)

    def files(where: Path) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in where.rglob("*") if file.is_file()}

    out = tmp_path / "hybrid"
    assert build(str(out)).returncode == 0
    first = files(out)
    again = build(str(out))
    assert again.returncode == 1
    assert "--overwrite" in again.stderr
    assert files(out) == first
    changed = yaml.safe_load((folder / "recipe.yaml").read_text()) | {"mixture": [[1, 0], [0, 1]]}
    (folder / "changed.yaml").write_text(yaml.safe_dump(changed))
    assert build(str(out), "--overwrite", recipe="changed.yaml").returncode == 0
    hybrid: Any = AutoModelForCausalLM.from_pretrained(out)
    assert hybrid.mixture_weights.tolist() == [[1, 0], [0, 1]]

    before = files(folder)
    for foreign in (".", "deep", "recipe.yaml"):  # a recipe among other files, another model, a file
        refused = build(foreign, "--overwrite")
        assert refused.returncode == 1
        assert "new or empty" in refused.stderr
    assert files(folder) == before


def test_build_names_the_recipe_and_the_field_at_fault(folder, tmp_path):
    recipe = {"components": [{"model": "./shallow", "cuts": [2]}]}
    (folder / "wrong.yaml").write_text(yaml.safe_dump(recipe))
    refused = manticore("build", "wrong.yaml", "-o", str(tmp_path / "hybrid"), cwd=folder)
    assert refused.stderr.startswith("manticore: wrong.yaml: components[0].cuts: './shallow' has 2 layers")


def test_wrong_usage_has_its_own_exit_status():
    ended = manticore("build", "recipe.yaml")
    assert ended.returncode == 2
    assert "--out" in ended.stderr


def test_doctor_finds_what_is_running_and_gives_a_hint_for_what_is_missing(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = {row.name: row for row in examine()}
    assert sys.executable in rows["Python"].value
    assert sys.executable in rows["Jupyter kernel"].value
    assert rows["torch"].ok
    assert all(row.hint for row in rows.values() if not row.ok)


def test_proxy_tasks_program_a_hybrid_from_the_command_line(tmp_path):
    (tmp_path / "recipe.yaml").write_text("components: [{model: tiny-gptneo}, {model: tiny-mamba}]\nblocks: 2\n")
    (tmp_path / "plan.yaml").write_text(
        "steps: 2\nbatch_size: 2\nevaluate_every: 0\ndata: {length: 16, held_out: 4, search: 4}\n"
    )
    arguments = ["mad", "run", "recipe.yaml", "-o", "mad", "--preset", "smoke", "-t", "compression", "--workers", "1"]
    run = manticore(*arguments, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "mad/mad.yaml"
    wrong = manticore("program", "recipe.yaml", "mad", "plan.yaml", "-o", "run", "-t", "copying", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "no task 'copying'; it has compression" in wrong.stderr
    done = manticore("program", "recipe.yaml", "mad", "plan.yaml", "-o", "run", "-t", "compression=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "run"
    found = yaml.safe_load((tmp_path / "mad" / "mad.yaml").read_text())["tasks"]["compression"]["mixtures"][0]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["mixture"] == [pytest.approx(row, abs=2e-6) for row in found]
    assert (tmp_path / "run" / "mad.yaml").read_bytes() == (tmp_path / "mad" / "mad.yaml").read_bytes()
