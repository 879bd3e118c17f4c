"""How many of the targets were predicted: over all of them, and over each class in turn."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from manticore_kit.errors import ManticoreError
from manticore_kit.tasks.mad.targets import IGNORED


@dataclass(frozen=True)
class Accuracy:
    """Shares of targets that were predicted.

    `micro` is the share of all targets; `macro` the mean, over the classes that occur among the targets, of the share
    of each class. A class that is only predicted does not count, though the published MAD harness counts it as 0.
    """

    micro: float
    macro: float


def accuracy(predictions: ArrayLike, targets: ArrayLike) -> Accuracy:
    """Return the accuracy of `predictions`, ids of the same shape as `targets`; targets of −100 are left out.

    Raises `ManticoreError` where the two are not ids of equal shape, and where nothing is asked.
    """
    predicted, wanted = (_ids(name, ids) for name, ids in (("predictions", predictions), ("targets", targets)))
    if predicted.shape != wanted.shape:
        raise ManticoreError(
            f"predictions of shape {predicted.shape} do not fit targets of shape {wanted.shape}: give one for each."
        )
    asked = wanted != IGNORED
    classes, right = wanted[asked], (predicted == wanted)[asked]
    if not len(classes):
        raise ManticoreError(f"every target is {IGNORED}, so there is nothing to predict: give targets that ask.")
    if (least := classes.min()) < 0:
        raise ManticoreError(f"targets hold {least}: an id is 0 or more, and {IGNORED} alone asks for nothing.")
    occur = np.bincount(classes)
    hits = np.bincount(classes, weights=right)
    return Accuracy(micro=float(right.mean()), macro=float((hits[occur > 0] / occur[occur > 0]).mean()))


def _ids(name: str, values: ArrayLike) -> np.ndarray:
    ids = np.asarray(values)
    if not np.issubdtype(ids.dtype, np.integer):
        raise ManticoreError(f"{name} are of type {ids.dtype}; give ids, which are integers (the argmax of logits).")
    return ids
