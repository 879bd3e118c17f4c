"""The six synthetic tasks of MAD, mechanistic architecture design (Poli et al. 2024, arXiv 2403.17844), in numpy.

    from manticore_kit.tasks import mad
    train, test = (mad.generate("in-context-recall", split) for split in ("train", "test"))
    mad.accuracy(predictions, test.targets)     # predictions: ids of the shape of test.targets
    mad.reference_points(train, test)           # what guessing gets, and what can be had at most

Each task has a file with its settings, how its rows are drawn, and what is asked of a model that reads them.
"""

from manticore_kit.tasks.mad.catalogue import TASKS, difficulty_sweep, settings_of
from manticore_kit.tasks.mad.generation import Rows, generate
from manticore_kit.tasks.mad.references import reference_points
from manticore_kit.tasks.mad.scoring import Accuracy, accuracy
from manticore_kit.tasks.mad.targets import IGNORED

__all__ = [
    "IGNORED",
    "TASKS",
    "Accuracy",
    "Rows",
    "accuracy",
    "difficulty_sweep",
    "generate",
    "reference_points",
    "settings_of",
]
