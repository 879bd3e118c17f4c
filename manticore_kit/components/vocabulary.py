"""Whether components read the same tokens, and how one is moved onto another's vocabulary.

Two models can share a hybrid when the same id means the same string in both. Padding a vocabulary (50,257 tokens
in a table of 50,304 rows) changes nothing; another tokenizer does. A component whose tokenizer differs from the
recipe's is *transplanted*: its embedding rows are rearranged so that it reads the recipe's ids.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from manticore_kit.errors import ManticoreError


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

    A token string that both vocabularies hold keeps its row; any other gets the mean of the rows of the pieces that
    the model's own tokenizer cuts the string into (the mean of all rows where it gives none). `rows` is the new
    table size, at least `len(target)`.
    """
    rows = max(rows or 0, len(target))
    own_ids = own.get_vocab()
    sources: list[list[int]] = [[] for _ in range(rows)]
    for token, index in target.get_vocab().items():
        if token in own_ids:
            sources[index] = [own_ids[token]]
        else:
            sources[index] = own(target.decode([index]), add_special_tokens=False)["input_ids"]
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is not None and head.weight is embedding.weight
    new_embedding = _mix_rows(embedding.weight, sources)
    new_head = None if tied or head is None else _mix_rows(head.weight, sources)
    new_bias = None if head is None or head.bias is None else _mix_rows(head.bias[:, None], sources)[:, 0]
    model.resize_token_embeddings(rows, mean_resizing=False)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    with torch.no_grad():
        embedding.weight.copy_(new_embedding)
        if new_head is not None:
            head.weight.copy_(new_head)
        if new_bias is not None:
            head.bias.copy_(new_bias)


def _mix_rows(table: Tensor, sources: list[list[int]]) -> Tensor:
    """Row i of the result is the mean of the rows `sources[i]` of `table` (all rows where there is no source)."""
    ids = [i for pieces in sources for i in pieces]
    offsets = torch.tensor([0, *(len(p) for p in sources[:-1])]).cumsum(0)
    mixed = nn.functional.embedding_bag(
        torch.tensor(ids, dtype=torch.long), table.detach().float().cpu(), offsets, mode="mean"
    )
    empty = torch.tensor([not p for p in sources])
    mixed[empty] = table.detach().float().cpu().mean(dim=0)
    return mixed.to(table)
