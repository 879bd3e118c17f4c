"""How decided a mixture is, and whether a search has settled: entropy, distance from one-hot, and how far it moved.

Distances between rows of weights are total variation, ½ Σ_k |a_k − b_k|: from 0 to 1, and the share of weight that
would have to change hands.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr
from torch import Tensor

from manticore_kit.analysis.mixtures import check_mixtures
from manticore_kit.errors import ManticoreError


@dataclass(frozen=True, eq=False)
class MixtureDiagnostics:
    """Numbers about each block's row, all (blocks,); of a trajectory the first three are about its last time.

    The last two are None for a mixture that has no past.
    """

    entropy: NDArray  # nats: 0 for one-hot, log K for uniform rows of K components
    normalised_entropy: NDArray  # entropy / log K, from 0 to 1; 0 for a single component
    edge: NDArray  # total variation to the nearest one-hot row, which is 1 − the largest weight
    path_length: NDArray | None  # total variation added up over all steps
    last_tenth: NDArray | None  # furthest that the row was from its last value during the last tenth of the times

    def rows(self) -> list[dict[str, Any]]:
        """One row per block, counted from 1, for `manticore_kit.figures.Table`."""
        columns: dict[str, NDArray | None] = {
            "entropy, nats": self.entropy,
            "entropy, 0 to 1": self.normalised_entropy,
            "from one-hot": self.edge,
            "path length": self.path_length,
            "moved in last tenth": self.last_tenth,
        }
        known = {name: values for name, values in columns.items() if values is not None}
        return [
            {"block": block + 1, **{name: float(values[block]) for name, values in known.items()}}
            for block in range(len(self.entropy))
        ]


def diagnose_mixture(mixture: ArrayLike | Tensor) -> MixtureDiagnostics:
    """Diagnostics of a mixture (blocks, components), or of a trajectory of mixtures (times, blocks, components).

    Times are taken as equally spaced. A trajectory of one time has no past yet and counts as a mixture. Raises
    `ManticoreError` for another shape and for rows off the simplex.
    """
    array = _array(mixture)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ManticoreError(
            f"the mixture has the shape {array.shape}: give (blocks, components), or (times, blocks, components) for a "
            "trajectory"
        )
    times = check_mixtures(
        array if array.ndim == 3 else array[None], blocks=array.shape[-2], components=array.shape[-1]
    )
    last, components = times[-1], times.shape[-1]
    entropy = entr(last).sum(axis=-1)
    normalised = np.clip(entropy / np.log(components), 0, 1) if components > 1 else np.zeros_like(entropy)
    edge = 1 - last.max(axis=-1)
    if len(times) == 1:
        return MixtureDiagnostics(entropy, normalised, edge, None, None)
    path_length = _total_variation(times[1:], times[:-1]).sum(axis=0)
    # The last tenth begins at 0.9 of the way from the first time to the last, in whole numbers.
    late = times[9 * (len(times) - 1) // 10 :]
    return MixtureDiagnostics(entropy, normalised, edge, path_length, _total_variation(late, last).max(axis=0))


def _total_variation(rows: NDArray, others: NDArray) -> NDArray:
    return np.abs(rows - others).sum(axis=-1) / 2


def _array(mixture: ArrayLike | Tensor) -> NDArray:
    if isinstance(mixture, Tensor):
        return mixture.detach().cpu().double().numpy()
    try:
        return np.asarray(mixture, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ManticoreError(
            f"the mixture must be rows of numbers, each as long as the others, but is {type(mixture).__name__}: {error}"
        ) from error
