"""Selective scan

This package's scan of Mamba against transformers' own time loop, on the CPU and on the same inputs: forward without
gradients, and forward with backward. Growth: time
per token of forward and backward at each length, with as many tokens in the batch at every length.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from transformers.models.mamba import modeling_mamba

from benchmarks.clock import Clock
from benchmarks.measure import measure, ratios
from benchmarks.rows import Row
from benchmarks.selective_scan import make_inputs
from manticore_kit.kernels import selective_scan

QUICK = {"rounds": 3, "loop_rounds": 1, "lengths": (128, 512)}


def rows(
    clock: Clock,
    *,
    rounds: int = 7,
    loop_rounds: int = 7,
    batch: int = 32,
    channels: int = 256,
    length: int = 128,
    state: int = 16,
    lengths: Sequence[int] = (128, 256, 512, 1024, 2048),
) -> Iterator[Row]:
    """Ratios to the library's loop at one size, and the time per token along `lengths`."""
    cpu = Clock(torch.device("cpu"))
    inputs = make_inputs(batch, channels, length, state)
    loop = modeling_mamba.mamba_selective_scan
    scans = {"loop": getattr(loop, "library_function", loop), "ours": selective_scan}

    times = measure({name: _forward(scan, inputs) for name, scan in scans.items()}, cpu, rounds)
    yield Row("scan", "forward: the loop's time over ours", ratios(times["loop"], times["ours"]), "×", ">= 20")
    ours = _forward_and_backward(selective_scan, inputs)
    ours()
    both = {name: _forward_and_backward(scan, inputs) for name, scan in scans.items()}
    times = measure(both, cpu, loop_rounds, warm_up=False)
    name = "forward + backward: the loop's time over ours"
    yield Row("scan", name, ratios(times["loop"], times["ours"]), "×", ">= 250")

    yield from _growth(cpu, rounds, batch * length, channels, state, lengths)


def _growth(cpu: Clock, rounds: int, tokens: int, channels: int, state: int, lengths: Sequence[int]) -> Iterator[Row]:
    batches = {length: max(1, tokens // length) for length in lengths}
    inputs = {n: make_inputs(batch, channels, n, state) for n, batch in batches.items()}
    works = {str(n): _forward_and_backward(selective_scan, each) for n, each in inputs.items()}
    times = measure(works, cpu, rounds)
    per_token = {n: [1e6 * seconds / (n * batches[n]) for seconds in times[str(n)]] for n in lengths}
    curve = "selective scan, forward + backward, at length"
    for length in lengths:
        yield Row("scan", curve, per_token[length], "CPU-µs per token", at=length)
    first, last = lengths[0], lengths[-1]
    name = f"time per token at length {last:,} over that at {first:,}"
    yield Row("scan", name, ratios(per_token[last], per_token[first]), "×", "<= 1.25")


def _forward(scan: Callable, inputs: dict[str, Tensor]) -> Callable[[], None]:
    @torch.no_grad()
    def work() -> None:
        scan(**inputs, delta_softplus=True)

    return work


def _forward_and_backward(scan: Callable, inputs: dict[str, Tensor]) -> Callable[[], None]:
    def work() -> None:
        torch.autograd.grad(scan(**inputs, delta_softplus=True).sum(), list(inputs.values()))

    return work
