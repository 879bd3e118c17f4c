"""How soon MAD's plain stacks learn what they are known to learn: `python -m benchmarks.mad_reference [FILE]`.

Trained as the published code trains (its rate and batch, no schedule, no clipping) on baseline tasks: Mamba on
in-context-recall, attention on selective-copying. Reported are the first step at which the accuracy on validation rows
passes the mark, and the accuracy on test rows after the last. Some twelve minutes on one core; written to FILE.
"""

import json
import sys
import tempfile
from pathlib import Path

from manticore_kit.components import load
from manticore_kit.mad.data import MadData
from manticore_kit.tasks import mad
from manticore_kit.training.fit import fit
from manticore_kit.training.run import environment
from manticore_kit.training.settings import TrainingSettings

# Mixer, task, steps at the most, and the accuracy that is to be passed within them.
CASES = (("mamba", "in-context-recall", 500, 0.95), ("attention", "selective-copying", 400, 0.8))
SEEDS = (0, 1, 2)


def measure(mixer: str, task: str, steps: int, mark: float, seed: int) -> dict[str, float | int | str | None]:
    """One training, to its last step."""
    settings = TrainingSettings.parse(
        {
            "steps": steps,
            "batch_size": 32,
            "weight_decay": 0.0,
            "warmup": 0.0,
            "max_grad_norm": 0,
            "seed": seed,
            "evaluate_every": 10,
            "trainer": {"lr_scheduler_type": "constant"},
        }
    ).at_rate(1e-3)
    config = {"mixer": mixer, "vocab_size": mad.settings_of(task).vocab_size}
    model = load("mad", config=config, seed=seed).component.model
    with tempfile.TemporaryDirectory() as folder:
        run = fit(model, MadData.of(task), settings, Path(folder) / "run", keep_model=False)
        seen = [event for event in run.events if event["event"] == "held-out"]
        return {
            "mixer": mixer,
            "task": task,
            "mark": mark,
            "seed": seed,
            "passed at step": next((event["step"] for event in seen if event["accuracy"] >= mark), None),
            "test accuracy": round(run.result["scores"]["accuracy"], 4),
            "processor seconds": run.result["processor_seconds"],
        }


def main() -> None:
    """Measures all cases and prints them, a line each; writes them to a file where one is named."""
    rows = []
    for case in CASES:
        for seed in SEEDS:
            rows.append(measure(*case, seed))
            print(json.dumps(rows[-1]), flush=True)
    if len(sys.argv) > 1:
        text = json.dumps({"environment": environment(), "rows": rows}, indent=2)
        Path(sys.argv[1]).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
