"""Losses in units that others report: perplexity, and bits per byte, which models of different tokenizers share.

A loss in nats per token depends on how much text a token stands for. Bits per byte counts the same nats over the bytes
of the text that was predicted, so that a tokenizer of longer tokens gains nothing by them.
"""

import json
import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from manticore_kit.errors import ManticoreError
from manticore_kit.tasks.language.evaluate import check_windows


def perplexity(loss: float) -> float:
    """The perplexity of a mean loss in nats per token: e to its power, infinite where that is beyond a float."""
    with np.errstate(over="ignore"):
        return float(np.exp(np.float64(loss)))


def bits_per_byte(losses: ArrayLike, input_ids: Tensor, tokenizer) -> float:
    """The bits spent on each byte of the text of the windows `input_ids` (examples, length), all windows together.

    `losses` (examples,) are each window's mean next-token loss in nats per token, as `per_example_losses` gives them;
    their length − 1 predictions are counted over the bytes that `predicted_bytes` gives. Raises `ManticoreError` where
    losses and windows do not match, a loss is not finite, or the predicted tokens stand for no text.
    """
    losses = np.asarray(losses, dtype=np.float64)
    check_windows(input_ids)
    if losses.shape != (len(input_ids),) or not np.isfinite(losses).all():
        raise ManticoreError(
            f"losses of shape {losses.shape}, {np.count_nonzero(~np.isfinite(losses))} of them not finite, do not go "
            f"with {len(input_ids)} windows: give one mean loss for each window"
        )
    return bits_of_loss(float(losses.mean()), bytes_per_token(input_ids, tokenizer))


def bits_of_loss(loss: float, bytes_per_token: float) -> float:
    """The bits per byte of a mean loss in nats per token on text whose tokens have `bytes_per_token` bytes on average.

    It is `bits_per_byte` where that mean is over windows of one length. Raises `ManticoreError` unless there are bytes.
    """
    if not (math.isfinite(bytes_per_token) and bytes_per_token > 0):
        raise ManticoreError(
            f"bytes_per_token is {bytes_per_token}: give the bytes that a token stands for on average, such as "
            "`bytes_per_token(input_ids, tokenizer)`"
        )
    return loss / math.log(2) / bytes_per_token


def bytes_per_token(input_ids: Tensor, tokenizer) -> float:
    """The mean number of UTF-8 bytes of a predicted token in the windows `input_ids` (examples, length)."""
    counts = predicted_bytes(input_ids, tokenizer)
    if not counts.sum():
        raise ManticoreError(
            "the predicted tokens of these windows stand for no text, so there are no bytes to count bits over: give "
            "windows with more than special tokens"
        )
    return float(counts.sum() / (len(counts) * (input_ids.shape[1] - 1)))


def predicted_bytes(input_ids: Tensor, tokenizer) -> NDArray[np.integer]:
    """The UTF-8 bytes, (examples,), that all tokens of each window but the first, which none predicts, stand for.

    Exact for byte-level tokenizers, also where a window ends within a character. For others it is the size of the
    decoded window less that of its first token alone; there a character that a window's edge cuts counts as its
    replacement. Special tokens stand for no text: the bits spent on the end of a text are counted, without a byte of
    their own. Raises `ManticoreError` for anything else than windows of the tokenizer's ids.
    """
    check_windows(input_ids)
    windows = input_ids.cpu()
    if int(windows.max()) >= len(tokenizer) or int(windows.min()) < 0:
        raise ManticoreError(
            f"input_ids go from {int(windows.min())} to {int(windows.max())} and this tokenizer has {len(tokenizer)} "
            "tokens: give the tokenizer that the windows were cut with"
        )
    if not _is_byte_level(tokenizer):
        return np.array([_decoded(tokenizer, w) - _decoded(tokenizer, w[:1]) for w in windows.tolist()])
    ids, places = torch.unique(windows[:, 1:], return_inverse=True)
    sizes = torch.tensor([_size(tokenizer, token) for token in ids.tolist()])
    return sizes[places].sum(dim=1).numpy()


def _is_byte_level(tokenizer) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = json.loads(backend.to_str())["decoder"] if backend is not None else None
    return decoder is not None and decoder["type"] == "ByteLevel"


def _size(tokenizer, token: int) -> int:
    """The bytes of one token of a byte-level tokenizer, which writes every byte as one character."""
    added = tokenizer.added_tokens_decoder.get(token)  # these are written as they are
    if token in tokenizer.all_special_ids or (added is not None and added.special):
        return 0
    return len(tokenizer.convert_ids_to_tokens(token)) if added is None else len(added.content.encode())


def _decoded(tokenizer, ids: list[int]) -> int:
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return len(text.encode(errors="replace"))
