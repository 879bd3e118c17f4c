"""How well a language model predicts text, one number per example so that differences can be tested."""

import torch
from torch import Tensor
from torch.nn import functional as F

from manticore_kit.errors import ManticoreError


@torch.inference_mode()
def per_example_losses(model, input_ids: Tensor, *, batch_size: int = 32) -> Tensor:
    """Return each window's mean next-token loss in nats per token, a float32 tensor (examples,) on the CPU.

    `model` is any Hugging Face causal language model, a hybrid included; `input_ids` is (examples, length) without
    padding, so that the mean is over length − 1 predictions. The model evaluates in eval mode and is then put back
    into the mode it was in. Raises `ManticoreError` for anything else than windows.
    """
    check_windows(input_ids)
    was_training = model.training
    model.eval()
    try:
        return torch.cat([_batch_losses(model, batch.to(model.device)) for batch in input_ids.split(batch_size)])
    finally:
        model.train(was_training)


def check_windows(input_ids) -> None:
    """Raises `ManticoreError` unless `input_ids` are ids of tokens, (examples, length) with a length of 2 or more."""
    if not isinstance(input_ids, Tensor) or input_ids.ndim != 2 or input_ids.shape[1] < 2 or not len(input_ids):
        given = (
            f"shape {tuple(input_ids.shape)}" if isinstance(input_ids, Tensor) else f"type {type(input_ids).__name__}"
        )
        raise ManticoreError(
            f"input_ids is of {given}: losses are measured on windows of token ids, a tensor (examples, length) with "
            "at least one window of two tokens. `manticore_kit.tasks.language.windows_of` cuts text into windows."
        )


def losses_of_logits(logits: Tensor, input_ids: Tensor) -> Tensor:
    """Each window's mean next-token loss (examples,), of logits (examples, length, vocabulary)."""
    # The last position predicts nothing. Leaving it in and ignoring it spares a copy of all logits without it.
    targets = F.pad(input_ids[:, 1:], (0, 1), value=-100)
    losses = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none", ignore_index=-100)
    return losses.view(targets.shape).sum(dim=1) / (input_ids.shape[1] - 1)


def _batch_losses(model, input_ids: Tensor) -> Tensor:
    return losses_of_logits(model(input_ids=input_ids, use_cache=False).logits, input_ids).cpu()
