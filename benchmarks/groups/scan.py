"""Selective scan

This package's scan of Mamba against transformers' own time loop, on the CPU and on the same inputs: forward without
gradients, and forward with backward. Both run in a process in which memory is had from the system and given back as it
is without this package; and once more in the suite's own process, where this package has freed memory kept, which makes
the loop several times faster too. Growth: time per token of forward and backward at each length, with as many tokens in
the batch at every length.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from torch import Tensor
from transformers.models.mamba import modeling_mamba

from benchmarks.clock import Clock
from benchmarks.measure import measure, ratios
from benchmarks.models import scan_inputs
from benchmarks.rows import Row
from manticore_kit.kernels import selective_scan

CPU = Clock(torch.device("cpu"))
CHOICE = "GLIBC_TUNABLES"

QUICK = {"rounds": 3, "loop_rounds": 1, "lengths": (128, 512)}


def rows(
    _: Clock,
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
    sizes = (batch, channels, length, state)
    plain = _in_a_plain_process(_loop_over_ours, sizes, rounds, loop_rounds)
    kept = _loop_over_ours(sizes, rounds, loop_rounds)
    for kind, target in {"forward": ">= 20", "forward + backward": ">= 250"}.items():
        yield Row("scan", f"{kind}: the loop's time over ours", plain[kind], "×", target)
        yield Row("scan", f"{kind}: the loop's time over ours, freed memory kept", kept[kind], "×")
    yield from _growth(rounds, batch * length, channels, state, lengths)


def _loop_over_ours(sizes: tuple[int, int, int, int], rounds: int, loop_rounds: int) -> dict[str, list[float]]:
    """The ratio in each round, of the forward and of forward with backward."""
    torch.set_num_threads(1)
    inputs = scan_inputs(*sizes)
    loop = modeling_mamba.mamba_selective_scan
    scans = {"loop": getattr(loop, "library_function", loop), "ours": selective_scan}
    forward = measure({name: _forward(scan, inputs) for name, scan in scans.items()}, CPU, rounds)
    both = {name: _forward_and_backward(scan, inputs) for name, scan in scans.items()}
    both["ours"]()  # warm by itself: a round of the loop takes seconds
    times = {"forward": forward, "forward + backward": measure(both, CPU, loop_rounds, warm_up=False)}
    return {kind: ratios(each["loop"], each["ours"]) for kind, each in times.items()}


def _in_a_plain_process(work: Callable, *arguments):
    """What `work` returns in a new process with the C library's own settings for memory."""
    # Set to nothing it changes nothing, but this package leaves memory alone where users have chosen settings.
    before = os.environ.get(CHOICE)
    os.environ.setdefault(CHOICE, "")
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            return process.submit(work, *arguments).result()
    finally:
        if before is None:
            del os.environ[CHOICE]


def _growth(rounds: int, tokens: int, channels: int, state: int, lengths: Sequence[int]) -> Iterator[Row]:
    batches = {length: max(1, tokens // length) for length in lengths}
    inputs = {n: scan_inputs(batch, channels, n, state) for n, batch in batches.items()}
    works = {str(n): _forward_and_backward(selective_scan, each) for n, each in inputs.items()}
    times = measure(works, CPU, rounds)
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
