"""What the settings of all tasks share: a vocabulary, a length, and that there are rows with them.

Settings with which there are none are refused, and the message gives the smallest value that works.
"""

from typing import Literal, Self

import numpy as np
from pydantic import ConfigDict, model_validator

from manticore_kit.strict_data import Strict

Split = Literal["train", "validation", "test"]


class TaskSettings(Strict):
    """Settings of a task; they do not change, since rows were generated with them."""

    model_config = ConfigDict(frozen=True)

    vocab_size: int
    seq_len: int

    @property
    def answers(self) -> range:
        """The ids that can be a target in validation and test."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises `ValueError`, by `need` and `need_even`, where there are no rows with these settings."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _has_rows(self) -> Self:
        self.check()
        return self

    @property
    def token_type(self) -> np.dtype:
        """The smallest type that holds every id; rows are drawn in it, which is quicker than in int64."""
        return np.min_scalar_type(max(self.vocab_size - 1, 0))

    def plain(self) -> dict:
        """The settings in plain Python."""
        return self.model_dump()

    def need(self, name: str, least: int, why: str) -> None:
        """Raises `ValueError` with the reason where the setting `name` is below `least`."""
        if (value := getattr(self, name)) < least:
            raise ValueError(f"{name} is {value}, but {why}; the smallest value that works is {least}")

    def need_even(self, name: str, why: str) -> None:
        """Raises `ValueError` with the reason where the setting `name` is odd."""
        if (value := getattr(self, name)) % 2:
            raise ValueError(
                f"{name} is {value}, but {why}; the smallest value from there on that works is {value + 1}"
            )
