"""One batch under many mixtures: what two mixtures have in common is computed once.

A block's result depends on the rows up to its own. So mixtures that agree in their first rows share the blocks of
these rows, and with `ends: own` the first block is the same under every mixture, since each component reads its own
embedding there. Kept is the latest result of each block, which suits mixtures in an order where neighbours share rows.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from manticore_kit.components.replay import Start
from manticore_kit.hybrid.inputs import check_ids


class SharedRun:
    """Logits of one batch `input_ids` (batch, length) by `hybrid`, again and again as its mixture moves.

    Everything else about the hybrid must stay as it is, which is not checked.
    """

    def __init__(self, hybrid, input_ids: Tensor):
        self.hybrid, self.input_ids = hybrid, input_ids
        self._starts: dict[int, Start] = {}
        self._kept: dict[tuple, tuple[tuple, Tensor]] = {}

    @torch.inference_mode()
    def logits(self) -> Tensor:
        """(batch, length, vocabulary) under the hybrid's present mixture, as a forward without a cache gives them.

        The hybrid must be in evaluation mode. Raises `ManticoreError` for ids that a running component does not know.
        """
        hybrid, layout = self.hybrid, self.hybrid._layout
        weights, rows = hybrid.mixture.weights, hybrid.mixture.weights.tolist()
        parts = [hybrid.component(k) for k in range(hybrid.num_components)]
        running = [k for k in range(len(parts)) if any(row[k] for row in rows)]
        hybrid.check_length(self.input_ids.shape[1], running)
        for k in running:
            if k not in self._starts:
                check_ids(self.input_ids, {layout.names[k]: layout.vocabularies[k]})
                self._starts[k] = parts[k].start(self.input_ids)
        starts = {k: self._starts[k] for k in running}

        shared = layout.shared_ends
        state = hybrid._shared_embedding(starts, weights, rows) if shared else None
        left: dict[int, Tensor] = {}
        for n in layout.blocks:
            before = tuple(map(tuple, rows[: max(n, shared)]))
            left = {}
            for k in (k for k in running if rows[n][k]):
                gate = rows[n][k] if n or shared else None

                def run(n=n, k=k, state=state) -> Tensor:
                    return hybrid._block(n, state, parts, {k: starts[k]}, weights, rows, None)[k]

                left[k] = self._once(("left", n, k), (before, gate), run)
            if shared or n < layout.blocks[-1]:

                def join(n=n, left=left) -> Tensor:
                    return hybrid._join(n, left, weights, rows, None)

                state = self._once(("state", n), (*before[:n], tuple(rows[n])), join)
        return hybrid._logits(parts, state, {} if shared else left, weights, rows, 0)

    def _once(self, place: tuple, key: tuple, make: Callable[[], Tensor]) -> Tensor:
        if place not in self._kept or self._kept[place][0] != key:
            self._kept[place] = (key, make())
        return self._kept[place][1]
