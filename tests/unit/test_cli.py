"""The command line is quick to answer, speaks in sentences, and says with its exit status how it went."""

import subprocess
import sys
from pathlib import Path

import pytest

from manticore_kit.doctor import examine

MANTICORE = Path(sys.executable).with_name("manticore")
HEAVY = {"torch", "transformers", "plotly", "papermill", "nbconvert", "numpy"}


def manticore(*arguments: str, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run([MANTICORE, *arguments], capture_output=True, text=True, **kwargs)


def test_help_names_the_commands_and_imports_nothing_heavy():
    shown = manticore("--help")
    assert shown.returncode == 0
    assert {"describe", "build", "report", "zoo", "doctor"} <= set(shown.stdout.split())
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
