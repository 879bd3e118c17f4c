"""Loss surface

The held-out loss at a grid of mixtures over two blocks, by `loss_surface`, against setting each mixture in turn and
evaluating it anew. Held-out text on the zoo's GPT-Neo and Mamba.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.clock import Clock
from benchmarks.demo import demo
from benchmarks.measure import measure, ratios
from benchmarks.rows import Row
from manticore_kit.analysis.surface import loss_surface
from manticore_kit.tasks.language.evaluate import per_example_losses

QUICK = {"rounds": 1, "points": 4, "windows": 16}


def rows(clock: Clock, *, rounds: int = 7, points: int = 9, windows: int = 16) -> Iterator[Row]:
    """The surface's time over that of `points`² evaluations, and how closely the numbers agree."""
    hybrid, text = demo(clock, windows)
    surface = loss_surface(hybrid, text, points=2)  # the warm-up, smaller than what is measured
    found: dict[str, Tensor] = {}

    def at_once() -> None:
        nonlocal surface
        surface = loss_surface(hybrid, text, points=points)

    def one_by_one() -> None:
        found["losses"] = torch.stack([_evaluate(hybrid, mixture, text) for mixture in surface.mixtures])

    times = measure({"surface": at_once, "evaluations": one_by_one}, clock, rounds, warm_up=False)
    name = f"{points} × {points} surface over {points**2} evaluations"
    yield Row("surface", name, ratios(times["surface"], times["evaluations"]), "×", "<= 0.6")
    yield Row("surface", f"{points} × {points} surface", times["surface"], clock.unit)
    difference = (torch.from_numpy(surface.losses) - found["losses"]).abs().max()
    name = "largest difference of any window's loss between the two"
    yield Row("surface", name, [float(difference)], "nats per token", "<= 1e-5")


def _evaluate(hybrid, mixture, text: Tensor) -> Tensor:
    hybrid.set_mixture(mixture.tolist())
    return per_example_losses(hybrid, text).double()
