"""Language modelling: text that is always at hand, text of one's own, and the loss on it."""

from manticore_kit.tasks.language.evaluate import per_example_losses
from manticore_kit.tasks.language.own_text import windows_of

__all__ = ["per_example_losses", "windows_of"]
