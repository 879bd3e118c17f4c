"""What a model is trained and judged on: for language, windows of text on three sides of a split.

- *Training windows*, in an order that the seed alone settles, so that it is the same for one process and for several.
- *Search windows*, which no weight is trained on: a bilevel search takes its mixture steps on them, and choices after
  a search are made on them.
- *Held-out windows*: losses are reported on them, and nothing is chosen by them.

Of the built-in text, the zoo's models have learned from the training documents. So search and held-out windows are both
from its held-out documents, which take turns to be one or the other.

`fit` asks no more of its data than `TrainingData` says, so other tasks bring their own.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from manticore_kit.errors import ManticoreError
from manticore_kit.tasks.language import builtin_text
from manticore_kit.tasks.language.evaluate import per_example_losses
from manticore_kit.tasks.language.own_text import windows_of
from manticore_kit.training.settings import DataSettings

IGNORED = -100  # the label that losses leave out, transformers' own


@dataclass(frozen=True)
class Judgement:
    """What a trained model came to on held-out examples.

    `losses` are per example (examples,), in nats per prediction, by kind of example; `scores` are further figures by
    name, such as accuracies.
    """

    losses: dict[str, NDArray]
    scores: dict[str, float]


class TrainingData(Protocol):
    """What `fit` asks of the data that it trains on."""

    def training_examples(self, count: int, seed: int) -> "Examples":
        """`count` examples in an order that the seed alone settles."""
        ...

    @property
    def search_examples(self) -> "Examples | None":
        """Examples that no weight learns from, for the mixture's own steps; None where there are none."""
        ...

    def measure(self, model: Any) -> dict[str, float]:
        """How well `model` does while it trains: its `loss`, and whatever else is followed."""
        ...

    def judge(self, model: Any) -> Judgement:
        """How well `model` does in the end."""
        ...


@dataclass(frozen=True)
class Text:
    """Windows of token ids, each (windows, length), by kind of text; `shares` say how kinds mix in training."""

    train: dict[str, Tensor]
    search: dict[str, Tensor]
    held_out: dict[str, Tensor]
    shares: dict[str, float]

    @cached_property
    def search_windows(self) -> Tensor:
        """The search windows of all kinds, (windows, length)."""
        return torch.cat(list(self.search.values()))

    @cached_property
    def held_out_windows(self) -> Tensor:
        """The held-out windows of all kinds, (windows, length)."""
        return torch.cat(list(self.held_out.values()))

    def training_windows(self, count: int, seed: int) -> Tensor:
        """`count` windows (count, length) in the order of `seed`, kinds mixed by their shares.

        No window comes again before all of its kind were there.
        """
        rng = np.random.default_rng(seed)
        kinds = list(self.shares)
        kind_of = rng.choice(len(kinds), size=count, p=[self.shares[kind] for kind in kinds])
        chosen = torch.empty(count, next(iter(self.train.values())).shape[1], dtype=torch.long)
        for number, kind in enumerate(kinds):
            places = np.flatnonzero(kind_of == number)
            chosen[torch.from_numpy(places)] = self.train[kind][in_passes(len(self.train[kind]), len(places), rng)]
        return chosen

    def training_examples(self, count: int, seed: int) -> "Examples":
        """`training_windows`, as a Trainer takes them."""
        return Examples(self.training_windows(count, seed))

    @property
    def search_examples(self) -> "Examples | None":
        """The search windows, None where there are none."""
        return Examples(self.search_windows) if len(self.search_windows) else None

    def measure(self, model: Any) -> dict[str, float]:
        """The mean loss on the held-out windows, in nats per token."""
        return {"loss": per_example_losses(model, self.held_out_windows).mean().item()}

    def judge(self, model: Any) -> Judgement:
        """The loss on each held-out window (windows,), nats per token, by kind of text."""
        losses = {kind: per_example_losses(model, windows) for kind, windows in self.held_out.items()}
        return Judgement({kind: values.double().numpy() for kind, values in losses.items()}, {})


