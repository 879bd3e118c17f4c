"""Where the time goes

One forward and one training step of the hybrid under PyTorch's profiler: each operator's own time on the CPU, without
that of the operators it calls, added up by class. What no operator accounts for is Python: the models' code, and the
bookkeeping between operators. The profiler slows short operators down, so the shares are not exact.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function
from transformers.models.mamba import modeling_mamba

from benchmarks.clock import Clock
from benchmarks.models import gptneo, hybrid_of, mamba, token_ids
from benchmarks.rows import Row
from benchmarks.works import forward, training_step

QUICK = {"rounds": 1, "batch": 8}

SCAN, PYTHON, REST = "selective scan", "Python between operators", "other operators"

_WHOLE = "all of it"

# The first pattern that an operator's name fits says its class.
CLASSES = {
    "matrix products": r"mm$|linear|matmul|dot_product",
    "convolution": r"conv",
    "softmax and cross-entropy": r"softmax|nll_loss|cross_entropy",
    "normalisation": r"norm|rsqrt|mean|pow",
    "activations": r"gelu|silu|sigmoid|tanh|softplus|relu",
    "embedding": r"embedding|index|gather",
    "copies and new tensors": r"copy|clone|contiguous|empty|zero|fill|cat|pad|resize|ones|full|arange|to$",
    "elementwise arithmetic": r"add|mul|sub|div|exp|neg|where|sum|cumsum|lerp|eq|ge$|lt$|gt$|le$|and|or_",
    "views": r"view|reshape|transpose|permute|expand|slice|select|split|chunk|squeeze|unsafe|as_strided|::t$|detach",
}


def rows(
    clock: Clock, *, rounds: int = 7, batch: int = 32, length: int = 128, width: int = 128, depth: int = 4
) -> Iterator[Row]:
    """The share of each class of operators in the whole, in per cent, for a forward and for a training step."""
    hybrid = hybrid_of([gptneo(clock, width, depth), mamba(clock, width, depth)])
    ids = token_ids(clock, batch, length)
    for kind, make in {"forward": forward, "training step": training_step}.items():
        work = make(hybrid, ids)
        with _named_scan():
            work()
            profiles = [_shares(work) for _ in range(rounds)]
        names = Counter(dict.fromkeys((*CLASSES, SCAN, PYTHON, REST), 0.0))
        for shares in profiles:
            names.update(shares)
        for name, _ in names.most_common():
            yield Row("shares", f"{kind}, {name}", [shares[name] for shares in profiles], "%")


def _shares(work: Callable[[], object]) -> Counter[str]:
    with profile(activities=[ProfilerActivity.CPU]) as profiler, record_function(_WHOLE):
        work()
    seconds: Counter[str] = Counter()
    for event in profiler.events() or []:
        seconds[_class_of(event)] += event.self_cpu_time_total
    whole = sum(seconds.values())
    return Counter({name: 100 * each / whole for name, each in seconds.items()})


def _class_of(event: FunctionEvent) -> str:
    within: FunctionEvent | None = event
    while within is not None:
        if "scan" in within.name.lower():
            return SCAN
        within = within.cpu_parent
    if event.name == _WHOLE or event.name.startswith("autograd::engine"):
        return PYTHON
    return next((name for name, pattern in CLASSES.items() if re.search(pattern, event.name)), REST)


@contextmanager
def _named_scan() -> Iterator[None]:
    """Inside the context the profiler sees Mamba's scan by name; its backward carries the name of its function."""
    scan = modeling_mamba.mamba_selective_scan

    def named(*args, **kwargs):
        with record_function(SCAN):
            return scan(*args, **kwargs)

    modeling_mamba.mamba_selective_scan = named
    try:
        yield
    finally:
        modeling_mamba.mamba_selective_scan = scan
