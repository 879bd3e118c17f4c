"""Data that people write as YAML: nothing unknown is accepted, and a mistake is named with its field and value.

`Strict` is a part of such data, `StrictFile` a whole that is read from and written to a file.
"""

import difflib
import reprlib
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from manticore_kit.errors import ManticoreError


class Strict(BaseModel):
    """Data that forbids unknown keys and checks every later edit; `error` is what a refused edit raises."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)
    error: ClassVar[type[ManticoreError]] = ManticoreError

    def __setattr__(self, name: str, value: Any) -> None:
        # pydantic keeps a value that a validator of the whole model refuses; here a refused edit changes nothing.
        before, was_set = dict(self.__dict__), set(self.model_fields_set)
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            vars(self).update(before)
            self.model_fields_set.intersection_update(was_set)
            raise self.error(explain(error, type(self), type(self).__name__)) from None


class StrictFile(Strict):
    """Data with a file of its own. `noun` is what it is called, `example` goes on from "is a mapping"."""

    noun: ClassVar[str] = "file"
    example: ClassVar[str] = "of names to values"

    @classmethod
    def parse(cls, data: Any, where: str | None = None) -> Self:
        """What plain `data` holds; raises `error` that lists every field at fault, and begins with `where`."""
        where = where or cls.noun
        if not isinstance(data, dict):
            given = "empty" if data is None else f"of type {type(data).__name__}"
            raise cls.error(f"{where}: this is {given}, and a {cls.noun} is a mapping {cls.example}.")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise cls.error(explain(error, cls, where)) from None

    @classmethod
    def from_yaml(cls, source: str | Path) -> Self:
        """What is in a YAML file (a path) or in YAML text (a string with a line break)."""
        is_text = isinstance(source, str) and "\n" in source
        if not isinstance(source, str | Path) or not str(source):
            raise cls.error(
                f"A {cls.noun} is read from the path of a YAML file or from YAML text, not from {source!r}."
            )
        where = cls.noun if is_text else str(source)
        try:
            # A byte-order mark is no part of the text.
            text = str(source) if is_text else Path(source).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:  # the latter: bytes that are no text, a null in the path
            reason = getattr(error, "strerror", None) or error
            raise cls.error(
                f"{reprlib.repr(where)} cannot be read ({reason}). Name a YAML file that holds a {cls.noun}, or give "
                f"the {cls.noun}'s text, which has more than one line."
            ) from None
        try:
            data = yaml.load(text, Loader=_Loader)
        except Exception as error:  # a scalar that its tag does not fit raises whatever Python raises for it
            reason = " ".join(str(error).split()) or type(error).__name__
            raise cls.error(f"{where}: is not plain YAML, and a {cls.noun} is nothing else: {reason}") from None
        return cls.parse(data, where)

    def to_yaml(self, path: str | Path | None = None) -> str:
        """The data as YAML text, also written to `path` where one is given; what is left out stays left out."""
        text = yaml.dump(self.plain(), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def plain(self) -> dict:
        """The data as `to_yaml` writes it, in plain Python."""
        return self.model_dump(exclude_none=True)


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


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """Every field at fault in one line that begins with `where`: the field, the value and what would be accepted."""
    lines = []
    for item in error.errors():
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in item["loc"]).lstrip(".")
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = _fields_at(model, item["loc"][:-1])
            near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            message = f"unknown key; {hint}known keys are {', '.join(known)}"
        elif item["type"] not in {"missing", "value_error"}:
            if item["type"] == "model_type":
                message = f"must be a mapping with keys among {', '.join(_fields_at(model, item['loc']))}"
            message = f"{message} (given: {reprlib.repr(item['input'])})"
        lines.append(f"{place}: {message}" if place else message)
    return f"{where}: " + "; ".join(lines)


def _fields_at(model: type[BaseModel], location: tuple) -> list[str]:
    for part in location:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        model = (_model_in(field.annotation) if field else None) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as `list[Model] | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
