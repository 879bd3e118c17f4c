"""CPU time of the selective scan: Manticore's against the library's own loop, in one process on one thread.

    python benchmarks/selective_scan.py

Prints a Markdown table. Both scans run in turn on the same inputs and in the same round, so that whatever else the
machine does falls on both; the figures are medians over the rounds of this process's CPU time, and a ratio is the
library's time over ours.
"""

import statistics
import time
from collections.abc import Callable

import torch
import typer
from torch import Tensor
from transformers.models.mamba import modeling_mamba

from manticore_kit.kernels import selective_scan

Inputs = dict[str, Tensor]


def make_inputs(batch: int, channels: int, length: int, state: int, seed: int = 0) -> Inputs:
    """Inputs with the sizes, signs and strides that a Mamba mixer hands to its scan."""
    generator = torch.Generator().manual_seed(seed)

    def time_last(width: int) -> Tensor:
        # The mixer's projections have the width last and are transposed for the scan.
        return torch.randn(batch, length, width, generator=generator).transpose(1, 2)

    inputs = {
        "hidden_states": time_last(channels),
        "dt": time_last(channels) - 4,  # softplus(-4) is about 0.02, a usual time step after initialisation
        "A": -torch.arange(1.0, state + 1).repeat(channels, 1),
        "B": time_last(state),
        "C": time_last(state),
        "D": torch.ones(channels),
        "z": time_last(channels),
        "delta_bias": torch.zeros(channels),
    }
    return {name: tensor.requires_grad_() for name, tensor in inputs.items()}


def forward(scan: Callable[..., Tensor], inputs: Inputs) -> None:
    with torch.no_grad():
        scan(**inputs, delta_softplus=True)


def forward_and_backward(scan: Callable[..., Tensor], inputs: Inputs) -> None:
    torch.autograd.grad(scan(**inputs, delta_softplus=True).sum(), list(inputs.values()))


def cpu_seconds(measure: Callable[..., None], scan: Callable[..., Tensor], inputs: Inputs) -> float:
    start = time.process_time()
    measure(scan, inputs)
    return time.process_time() - start


def main(batch: int = 32, channels: int = 256, length: int = 128, state: int = 16, rounds: int = 5) -> None:
    """Compare the two scans at one size and print a table."""
    torch.set_num_threads(1)
    inputs = make_inputs(batch, channels, length, state)
    scans = {"library": modeling_mamba.mamba_selective_scan, "ours": selective_scan}
    print(f"batch {batch}, {channels} channels, length {length}, state {state}, float32, one thread")
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, medians of {rounds} rounds\n")
    print("| | library, CPU s | Manticore, CPU s | ratio | range of the ratio |")
    print("|---|---:|---:|---:|---:|")
    for title, measure in {"forward, no gradients": forward, "forward + backward": forward_and_backward}.items():
        for scan in scans.values():
            measure(scan, inputs)  # once unmeasured: allocator, thread pools, caches
        times = [{name: cpu_seconds(measure, scan, inputs) for name, scan in scans.items()} for _ in range(rounds)]
        library, ours = (statistics.median(row[name] for row in times) for name in scans)
        ratios = [row["library"] / row["ours"] for row in times]
        spread = f"{min(ratios):.0f}–{max(ratios):.0f}"
        print(f"| {title} | {library:.3f} | {ours:.4f} | {library / ours:.0f} × | {spread} |")


if __name__ == "__main__":
    typer.run(main)