class Examples(Dataset):
    """Windows (examples, length) as a Trainer takes them; `labels` of the same shape, the windows unless given.

    `order` (count,) are the examples by number in the order they come, each as often as it is named; left out, all of
    them once. Raises `ManticoreError` where there is nothing to learn: no examples, or no label that counts.
    """

    def __init__(self, input_ids: Tensor, labels: Tensor | None = None, order: Tensor | None = None):
        labels = input_ids if labels is None else labels
        if not isinstance(input_ids, Tensor) or input_ids.ndim != 2 or not len(input_ids):
            given = f"shape {tuple(input_ids.shape)}" if isinstance(input_ids, Tensor) else type(input_ids).__name__
            raise ManticoreError(
                f"the training set is empty or not made of windows ({given}): give token ids (examples, length) with "
                "at least one example."
            )
        if labels.shape != input_ids.shape:
            raise ManticoreError(
                f"labels have the shape {tuple(labels.shape)} and input_ids {tuple(input_ids.shape)}: a label belongs "
                f"to each token ({IGNORED} where none is wanted)."
            )
        check_labels(labels)
        self.input_ids, self.labels, self.order = input_ids, labels, order

    def __len__(self) -> int:
        return len(self.input_ids if self.order is None else self.order)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = index if self.order is None else self.order[index]
        return {"input_ids": self.input_ids[row], "labels": self.labels[row]}

    def tensors(self, name: str) -> dict[str, Tensor]:
        """All that these examples are made of, under names that begin with `name`."""
        parts = {name: self.input_ids}
        if self.labels is not self.input_ids:
            parts[f"{name} labels"] = self.labels
        if self.order is not None:
            parts[f"{name} order"] = self.order
        return parts


def check_labels(labels: Tensor) -> None:
    """Raises `ManticoreError` where no label counts: a token's label is read off the token before, the first never."""
    if not (labels[..., 1:] != IGNORED).any():
        raise ManticoreError(
            f"every label is {IGNORED} (or stands on a first token, which nothing predicts), so there is no loss. Give "
            "labels for the tokens to learn."
        )


def load_text(settings: DataSettings, tokenizer: Any) -> Text:
    """The windows that `settings` name, as `tokenizer` cuts them.

    Raises `ManticoreError` for files that cannot be read and for text too short for its split.
    """
    if settings.files is not None:
        return _own_text(settings, tokenizer)
    total = sum(settings.mix.values())
    shares = {kind: share / total for kind, share in settings.mix.items() if share > 0}
    train, search, held_out = {}, {}, {}
    for kind in shares:
        train[kind] = builtin_text.token_windows(tokenizer, kind, "train", length=settings.length)  # pyright: ignore[reportArgumentType]
    for turn, (split, count) in enumerate((("search", settings.search), ("held_out", settings.held_out))):
        for kind, share in _split_count(count, shares).items():
            windows = _every_other_document(tokenizer, kind, turn, settings.length)
            if share > len(windows):
                raise ManticoreError(
                    f"data.{split}={count} takes {share} windows of {settings.length} tokens from the built-in {kind}, "
                    f"which has {len(windows)} for it: ask for fewer or shorter windows."
                )
            places = np.linspace(0, len(windows) - 1, share).round().astype(np.int64)
            (search, held_out)[turn][kind] = windows[torch.from_numpy(places)]
    return Text(train, search, held_out, shares)


def _every_other_document(tokenizer: Any, kind: str, turn: int, length: int) -> Tensor:
    """Windows of every second of the built-in text's held-out documents, from number `turn` on."""
    documents = builtin_text.documents(kind, "held-out")[turn::2]  # pyright: ignore[reportArgumentType]
    encoded = tokenizer([document.text for document in documents], add_special_tokens=False, verbose=False)["input_ids"]
    stream = torch.tensor([token for ids in encoded for token in (*ids, tokenizer.eos_token_id)])
    return stream[: len(stream) // length * length].view(-1, length)


def _own_text(settings: DataSettings, tokenizer: Any) -> Text:
    """Files of one's own are one kind; their last windows are held out, and those before them kept for the search."""
    parts = []
    for name in settings.files or ():
        try:
            parts.append(Path(name).expanduser().read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ManticoreError(f"data.files: {name!r} cannot be read ({reason}). Name text files in UTF-8.") from None
    windows = windows_of("\n".join(parts), tokenizer, length=settings.length)
    rest = len(windows) - settings.search - settings.held_out
    if rest < 1:
        raise ManticoreError(
            f"data: the files have {len(windows)} windows of {settings.length} tokens, of which `held_out` takes "
            f"{settings.held_out} and `search` {settings.search}: give more text, or shorter or fewer windows."
        )
    train, search, held_out = windows.split([rest, settings.search, settings.held_out])
    return Text({"files": train}, {"files": search}, {"files": held_out}, {"files": 1.0})


def _split_count(count: int, shares: dict[str, float]) -> dict[str, int]:
    """`count` by `shares`, in whole numbers that add up to it."""
    edges = np.round(np.cumsum([0.0, *shares.values()]) * count).astype(int)
    return dict(zip(shares, np.diff(edges).tolist(), strict=True))


def in_passes(pool: int, count: int, rng: np.random.Generator) -> Tensor:
    """`count` numbers below `pool`: one random order after another."""
    orders = [rng.permutation(pool) for _ in range(-(-count // pool))]
    return torch.from_numpy(np.concatenate(orders)[:count] if orders else np.zeros(0, dtype=np.int64))
