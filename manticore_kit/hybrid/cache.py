"""The cache of a hybrid: one native cache per component, and a count of the tokens seen."""

from torch import Tensor
from transformers.cache_utils import Cache

from manticore_kit.errors import ManticoreError


class HybridCache(Cache):
    """Holds `caches[k]`, component k's own cache, and knows which blocks filled it.

    `gated` are the projectors' maps, gated once for all tokens of a generation: like the keys and values beside them
    they belong to the weights that the hybrid had when they were made.

    The layers of all caches are this cache's layers, so reordering for beams and repeating work on all at once. The
    length is counted here, since a component whose blocks do not run has none.
    """

    def __init__(self, caches: list[Cache]):
        super().__init__(layers=[layer for cache in caches for layer in cache.layers])
        self.caches = caches
        self.seen = 0
        self.gated: dict[tuple, tuple[Tensor, Tensor] | None] = {}
        self._running: tuple | None = None

    def extend(self, tokens: int, running: tuple) -> None:
        """Counts new tokens; `running` says which blocks of which component ran for them.

        Raises `ManticoreError` where other blocks ran before: they would miss the earlier tokens.
        """
        if self._running not in (None, running):
            raise ManticoreError(
                "The mixture changed while this cache was in use: blocks whose weight was 0 hold nothing of the "
                f"{self.seen} tokens seen. Start the generation again with a new cache."
            )
        self._running = running
        self.seen += tokens

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens seen."""
        return self.seen

    def crop(self, tokens_to_remove: int) -> None:
        """Forgets the last tokens, given as a negative number; drafts that were not accepted are taken back so."""
        super().crop(tokens_to_remove)
        self.seen -= abs(tokens_to_remove)

    def reset(self) -> None:
        """Empties every component's cache."""
        super().reset()
        self.seen, self._running = 0, None
        self.gated.clear()

    @property
    def is_compileable(self) -> bool:
        """Never: the layers' shapes grow."""
        return False
