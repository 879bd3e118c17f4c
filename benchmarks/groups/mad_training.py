"""Training MAD's baselines

Examples that a training step takes per second (gradients cleared, forward with labels, backward, AdamW), for two layers
of each mixer at the sizes of in-context recall: batch 128, length 127, 16 tokens, width 128. The published code of MAD
reached 82 – 152 examples per CPU-second with attention, 23 – 31 with Mamba and 28 – 46 with Hyena. That was measured
elsewhere, on one thread of a CPU of about this speed; the bounds are 1.3, 5 and 2 times the upper ends. What has no
such figure is only reported.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.clock import Clock
from benchmarks.measure import measure, rates
from benchmarks.rows import Row
from benchmarks.works import training_step
from manticore_kit.components import load

QUICK = {"rounds": 3, "batch": 32}

MODELS = {
    "attention": ("mad", {"mixer": "attention"}),
    "Mamba": ("mad", {"mixer": "mamba"}),
    "Hyena": ("mad", {"mixer": "hyena"}),
    "multi-head Hyena": ("mad", {"mixer": "multihead_hyena"}),
    "StripedHyena": ("striped_hyena", {}),
    "MambaFormer, three layers": ("mambaformer", {}),
}
# Examples per CPU-second of the published code, from and to, and how many times the upper end is wanted.
ELSEWHERE = {"attention": (82, 152, 1.3), "Mamba": (23, 31, 5), "Hyena": (28, 46, 2)}
VOCABULARY = 16


def rows(clock: Clock, *, rounds: int = 7, batch: int = 128, length: int = 127, width: int = 128) -> Iterator[Row]:
    """Examples per second of each model and, where there is one, their ratio to the published code's range."""
    ids = torch.randint(VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(0)).to(clock.device)
    steps = {name: _step(clock, *model, ids, width) for name, model in MODELS.items()}
    times = measure(steps, clock, rounds)
    for name in MODELS:
        speed = rates(batch, times[name])
        low, high, wanted = ELSEWHERE.get(name, (0, 0, 0))
        target = f">= {wanted * high:.0f}" if high else ""
        yield Row("mad_training", f"{name}, training", speed, f"examples/{clock.unit}", target)
        for end, figure in (("upper", high), ("lower", low)):
            if figure:
                ratio = [each / figure for each in speed]
                yield Row("mad_training", f"{name}, over the published code's {end} end, {figure}", ratio, "×")


def _step(clock: Clock, name: str, settings: dict, ids: Tensor, width: int) -> Callable[[], None]:
    """A whole training step of a model with random weights, the optimiser's own part included."""
    config = {"vocab_size": VOCABULARY, "hidden_size": width, **settings}
    model = load(name, config=config).component.model.to(clock.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    gradients = training_step(model, ids)

    def work() -> None:
        gradients()
        optimizer.step()

    return work
