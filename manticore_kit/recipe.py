"""What a hybrid is, as data.

A `Recipe` names the component models, where each is cut, how the pieces are joined and in which mixture. Widgets
edit one, notebooks and the command line take one, and a saved hybrid holds the one it was built from. It forbids
unknown keys, and what it says of a mistake names the field, the value and what would be accepted.
"""

import math
import reprlib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from manticore_kit.errors import ManticoreError
from manticore_kit.proxy_result import Programming
from manticore_kit.strict_data import Strict, StrictFile

# Rows typed by hand are rounded; anything further from 1 than this is a mistake and not a rounding.
ROW_SUM_TOLERANCE = 1e-3


class RecipeError(ManticoreError):
    """A recipe that cannot be used; the message lists every field at fault."""


class _Strict(Strict):
    error = RecipeError


class ComponentSpec(_Strict):
    """One component model of a hybrid."""

    model: str = Field(min_length=1, description="zoo name, hub id, folder, or architecture name with `config`")
    cuts: list[int] | None = Field(None, description="layers at which a new block starts; left out: equal split")
    config: dict[str, JsonValue] | None = Field(
        None, description="settings of the architecture; weights are then random"
    )
    trust_remote_code: bool = Field(False, description="run the Python code that comes with the model")

    @field_validator("cuts")
    @classmethod
    def _rising(cls, cuts: list[int] | None) -> list[int] | None:
        if cuts is not None and (any(c < 1 for c in cuts) or any(a >= b for a, b in pairwise(cuts))):
            raise ValueError("cuts must be layer numbers from 1 up, in rising order, each once, such as [2, 4]")
        return cuts


class ProjectorSpec(_Strict):
    """How states pass between blocks of different components."""

    kind: Literal["linear", "linear_skip", "low_rank", "two_layer"] = "linear"
    init: Literal["aligned", "identity", "random"] = "aligned"
    width: Annotated[int, Field(ge=1)] | None = Field(
        None, description="shared width; left out: the widest component's"
    )
    rank: Annotated[int, Field(ge=1)] | None = Field(
        None, description="of low_rank projectors; left out: an eighth of the shared width"
    )

    @model_validator(mode="after")
    def _rank_of_low_rank(self) -> Self:
        if self.rank is not None and self.kind != "low_rank":
            raise ValueError(
                f"rank is {self.rank}, but the kind is {self.kind!r}: only low_rank projectors have a rank"
            )
        return self


class Recipe(StrictFile):
    """A hybrid: components, cuts, projectors, ends, mixture and tokenizer."""

    error = RecipeError
    noun = "recipe"
    example = "that lists at least `components:`, such as {components: [{model: tiny-gptneo}, {model: tiny-mamba}]}"

    components: list[ComponentSpec] = Field(min_length=1)
    blocks: Annotated[int, Field(ge=1)] | None = Field(
        None, description="left out: as the mixture or the cuts say, else 2"
    )
    projector: ProjectorSpec = Field(default_factory=lambda: ProjectorSpec.model_validate({}))
    ends: Literal["own", "shared"] = "own"
    mixture: list[list[float]] | None = Field(
        None, description="a row per block, a weight per component; left out: uniform"
    )
    program: Programming | None = Field(
        None, description="in place of `mixture`: the rows that were found on proxy tasks"
    )
    tokenizer: str | None = Field(
        None, min_length=1, description="whose tokenizer; left out: the components' common one"
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="for random weights")

    @field_validator("mixture")
    @classmethod
    def _on_simplex(cls, rows: list[list[float]] | None) -> list[list[float]] | None:
        return rows if rows is None else check_rows(rows)

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if self.mixture is not None and self.program is not None:
            raise ValueError("both `mixture` and `program` say what the mixture is: leave one out")
        said = {f"components[{i}].cuts": len(c.cuts) + 1 for i, c in enumerate(self.components) if c.cuts is not None}
        if self.mixture is not None:
            said["mixture"] = len(self.mixture)
            if (wrong := len(self.mixture[0])) != len(self.components):
                raise ValueError(f"mixture rows have {wrong} weights, but there are {len(self.components)} components")
        if self.blocks is not None:
            said["blocks"] = self.blocks
        if len(set(said.values())) > 1:
            raise ValueError(
                "these disagree on the number of blocks: " + ", ".join(f"{k} says {v}" for k, v in said.items())
            )
        return self

    @property
    def num_blocks(self) -> int:
        """Number of blocks that the recipe asks for."""
        if self.blocks is not None:
            return self.blocks
        if self.mixture is not None:
            return len(self.mixture)
        if (cut := next((len(c.cuts) + 1 for c in self.components if c.cuts is not None), None)) is not None:
            return cut
        return 2 if self.program is None else self.program.result.blocks

    @property
    def rows(self) -> list[list[float]]:
        """The mixture: as it is written, as it was programmed, else uniform.

        Raises `ManticoreError` where it is programmed by a file that cannot be read.
        """
        if self.program is not None:
            return self.program.rows
        count = len(self.components)
        return self.mixture or [[1 / count] * count for _ in range(self.num_blocks)]

    @classmethod
    def from_yaml(cls, source: str | Path) -> Self:
        """What is in a YAML file or text; a MAD result that a file names by a relative path lies relative to it."""
        recipe = super().from_yaml(source)
        named = recipe.program
        if named is not None and not (isinstance(source, str) and "\n" in source):
            named.mad = str(Path(source).parent / Path(named.mad).expanduser())
        return recipe

    def plain(self) -> dict:
        """The recipe as `to_yaml` writes it, in plain Python."""
        data = super().plain()
        for component in data["components"]:
            if not component["trust_remote_code"]:
                del component["trust_remote_code"]
        return data


def check_rows(rows: Any, *, blocks: int | None = None, components: int | None = None) -> list[list[float]]:
    """Mixture `rows` as lists of floats that sum to 1.

    Raises `ValueError` with the row at fault for weights that are negative, not finite or do not sum to 1 (within
    0.001), and for the wrong number of rows or weights.
    """
    try:
        rows = [[float(x) for x in row] for row in rows]
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last: tensors without values
        raise ValueError(f"the mixture must be rows of numbers, but is {reprlib.repr(rows)}") from None
    if not rows:
        raise ValueError("the mixture needs a row for each block")
    if blocks is not None and len(rows) != blocks:
        raise ValueError(f"the mixture has {len(rows)} rows, but the hybrid has {blocks} blocks: give a row for each")
    width = components if components is not None else max(1, len(rows[0]))
    for number, row in enumerate(rows):
        where = f"mixture row {number} (block {number + 1}) is {reprlib.repr(row)}"
        if len(row) != width:
            raise ValueError(f"{where}: it has {len(row)} weights and needs {width}, one for each component")
        if not all(math.isfinite(x) for x in row):
            raise ValueError(f"{where}: weights must be finite numbers")
        if min(row) < 0:
            raise ValueError(f"{where}: weights must be 0 or more")
        if abs(sum(row) - 1) > ROW_SUM_TOLERANCE:
            raise ValueError(f"{where}: its sum is {sum(row):.6g} and must be 1")
    return rows
