"""English prose and Python code that every Python installation carries.

- *Prose*: the language reference in `pydoc_data.topics` and the longer docstrings of the standard library, one
  document per topic and per module. *Code*: the sources of the standard library, one document per module, without
  tests and generated tables. Both are © Python Software Foundation and contributors, under the PSF licence version 2
  (https://docs.python.org/3/license.html); nothing is copied into this package.
- A document is held out when a hash of its name says so, hence the same way on every version of Python. A module's
  source and its docstrings share that hash, so they fall on the same side.
- The reference repeats whole sections under several topics, and modules borrow from each other. So every paragraph
  that a held-out document contains is struck from the training documents of both kinds.
- The text differs between versions of Python; `fingerprint` says which one is at hand.
"""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch

from manticore_kit.errors import ManticoreError

Kind = Literal["prose", "code"]
Split = Literal["train", "held-out"]

HELD_OUT_SHARE = 0.08  # of the documents, in expectation
_SHORTEST_DOCSTRING = 12  # words; below that a docstring is a label rather than prose
_MOST_CHARACTERS_PER_TOKEN = 12  # on average over a window, for any usual vocabulary
_SHORTEST_PARAGRAPH = 80  # characters; shorter ones recur by coincidence and are left in the training text
_GENERATED = {"encodings", "pydoc_data", "html/entities.py", "stringprep.py"}
_TESTS = {"test", "tests", "idle_test"}


class Document(NamedTuple):
    """One text and the name that decides on which side of the split it falls."""

    name: str
    text: str


@cache
def documents(kind: Kind, split: Split) -> tuple[Document, ...]:
    """Return the documents of one kind on one side of the split, sorted by name.

    Held-out documents are whole; training documents lack the paragraphs that any held-out document contains.
    """
    _check("kind", kind, Kind)
    _check("split", split, Split)
    chosen = tuple(sorted(_read(kind, split)))
    if split == "held-out":
        return chosen
    seen = _held_out_paragraphs()
    struck = (Document(name, _without(text, seen)) for name, text in chosen)
    return tuple(document for document in struck if document.text.strip())


@cache
def fingerprint(kind: Kind, split: Split) -> str:
    """Return the SHA-256, in hexadecimal, of the names and texts that `documents` returns."""
    digest = hashlib.sha256()
    for name, text in documents(kind, split):
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def token_windows(
    tokenizer, kind: Kind, split: Split, *, length: int, count: int | None = None, seed: int = 0
) -> torch.Tensor:
    """Return windows of the built-in text as token ids, a LongTensor (count, length).

    The documents, each followed by the tokenizer's end-of-text token, make one stream that is cut into windows which
    do not overlap. Left out, `count` means all of them in order. Otherwise held-out windows are evenly spaced along the
    stream, and training windows are drawn without replacement by `seed`.

    Raises ManticoreError when there are fewer than `count` windows or the tokenizer has no end-of-text token.
    """
    stream = token_stream(tokenizer, kind, split)
    available = len(stream) // length
    if count is not None and not 0 < count <= available:
        raise ManticoreError(
            f"count={count}: the {split} {kind} of this Python has {available} windows of {length} tokens; "
            f"ask for 1 to {available}, or for shorter windows"
        )
    windows = stream[: available * length].view(available, length)
    if count is None:
        return windows.clone()
    if split == "held-out":
        picked = np.linspace(0, available - 1, count).round().astype(np.int64)
    else:
        picked = np.random.default_rng(seed).permutation(available)[:count]
    return windows[torch.from_numpy(picked)]


def held_out(tokenizer, kind: Kind, *, length: int = 128, count: int = 64) -> torch.Tensor:
    """Return the held-out windows on which the zoo's cards report their losses, a LongTensor (count, length)."""
    return token_windows(tokenizer, kind, "held-out", length=length, count=count)


