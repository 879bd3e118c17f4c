"""What a hybrid is, as data.

A `Recipe` names the component models, where each is cut, how the pieces are joined and in which mixture. Widgets
edit one, notebooks and the command line take one, and a saved hybrid holds the one it was built from. It forbids
unknown keys, and what it says of a mistake names the field, the value and what would be accepted.
"""

import difflib
import math
import reprlib
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from manticore_kit.errors import ManticoreError

# Rows typed by hand are rounded; anything further from 1 than this is a mistake and not a rounding.
ROW_SUM_TOLERANCE = 1e-3


class RecipeError(ManticoreError):
    """A recipe that cannot be used; the message lists every field at fault."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    def __setattr__(self, name: str, value: Any) -> None:
        # pydantic keeps a value that a validator of the whole model refuses; here a refused edit changes nothing.
        before, was_set = dict(self.__dict__), set(self.model_fields_set)
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            vars(self).update(before)
            self.model_fields_set.intersection_update(was_set)
            raise RecipeError(_explain(error, type(self).__name__)) from None


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

    kind: Literal["linear"] = "linear"
    init: Literal["aligned", "identity", "random"] = "aligned"
    width: Annotated[int, Field(ge=1)] | None = Field(
        None, description="shared width; left out: the widest component's"
    )


class Recipe(_Strict):
    """A hybrid: components, cuts, projectors, ends, mixture and tokenizer."""

    components: list[ComponentSpec] = Field(min_length=1)
    blocks: Annotated[int, Field(ge=1)] | None = Field(
        None, description="left out: as the mixture or the cuts say, else 2"
    )
    projector: ProjectorSpec = Field(default_factory=lambda: ProjectorSpec.model_validate({}))
    ends: Literal["own", "shared"] = "own"
    mixture: list[list[float]] | None = Field(
        None, description="a row per block, a weight per component; left out: uniform"
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
        return next((len(c.cuts) + 1 for c in self.components if c.cuts is not None), 2)

    @property
    def rows(self) -> list[list[float]]:
        """The mixture, uniform where the recipe leaves it out."""
        count = len(self.components)
        return self.mixture or [[1 / count] * count for _ in range(self.num_blocks)]

    # ------------------------------------------------------------------------------------------------- as YAML

    @classmethod
    def parse(cls, data: Any, where: str = "recipe") -> "Recipe":
        """The recipe in plain `data`; raises `RecipeError` that lists every field at fault."""
        if not isinstance(data, dict):
            given = "empty" if data is None else f"of type {type(data).__name__}"
            raise RecipeError(
                f"{where}: this is {given}, and a recipe is a mapping that lists at least `components:`, such as "
                "{components: [{model: tiny-gptneo}, {model: tiny-mamba}]}."
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise RecipeError(_explain(error, where)) from None

    @classmethod
    def from_yaml(cls, source: str | Path) -> "Recipe":
        """The recipe in a YAML file (a path) or in YAML text (a string with a line break)."""
        is_text = isinstance(source, str) and "\n" in source
        if not isinstance(source, str | Path) or not str(source):
            raise RecipeError(f"A recipe is read from the path of a YAML file or from YAML text, not from {source!r}.")
        where = "recipe" if is_text else str(source)
        try:
            # A byte-order mark is no part of the text.
            text = str(source) if is_text else Path(source).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:  # the latter: bytes that are no text, a null in the path
            reason = getattr(error, "strerror", None) or error
            raise RecipeError(
                f"{reprlib.repr(where)} cannot be read ({reason}). Name a YAML file that holds a recipe, or give the "
                "recipe's text, which has more than one line."
            ) from None
        try:
            data = yaml.load(text, Loader=_Loader)
        except Exception as error:  # a scalar that its tag does not fit raises whatever Python raises for it
            reason = " ".join(str(error).split()) or type(error).__name__
            raise RecipeError(f"{where}: is not plain YAML, and a recipe is nothing else: {reason}") from None
        return cls.parse(data, where)

    def to_yaml(self, path: str | Path | None = None) -> str:
        """The recipe as YAML text, also written to `path` where one is given; what is left out stays left out."""
        data = self.model_dump(exclude_none=True, exclude_defaults=False)
        for component in data["components"]:
            if not component["trust_remote_code"]:
                del component["trust_remote_code"]
        text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text


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


class _Loader(yaml.SafeLoader):
    """Plain values only, as every safe loader; a key that is there twice is an error and not silently the second."""

    def construct_mapping(self, node, deep=False):
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if repeated := [key for key, count in counts.items() if count > 1]:
            problem = f"the key {repeated[0]!r} is there twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes short lists of numbers on one line, as people do."""


def _represent_list(dumper: yaml.SafeDumper, values: list):
    flat = all(isinstance(v, int | float) for v in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=flat)


def _represent_str(dumper: yaml.SafeDumper, value: str):
    # Unicode's own line breaks come back as others unless they are escaped.
    style = '"' if {"\x85", "\u2028", "\u2029"} & set(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_str)


def _explain(error: ValidationError, where: str) -> str:
    lines = []
    for item in error.errors():
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in item["loc"]).lstrip(".")
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = _fields_at(item["loc"][:-1])
            near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            message = f"unknown key; {hint}known keys are {', '.join(known)}"
        elif item["type"] not in {"missing", "value_error"}:
            if item["type"] == "model_type":
                message = f"must be a mapping with keys among {', '.join(_fields_at(item['loc']))}"
            message = f"{message} (given: {reprlib.repr(item['input'])})"
        lines.append(f"{place}: {message}" if place else message)
    return f"{where}: " + "; ".join(lines)


def _fields_at(location: tuple) -> list[str]:
    for part, spec in (("components", ComponentSpec), ("projector", ProjectorSpec)):
        if location and location[0] == part:
            return list(spec.model_fields)
    return list(Recipe.model_fields)
