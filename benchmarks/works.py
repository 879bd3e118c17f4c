"""The pieces of work that are timed, the same for a hybrid as for any other causal language model.

Making one puts the model into the mode that the work needs, so make those of one kind just before they are measured.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def training_step(model, ids: Tensor) -> Callable[[], None]:
    """Gradients cleared, forward with labels, backward; the optimiser's own step is left out."""
    model.train()

    def work() -> None:
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()

    return work


def forward(model, ids: Tensor, *, loss: bool = False) -> Callable[[], None]:
    """A forward without gradients and cache: the logits, and with `loss` the loss too."""
    labels = {"labels": ids} if loss else {}
    model.eval()

    @torch.no_grad()
    def work() -> None:
        model(input_ids=ids, use_cache=False, **labels)

    return work


def generation(model, ids: Tensor, new_tokens: int) -> Callable[[], None]:
    """Greedy generation of `new_tokens` after `ids`, with a cache."""
    model.eval()

    def work() -> None:
        out = model.generate(ids, max_new_tokens=new_tokens, do_sample=False, use_cache=True)
        assert out.shape[1] == ids.shape[1] + new_tokens

    return work
