"""Discretised hybrid

GPT-Neo in the first block, Mamba in the second, everything else dropped; against the sum of the same layers in models
of their own: a GPT-Neo of the kept first layers without a head, and a Mamba of the kept last layers with its head.
Generation is greedy, one text, with caches; there the head-less GPT-Neo goes through the same tokens one by one.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.clock import Clock
from benchmarks.measure import measure, ratios, total
from benchmarks.models import gptneo, hybrid_of, mamba, token_ids
from benchmarks.rows import Row
from benchmarks.works import forward, generation

QUICK = {"rounds": 3, "batch": 16, "new_tokens": 32}


def rows(
    clock: Clock,
    *,
    rounds: int = 7,
    batch: int = 32,
    length: int = 128,
    width: int = 128,
    depth: int = 4,
    prompt: int = 16,
    new_tokens: int = 96,
) -> Iterator[Row]:
    """The forward and the cached generation of the discretised hybrid over those of its kept blocks."""
    hybrid = hybrid_of([gptneo(clock, width, depth), mamba(clock, width, depth)])
    hybrid.set_mixture([[1, 0], [0, 1]])
    small = hybrid.discretize()
    first = gptneo(clock, width, depth // 2).component.model.base_model
    last = mamba(clock, width, depth - depth // 2).component.model

    ids = token_ids(clock, batch, length)
    works = {"hybrid": forward(small, ids), "first": forward(first, ids), "last": forward(last, ids)}
    yield _overhead("forward", measure(works, clock, rounds))

    start = token_ids(clock, 1, prompt)
    works = {
        "hybrid": generation(small, start, new_tokens),
        "first": _read_on(first, start, new_tokens),
        "last": generation(last, start, new_tokens),
    }
    yield _overhead("cached generation", measure(works, clock, rounds))


def _overhead(what: str, times: dict[str, list[float]]) -> Row:
    blocks = total(times["first"], times["last"])
    return Row("discrete", f"{what}: over the sum of its blocks", ratios(times["hybrid"], blocks), "×", "<= 1.03")


def _read_on(model, ids: Tensor, new_tokens: int) -> Callable[[], None]:
    """What generation asks of a model without a head: the prompt, then token by token with its cache."""
    model.eval()

    @torch.no_grad()
    def work() -> None:
        out = model(input_ids=ids, use_cache=True)
        for _ in range(new_tokens - 1):
            out = model(input_ids=ids[:, -1:], past_key_values=out.past_key_values, use_cache=True)

    return work
