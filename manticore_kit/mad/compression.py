"""The compression task's model: a causal language model reads a row into one state, a decoder rebuilds the row.

The decoder sees the last state alone, once for each position: last state + sinusoidal position → twice [norm, linear,
GELU] → norm and scores of the tokens. Source: the MAD paper (arXiv 2403.17844), section 3, and its published decoder.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from manticore_kit.components.checks import check
from manticore_kit.hybrid.modeling import ManticoreForCausalLM

_DECODER_LAYERS = 2


class CompressionAutoencoder(nn.Module):
    """`model` (a hybrid, or any causal language model with a plain head) as the encoder, and a decoder of its width.

    The model's heads are dropped: nothing reads them. `vocab_size` is that of the rows.
    """

    def __init__(self, model: PreTrainedModel, vocab_size: int):
        super().__init__()
        self.encoder = model
        if isinstance(model, ManticoreForCausalLM):
            parts: list[Any] = [model.component(k).model for k in range(model.num_components)]
            self._component, width = None, model.config.width
        else:
            parts, self._component = [model], check(model)
            width = self._component.width
        for part in parts:
            part.set_output_embeddings(nn.Identity())
        layers: list[nn.Module] = []
        for _ in range(_DECODER_LAYERS):
            layers += [nn.RMSNorm(width, eps=1e-5), nn.Linear(width, width), nn.GELU()]
        self.decoder = nn.Sequential(*layers, nn.RMSNorm(width, eps=1e-5), nn.Linear(width, vocab_size))

    def get_input_embeddings(self) -> nn.Module:
        """The encoder's token table."""
        return self.encoder.get_input_embeddings()

    def get_output_embeddings(self) -> None:
        """None: a state is decoded, and no head makes scores of it."""

    def encode(self, input_ids: Tensor) -> Tensor:
        """What is kept of each row of `input_ids` (batch, length): the last state (batch, width)."""
        if isinstance(self.encoder, ManticoreForCausalLM):
            return self.encoder.encode(input_ids)[:, -1]
        component: Any = self._component
        start = component.start(input_ids)
        return component.normed(component.run(start, start.hidden, 0, component.stack.depth)[:, -1:])[:, 0]

    def forward(
        self, input_ids: Tensor, labels: Tensor | None = None, num_items_in_batch: Any = None, **_: Any
    ) -> CausalLMOutput:
        """Scores (batch, length, vocabulary) for rows as `MadData` gives them: `input_ids` (batch, length + 1)."""
        rows = input_ids[:, :-1]
        code = self.encode(rows)
        logits = self.decoder(code[:, None] + _positions(rows.shape[1], code))
        loss = None
        if labels is not None:
            total = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
            loss = total / (labels[:, 1:].numel() if num_items_in_batch is None else num_items_in_batch)
        return CausalLMOutput(loss=loss, logits=logits)


def _positions(length: int, like: Tensor) -> Tensor:
    """Sines and cosines of positions (length, width), as in the first Transformer."""
    width = like.shape[-1]
    rates = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10000.0) / width))
    angles = torch.arange(length, device=like.device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width].to(like.dtype)
