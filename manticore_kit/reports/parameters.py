"""A notebook's parameters: what its `parameters` cell declares, and whether given values fit.

The cell is an ordinary one, annotated so that a person and a program read the same thing:

    steps: int = 200  # optimiser steps

papermill only warns about unknown names and accepts any type, so names and types are checked here, before anything
runs. A comment that begins with choices, words with bars between them, says all the values that are accepted:

    preset: str = "laptop"  # smoke | laptop: little text, or more
"""

import ast
import difflib
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import papermill
import yaml
from pydantic import TypeAdapter, ValidationError

from manticore_kit.errors import ManticoreError

# What an annotation may be built from: the types that papermill writes back as Python source.
ANNOTATION_NAMES = {"int": int, "float": float, "bool": bool, "str": str, "list": list, "dict": dict}
_CHOICES = re.compile(r"[\w.-]+(?: \| [\w.-]+)+")


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's `parameters` cell."""

    name: str
    annotation: str
    default: str  # Python source, as the cell has it
    help: str

    @property
    def type(self) -> Any:
        """The annotation as a type."""
        try:
            return eval(self.annotation, {"__builtins__": {}}, ANNOTATION_NAMES)
        except (NameError, SyntaxError, TypeError) as error:
            raise ManticoreError(
                f"parameter {self.name} is annotated {self.annotation!r}; "
                f"annotate it with {', '.join(ANNOTATION_NAMES)}, or a list or dict of them such as list[int]"
            ) from error

    @property
    def default_value(self) -> Any:
        """The default as a value, or as its source where it is not a literal."""
        try:
            return ast.literal_eval(self.default)
        except (ValueError, SyntaxError):
            return self.default

    @property
    def choices(self) -> list[str]:
        """The accepted values of a text, where its comment begins with them; otherwise nothing."""
        listed = _CHOICES.match(self.help) if self.type is str else None
        return listed[0].split(" | ") if listed else []

    def __str__(self) -> str:
        text = f"{self.name}: {self.annotation} = {self.default}"
        return f"{text} ({self.help})" if self.help else text


def declared_parameters(notebook: Path | str) -> dict[str, Parameter]:
    """The parameters that `notebook` declares, by name, in the order of its cell; none if it has no such cell."""
    log = logging.getLogger("papermill")
    quiet, log.disabled = log.disabled, True  # a notebook without a parameters cell is none of papermill's worries
    try:
        declared = papermill.inspect_notebook(str(notebook))
    finally:
        log.disabled = quiet
    return {
        name: Parameter(name, found["inferred_type_name"], found["default"], found["help"])
        for name, found in declared.items()
    }


def parse_assignments(notebook: Path | str, assignments: Iterable[str]) -> dict[str, Any]:
    """The values in `["steps=5", "cuts=[2, 4]"]`, read as the types that `notebook` declares.

    Scalars are read as they stand, lists and dicts as YAML. Raises `ManticoreError` where an assignment has no `=`,
    names no parameter of the notebook or does not fit its type or choices.
    """
    declared = declared_parameters(notebook)
    values = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ManticoreError(f"{assignment!r} assigns nothing; write -p name=value, for example -p steps=100")
        if name not in declared:
            raise ManticoreError(_unknown(notebook, name, declared))
        values[name] = _read(notebook, declared[name], text)
    return values


def check_parameters(notebook: Path | str, given: Mapping[str, Any]) -> None:
    """Refuse, with `ManticoreError`, names that `notebook` does not declare, values of another type, other choices."""
    declared = declared_parameters(notebook)
    for name, value in given.items():
        if name not in declared:
            raise ManticoreError(_unknown(notebook, name, declared))
        try:
            TypeAdapter(declared[name].type).validate_python(value, strict=True)
        except ValidationError as error:
            raise ManticoreError(_misfit(notebook, declared[name], value, _why(error))) from error
        _check_choice(notebook, declared[name], value)


def _read(notebook: Path | str, parameter: Parameter, text: str) -> Any:
    adapter = TypeAdapter(parameter.type)
    try:
        if parameter.type in (int, float, bool, str):
            value = adapter.validate_strings(text)
        else:
            value = adapter.validate_python(yaml.safe_load(text))
    except (ValidationError, yaml.YAMLError) as error:
        raise ManticoreError(_misfit(notebook, parameter, text, _why(error))) from error
    _check_choice(notebook, parameter, value)
    return value


def _check_choice(notebook: Path | str, parameter: Parameter, value: Any) -> None:
    if parameter.choices and value not in parameter.choices:
        near = difflib.get_close_matches(value, parameter.choices, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ManticoreError(_misfit(notebook, parameter, value, f"it is none of {', '.join(parameter.choices)}{hint}"))


def _unknown(notebook: Path | str, name: str, declared: Mapping[str, Parameter]) -> str:
    near = difflib.get_close_matches(name, declared, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    takes = "; ".join(map(str, declared.values())) or "no parameters: it has no cell tagged `parameters`"
    return f"{Path(notebook).name} has no parameter {name!r}{hint}. It takes {takes}"


def _misfit(notebook: Path | str, parameter: Parameter, value: Any, why: str) -> str:
    return f"{Path(notebook).name}: {parameter.name}={value!r} is refused ({why}). It takes {parameter}"


def _why(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "this is not YAML"
    first = error.errors()[0]
    where = "".join(f"[{part!r}]" for part in first["loc"])
    return f"{where + ': ' if where else ''}{first['msg']}"
