"""Where the time goes

One forward and one training step of the hybrid on the CPU, under PyTorch's profiler: each operator's own time, without
that of the operators it calls, added up by class. What no operator accounts for is Python: the models' code, and the
bookkeeping between operators. The profiler slows short operators down, so the shares are not exact.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function
from transformers.models.mamba import modeling_mamba

from benchmarks.clock import Clock
from benchmarks.models import gptneo, hybrid_of, mamba, token_ids
from benchmarks.rows import Row
from benchmarks.works import forward, training_step

QUICK = {"rounds": 1, "batch": 8}

PYTHON, REST = "Python between operators", "other operators"

# Mamba's own two functions, by their names in transformers, and what all that happens within them is counted as.
FUNCTIONS = {"mamba_selective_scan": "selective scan", "causal_conv1d_fn": "causal convolution"}
WITHIN = {"selective scan": r"scan", "causal convolution": r"conv"}

_WHOLE = "all of it"

# The first pattern that an operator's name fits says its class.
CLASSES = {
    "matrix products": r"mm(backward\d)?$|linear|matmul|dot_product",
    "softmax and cross-entropy": r"softmax|nll_loss|cross_entropy",
    "normalisation": r"norm|rsqrt|mean|pow",
    "activations": r"gelu|silu|sigmoid|tanh|softplus|relu",
    "embedding": r"embedding|index|gather",
    "copies and new tensors": r"copy|clone|contiguous|empty|zero|fill|cat|pad|resize|ones|full|arange|to$",
    "elementwise arithmetic": r"add|mul|sub|div|exp(?!and)|neg|where|sum|lerp|::(eq|ne|ge|lt|gt|le)$|bitwise",
    "views": r"view|reshape|transpose|permute|expand|slice|select|split|chunk|squeeze|strided|::t$|^tback|detach",
}


def rows(
    _: Clock, *, rounds: int = 7, batch: int = 32, length: int = 128, width: int = 128, depth: int = 4
) -> Iterator[Row]:
    """The share of each class of operators in the whole, in per cent, for a forward and for a training step."""
    cpu = Clock(torch.device("cpu"))
    hybrid = hybrid_of([gptneo(cpu, width, depth), mamba(cpu, width, depth)])
    ids = token_ids(cpu, batch, length)
    for kind, make in {"forward": forward, "training step": training_step}.items():
        work = make(hybrid, ids)
        with _named_functions():
            work()
            profiles = [_shares(work) for _ in range(rounds)]
        names = Counter(dict.fromkeys((*CLASSES, *WITHIN, PYTHON, REST), 0.0))
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
    """The class of an event by its name, and where that says nothing by the names of its callers."""
    names = [each.name.lower() for each in _lineage(event)]
    for kind, pattern in WITHIN.items():
        if any(re.search(pattern, name) for name in names):
            return kind
    if event.name == _WHOLE or event.name.startswith("autograd::engine"):
        return PYTHON
    matches = (kind for name in names for kind, pattern in CLASSES.items() if re.search(pattern, name))
    return next(matches, REST)


def _lineage(event: FunctionEvent | None) -> Iterator[FunctionEvent]:
    """The event and its callers, as far as the whole work."""
    while event is not None and event.name != _WHOLE:
        yield event
        event = event.cpu_parent


@contextmanager
def _named_functions() -> Iterator[None]:
    """Inside the context the profiler sees Mamba's functions by name; a backward carries the name of its own."""
    own = {name: getattr(modeling_mamba, name) for name in FUNCTIONS}

    def named(name: str) -> Callable:
        def function(*args, **kwargs):
            with record_function(FUNCTIONS[name]):
                return own[name](*args, **kwargs)

        return function

    for name in own:
        setattr(modeling_mamba, name, named(name))
    try:
        yield
    finally:
        for name, function in own.items():
            setattr(modeling_mamba, name, function)
