"""How well a language model predicts text, one number per example so that differences can be tested."""

import torch
from torch.nn import functional as F


@torch.inference_mode()
def per_example_losses(model, input_ids: torch.Tensor, *, batch_size: int = 32) -> torch.Tensor:
    """Return each window's mean next-token loss in nats per token, a float32 tensor (examples,) on the CPU.

    `model` is any Hugging Face causal language model, a hybrid included; `input_ids` is (examples, length) without
    padding, so that the mean is over length − 1 predictions. The model evaluates in eval mode and is then put back
    into the mode it was in.
    """
    if input_ids.ndim != 2 or input_ids.shape[1] < 2:
        raise ValueError(
            f"input_ids of shape {tuple(input_ids.shape)}: windows are (examples, length) with length >= 2"
        )
    was_training = model.training
    model.eval()
    try:
        return torch.cat([_window_losses(model, batch.to(model.device)) for batch in input_ids.split(batch_size)])
    finally:
        model.train(was_training)


def _window_losses(model, input_ids: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=input_ids, use_cache=False).logits[:, :-1].float()
    losses = F.cross_entropy(logits.transpose(1, 2), input_ids[:, 1:], reduction="none")
    return losses.mean(dim=1).cpu()
