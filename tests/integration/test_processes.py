"""Two processes on one machine, over gloo, train as one does at the same global batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent.parent
SEARCHES = {
    "none": "null",
    "darts": "{'method': 'darts'}",
    "gaea": "{'method': 'gaea', 'level': 'bilevel', 'updates': 'alternating'}",
    "dash": "{'method': 'dash', 'updates': 'alternating'}",
}
SCRIPT = """
import sys
import torch
torch.set_num_threads(1)
import yaml
from toys import counting, hybrid_of, small_settings, text_of
from manticore_kit.training.fit import fit
from manticore_kit.training.processes import processes

search = yaml.safe_load(sys.argv[2])
settings = small_settings(steps=20, batch_size=8, search=search, checkpoint_every=7, evaluate_every=10)
run = fit(hybrid_of(), text_of(counting(1, 64, seed=0)), settings, sys.argv[1])
print(f"{run.result['steps']} steps in {processes().num_processes} processes")
"""


def launch(folder: Path, script: Path, search: str, processes: int) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launcher += ["--main_process_port", str(port)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE / "unit"), str(HERE)]),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    command = [sys.executable, *(launcher if processes > 1 else []), str(script), str(folder), search]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHES)
def test_two_processes_equal_one(tmp_path, name):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    assert "in 1 processes" in launch(tmp_path / "one", script, SEARCHES[name], 1)
    assert launch(tmp_path / "two", script, SEARCHES[name], 2).count("20 steps in 2 processes") == 2
    one, two = (load_file(tmp_path / each / "model" / "model.safetensors") for each in ("one", "two"))
    assert one.keys() == two.keys()
    for key in one:
        assert torch.allclose(one[key], two[key], rtol=0, atol=1e-5), key
    if name != "none":
        assert one["mixture.logits"].any()