def excerpts(tokenizer, kind: Kind, split: Split, *, length: int, count: int, seed: int = 0) -> torch.Tensor:
    """Return windows from random places of the built-in text, a LongTensor (count, length).

    Each begins at a line of a document drawn in proportion to its length. Only what is drawn is tokenised, so a few
    windows cost a fraction of a second where `token_windows` goes through the whole text.
    """
    texts = [text for _, text in documents(kind, split)]
    sizes = np.array([len(text) for text in texts], dtype=np.float64)
    generator = np.random.default_rng(seed)
    windows: list[list[int]] = []
    for _ in range(100 * count):
        text = texts[generator.choice(len(texts), p=sizes / sizes.sum())]
        start = text.find("\n", generator.integers(len(text))) + 1
        piece = text[start : start + length * _MOST_CHARACTERS_PER_TOKEN]
        ids = tokenizer(piece, add_special_tokens=False)["input_ids"]
        if start and len(ids) >= length:  # otherwise too near to the document's end
            windows.append(ids[:length])
        if len(windows) == count:
            return torch.tensor(windows)
    raise ManticoreError(f"length={length}: too few documents of the {split} {kind} have that many tokens")


@lru_cache(maxsize=8)
def token_stream(tokenizer, kind: Kind, split: Split) -> torch.Tensor:
    """Return all documents as one LongTensor (tokens,), each followed by the end-of-text token.

    The tensor is shared between calls: do not write to it.
    """
    if tokenizer.eos_token_id is None:
        raise ManticoreError(
            "this tokenizer has no end-of-text token to put between documents; set its eos_token to one of its own"
        )
    texts = [text for _, text in documents(kind, split)]
    encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return torch.from_numpy(np.concatenate([np.asarray([*ids, tokenizer.eos_token_id], np.int64) for ids in encoded]))


def _check(field: str, value: str, accepted) -> None:
    if value not in get_args(accepted):
        raise ManticoreError(f"{field}={value!r}: the built-in text has {' and '.join(map(repr, get_args(accepted)))}")


def _is_held_out(name: str) -> bool:
    """Decide by the name alone: its hash, read as a fraction of the hash's range."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) < HELD_OUT_SHARE * 2**64


def _read(kind: Kind, split: Split) -> Iterator[Document]:
    wanted = split == "held-out"
    for name, file in _modules():
        if _is_held_out(name) == wanted:
            source = file.read_text(encoding="utf-8")
            text = source if kind == "code" else _docstrings(source)
            if text.strip():
                yield Document(name, text)
    if kind == "prose":
        from pydoc_data.topics import topics

        for topic, text in topics.items():
            name = f"pydoc_data.topics/{topic}"
            if _is_held_out(name) == wanted:
                yield Document(name, text)


@cache
def _modules() -> tuple[tuple[str, Path], ...]:
    """Return (name, file) of every standard library module that a person wrote."""
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for file in sorted(root.rglob("*.py")):
        relative = file.relative_to(root)
        top, name = relative.parts[0].removesuffix(".py"), relative.as_posix()
        # Distributions put packages and settings of their own into this folder; the interpreter's list leaves them out.
        foreign = top not in sys.stdlib_module_names or "site-packages" in relative.parts
        if not (foreign or top in _GENERATED or name in _GENERATED or _TESTS & set(relative.parts)):
            found.append((name, file))
    return tuple(found)


def _docstrings(source: str) -> str:
    """Return the docstrings that are long enough to be prose, in the order of the source."""
    tree = ast.parse(source)
    owners = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    owners.sort(key=lambda node: getattr(node, "lineno", 0))
    texts = (ast.get_docstring(node) for node in owners)
    return "\n\n".join(text for text in texts if text and len(text.split()) >= _SHORTEST_DOCSTRING) + "\n"


def _paragraphs(text: str) -> list[str]:
    """Split at blank lines; "\\n\\n".join gives the text back, up to spaces on the blank lines."""
    lines = [line if line.strip() else "" for line in text.split("\n")]
    return "\n".join(lines).split("\n\n")


def _normal(paragraph: str) -> str:
    """Forget the indentation: a docstring has another one in the source than on its own."""
    return " ".join(paragraph.split())


@cache
def _held_out_paragraphs() -> frozenset[str]:
    both = (*documents("prose", "held-out"), *documents("code", "held-out"))
    normal = (_normal(paragraph) for document in both for paragraph in _paragraphs(document.text))
    return frozenset(text for text in normal if len(text) >= _SHORTEST_PARAGRAPH)


def _without(text: str, seen: frozenset[str]) -> str:
    return "\n\n".join(paragraph for paragraph in _paragraphs(text) if _normal(paragraph) not in seen)
