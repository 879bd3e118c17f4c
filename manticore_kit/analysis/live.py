"""The held-out loss of a hybrid whose mixture is being moved by hand, soon enough to watch."""

from typing import Any

import torch
from torch import Tensor

from manticore_kit.hybrid.shared_run import SharedRun
from manticore_kit.tasks.language.evaluate import check_windows, losses_of_logits


class LiveLosses:
    """Losses of `hybrid` on the windows `input_ids` (examples, length), again and again as its mixture moves.

    Only what a new mixture changes is run again. That takes the states of all windows in every block, (blocks + 1) ×
    components × width × 4 bytes for each token. All is run again when weights have changed; what changes a hybrid
    without its weights, such as hooks and flags of adapters, is not seen and needs new live losses. Raises
    `ManticoreError` for anything else than windows of ids.
    """

    def __init__(self, hybrid: Any, input_ids: Tensor, *, batch_size: int = 32):
        check_windows(input_ids)
        self.hybrid = hybrid
        self._batches = input_ids.split(batch_size)
        self._runs: list[SharedRun] = []
        self._seen: list | None = None

    def __call__(self) -> Tensor:
        """Each window's mean next-token loss at the present mixture, nats per token, float32 (examples,) on the CPU."""
        if (seen := self._fingerprint()) != self._seen:
            self._seen = seen
            self._runs = [SharedRun(self.hybrid, batch.to(self.hybrid.device)) for batch in self._batches]
        was_training = self.hybrid.training
        self.hybrid.eval()
        try:
            return torch.cat([losses_of_logits(run.logits(), run.input_ids).cpu() for run in self._runs])
        finally:
            self.hybrid.train(was_training)

    @torch.no_grad()
    def _fingerprint(self) -> list:
        """Where weights and buffers lie, and the norm of each: some optimisers write unseen by autograd."""
        mixture = self.hybrid.mixture.logits
        tensors = [t for t in (*self.hybrid.parameters(), *self.hybrid.buffers()) if t is not mixture]
        norms = torch.stack([torch.linalg.vector_norm(t.double()) for t in tensors])
        return [*(t.data_ptr() for t in tensors), *norms.tolist()]
