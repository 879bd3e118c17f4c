"""Selective copying: repeat the contents of a row, in order, and leave out the blanks between them.

A row is contents among blanks, the copy token, and then blanks in whose places the contents are to be predicted. Each
blank stands before a content drawn for it, so the last content touches the copy token.
"""

import numpy as np

from manticore_kit.tasks.mad.settings import Split, TaskSettings
from manticore_kit.tasks.mad.targets import IGNORED, Ints, Tokens


class SelectiveCopyingSettings(TaskSettings):
    """Selective copying. The ids are contents, then the blank, then the copy token."""

    vocab_size: int = 16
    seq_len: int = 256
    num_tokens_to_copy: int = 16

    @property
    def blank(self) -> int:
        return self.vocab_size - 2

    @property
    def answers(self) -> range:
        return range(self.blank)

    def check(self) -> None:
        self.need("vocab_size", 3, "a content, the blank and the copy token need an id each")
        self.need("num_tokens_to_copy", 1, "there is something to copy")
        count = self.num_tokens_to_copy
        why = f"a row holds {count} tokens to copy, the copy token, and {count} places to copy them to"
        self.need("seq_len", 2 * count + 1, why)


def draw(settings: SelectiveCopyingSettings, _: Split, rng: np.random.Generator, count: int) -> Tokens:
    """Rows (count, seq_len), the same way for every split."""
    copies, blank = settings.num_tokens_to_copy, settings.blank
    copy_at = settings.seq_len - copies - 1
    contents = rng.integers(blank, size=(count, copies), dtype=settings.token_type)
    blanks_before = rng.multinomial(copy_at - copies, np.full(copies, 1 / copies), size=count)
    tokens = np.full((count, settings.seq_len), blank, dtype=settings.token_type)
    tokens[np.arange(count)[:, None], blanks_before.cumsum(axis=1) + np.arange(copies)] = contents
    tokens[:, copy_at] = settings.vocab_size - 1
    return tokens


def ask(settings: SelectiveCopyingSettings, _: Split, tokens: Tokens) -> tuple[Ints, Ints]:
    """Inputs and targets (rows, seq_len): the contents at the last positions, in every split."""
    targets = np.full(tokens.shape, IGNORED)
    targets[:, -settings.num_tokens_to_copy :] = tokens[tokens < settings.blank].reshape(len(tokens), -1)
    return tokens.astype(np.int64), targets
