"""A run that was killed, stopped or interrupted and started again ends as the unbroken one, to the last bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toys import counting, hybrid_of, small_settings, text_of

from manticore_kit.errors import ManticoreError
from manticore_kit.training.fit import Stopped, fit
from manticore_kit.training.run import Run
from manticore_kit.training.trainer import COMPLETE, checkpoints

SEARCHES = {
    "gaea, alternating and bilevel": {"method": "gaea", "level": "bilevel", "updates": "alternating"},
    "dash, simultaneous": {"method": "dash"},
    "darts, alternating": {"method": "darts", "updates": "alternating"},
}
SEARCH = pytest.mark.parametrize("search", SEARCHES.values(), ids=list(SEARCHES))
TEXT = text_of(counting(1, 40, seed=0))


def train(folder, *, settings=None, search=None, text=TEXT, **arguments):
    settings = settings or small_settings(search=search or SEARCHES["dash, simultaneous"])
    return fit(hybrid_of(), text, settings, folder, **arguments)


def assert_equal(run: Run, unbroken: Run) -> None:
    weights, wanted = (load_file(each.folder / "model" / "model.safetensors") for each in (run, unbroken))
    assert weights.keys() == wanted.keys()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
    for name in ("metrics.jsonl", "losses.npz", "settings.yaml", "recipe.yaml"):
        assert (run.folder / name).read_bytes() == (unbroken.folder / name).read_bytes(), name
    timeless = ({key: value for key, value in each.result.items() if "seconds" not in key} for each in (run, unbroken))
    assert next(timeless) == next(timeless)


@SEARCH
@pytest.mark.parametrize("after", [1, 2, 5])
def test_a_stopped_run_goes_on(tmp_path, search, after):
    unbroken = train(tmp_path / "unbroken", search=search)
    asked = []
    with pytest.raises(Stopped, match=rf"after step {after} of 6.*goes on from it"):
        train(tmp_path / "run", search=search, stop=lambda: asked.append(1) or len(asked) == after)
    assert not Run(tmp_path / "run").is_finished
    assert_equal(train(tmp_path / "run", search=search), unbroken)


def test_an_interrupt_ends_the_step_and_leaves_a_checkpoint(tmp_path):
    def interrupt(events):
        if events[-1]["step"] == 3:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped, match="after step 3"):
        train(tmp_path / "run", watch=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    assert [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")] == ["checkpoint-3"]
    assert_equal(train(tmp_path / "run"), train(tmp_path / "unbroken"))


SCRIPT = """
import sys
import torch
from test_resume import SEARCHES, small_settings, train
torch.set_num_threads(1)
train(sys.argv[1], settings=small_settings(steps=60, checkpoint_every=3, search=SEARCHES[sys.argv[2]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gaea, alternating and bilevel", "dash, simultaneous"])
def test_a_run_killed_with_signal_9_at_random_moments_goes_on(tmp_path, name):
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run"), name]
    kills, limit = 0, time.monotonic() + 200
    metrics = tmp_path / "run" / "metrics.jsonl"
    while kills < 3:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        lines = len(metrics.read_text().splitlines()) if metrics.exists() else 0
        target = lines + 5 + random.randrange(20)
        while process.poll() is None and time.monotonic() < limit:
            if metrics.exists() and len(metrics.read_text().splitlines()) >= target:
                time.sleep(random.random() / 10)
                break
            time.sleep(0.01)
        if process.poll() is not None:
            break
        process.kill()
        process.communicate()
        kills += 1
    assert kills, "the run ended before it could be killed"
    subprocess.run(command, env=environment, check=True, timeout=200, stdout=subprocess.DEVNULL)
    settings = small_settings(steps=60, checkpoint_every=3, search=SEARCHES[name])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert_equal(Run(tmp_path / "run"), train(tmp_path / "unbroken", settings=settings))
    finally:
        torch.set_num_threads(threads)


def test_half_a_checkpoint_does_not_count(tmp_path):
    asked = []
    with pytest.raises(Stopped):
        train(tmp_path / "run", stop=lambda: asked.append(1) or len(asked) == 4)
    work = tmp_path / "run" / "checkpoints"
    half = work / "checkpoint-5"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert [path.name for path in checkpoints(work)] == ["checkpoint-4"]
    assert (work / "checkpoint-4" / COMPLETE).exists()
    assert_equal(train(tmp_path / "run"), train(tmp_path / "unbroken"))


def test_a_finished_run_is_read_and_gives_its_weights(tmp_path):
    first = train(tmp_path / "run")
    written = {file: file.stat().st_mtime_ns for file in first.folder.rglob("*")}
    hybrid = hybrid_of()
    again = fit(hybrid, TEXT, small_settings(search=SEARCHES["dash, simultaneous"]), first.folder)
    assert again.result == first.result
    assert written == {file: file.stat().st_mtime_ns for file in first.folder.rglob("*")}
    saved = load_file(first.folder / "model" / "model.safetensors")
    assert torch.equal(hybrid.mixture.logits, saved["mixture.logits"])
    assert all(torch.equal(tensor, saved[f"projectors.{n}"]) for n, tensor in hybrid.projectors.state_dict().items())


def test_a_folder_of_another_run_is_refused(tmp_path):
    train(tmp_path / "run")
    with pytest.raises(ManticoreError, match="holds another run: its `steps` is 6, not 7"):
        train(tmp_path / "run", settings=small_settings(steps=7, search=SEARCHES["dash, simultaneous"]))
    with pytest.raises(ManticoreError, match="began from other weights or on other text"):
        train(tmp_path / "run", text=text_of(counting(2, 40, seed=0)))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("words")
    with pytest.raises(ManticoreError, match="exists and holds no run"):
        train(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "words"
