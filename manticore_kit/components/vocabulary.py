"""Whether components read the same tokens, and how one is moved onto another's vocabulary.

Two models can share a hybrid when the same id means the same string in both. Padding a vocabulary (50,257 tokens
in a table of 50,304 rows) changes nothing; another tokenizer does. A component whose tokenizer differs from the
recipe's is *transplanted*: its embedding rows are rearranged so that it reads the recipe's ids.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from manticore_kit.errors import ManticoreError

SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id")
# What decoders write for bytes that are no whole character.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Rows of a table that are worked on together: few, since memory that is freed may not be reused for the next table.
ROWS_AT_A_TIME = 256


def same_vocabulary(a: PreTrainedTokenizerBase, b: PreTrainedTokenizerBase) -> bool:
    """Whether every token has the same id in both, and both cut text in the same places."""
    if a.get_vocab() != b.get_vocab():
        return False
    sample = "The mixture weights of block 12 sum to 1.\n\n    return [x ** 2 for x in rows]  # café"
    return a(sample)["input_ids"] == b(sample)["input_ids"]


def choose_tokenizer(
    names: list[str], tokenizers: list[PreTrainedTokenizerBase | None], chosen: PreTrainedTokenizerBase | None
) -> PreTrainedTokenizerBase | None:
    """The hybrid's tokenizer: the `chosen` one, or the components' common one.

    Raises `ManticoreError` where the components' tokenizers differ and none was chosen.
    """
    if chosen is not None:
        return chosen
    known = [(name, t) for name, t in zip(names, tokenizers, strict=True) if t is not None]
    if not known:
        return None
    first_name, first = known[0]
    for name, tokenizer in known[1:]:
        if not same_vocabulary(first, tokenizer):
            raise ManticoreError(
                f"{first_name} and {name} use different tokenizers ({len(first):,} and {len(tokenizer):,} tokens), so "
                f"an id means different strings to them. Choose one for the hybrid, e.g. `tokenizer: {first_name}` in "
                "the recipe; the embeddings of the other components are then transplanted onto it."
            )
    return first


def transplant(
    model: PreTrainedModel,
    own: PreTrainedTokenizerBase,
    target: PreTrainedTokenizerBase,
    rows: int | None = None,
) -> None:
    """Rearranges the embedding and head rows of `model` in place so that it reads the ids of `target`.

    A token that both vocabularies hold keeps its row, and so does one with the same role (the end of a text). Any
    other gets the mean of the rows of the pieces that the model's own tokenizer cuts its text into, or the mean of all
    rows where that gives none. `rows` is the new table size, at least what the ids of `target` need.
    """
    modules: Any = model  # embedding and head are typed as any module
    embedding, head = modules.get_input_embeddings(), modules.get_output_embeddings()
    sources = _sources(own, target, len(embedding.weight))
    sources += [[]] * ((rows or 0) - len(sources))
    embedding.weight.data = _mix_rows(embedding.weight, sources)
    if head is not None and head.weight is not embedding.weight:
        head.weight.data = _mix_rows(head.weight, sources)
    if head is not None and head.bias is not None:
        head.bias.data = _mix_rows(head.bias[:, None], sources)[:, 0]
    # The tables have their size already, so this adapts what the model and its configuration say of it, and no more.
    modules.resize_token_embeddings(len(sources), mean_resizing=False)
    _rename_special_tokens(model, embedding, target)


def _sources(own: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase, table: int) -> list[list[int]]:
    """For each id of `target`, the ids of `own` (below `table`) whose rows it is made of."""
    own_ids = {token: i for token, i in own.get_vocab().items() if i < table}
    vocabulary = target.get_vocab()
    sources: list[list[int]] = [[] for _ in range(max(vocabulary.values()) + 1)]
    roles = _shared_roles(own, target)
    by_text = {text: i for i in own_ids.values() if (text := _text(own, i))}
    for token, index in vocabulary.items():
        if token in own_ids:
            sources[index] = [own_ids[token]]
        elif index in roles:
            sources[index] = [roles[index]]
        elif text := _text(target, index):
            pieces = [by_text[text]] if text in by_text else own(text, add_special_tokens=False)["input_ids"]
            sources[index] = [piece for piece in pieces if piece < table]
    return sources


def _shared_roles(own: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase) -> dict[int, int]:
    pairs = [(getattr(target, name), getattr(own, name)) for name in SPECIAL_TOKENS]
    return {theirs: ours for theirs, ours in pairs if theirs is not None and ours is not None}


def _text(tokenizer: PreTrainedTokenizerBase, index: int) -> str:
    """What a token stands for in the middle of a text; nothing where that is no whole character.

    Decoders drop the space before a text's first word, so a token's text is what a second copy of it adds.
    """
    once, twice = str(tokenizer.decode([index])), str(tokenizer.decode([index, index]))
    text = twice[len(once) :]
    return "" if REPLACEMENT in text else text


def _rename_special_tokens(model: PreTrainedModel, embedding: Any, target: PreTrainedTokenizerBase) -> None:
    """Ids that the configuration names meant other strings before, and may lie outside of a smaller table."""
    config = model.config.get_text_config(decoder=True)
    for name in SPECIAL_TOKENS[:3]:
        for holder in (config, model.generation_config):
            if holder is not None:
                setattr(holder, name, getattr(target, name))
    if embedding.padding_idx is not None:
        embedding.padding_idx = target.pad_token_id


@torch.no_grad()
def _mix_rows(table: Tensor, sources: list[list[int]]) -> Tensor:
    """Row i of the result is the mean of the rows `sources[i]` of `table` (all rows where there is no source).

    It is worked out in float32, a few rows at a time: of a table's size there is nothing but the result.
    """
    mixed = table.new_empty(len(sources), table.shape[1])
    for first in range(0, len(sources), ROWS_AT_A_TIME):
        pieces = sources[first : first + ROWS_AT_A_TIME]
        ids = torch.tensor([i for group in pieces for i in group], dtype=torch.long)
        counts = torch.tensor([len(group) for group in pieces])
        owners = torch.arange(len(pieces)).repeat_interleave(counts)
        sums = torch.zeros(len(pieces), table.shape[1]).index_add_(0, owners, table[ids].float().cpu())
        mixed[first : first + ROWS_AT_A_TIME] = sums / counts.clamp(min=1)[:, None]
    if empty := [i for i, group in enumerate(sources) if not group]:
        parts = [part.cpu().double().sum(dim=0) for part in table.split(ROWS_AT_A_TIME)]
        mixed[empty] = (torch.stack(parts).sum(dim=0) / len(table)).to(mixed)
    return mixed
