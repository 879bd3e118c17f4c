"""The ensemble of whole models: each predicts by itself, and only their predictions are mixed.

It costs what a hybrid of the same models costs and joins nothing inside, so a hybrid has to beat it to be worth its
projectors. Two kinds are usual. *Probabilities*: p = Σ_k w_k · softmax(logits_k), which is never worse than the
weighted mean of the models' own losses. *Logits*: softmax(Σ_k w_k · logits_k), the normalised geometric mean of the
models' probabilities, which is a hybrid of one block.

Source: arXiv 2406.00894, section 4 (baselines).
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from manticore_kit.analysis.mixtures import simplex_lattice
from manticore_kit.components.loading import Loaded
from manticore_kit.components.vocabulary import same_vocabulary
from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid.modeling import NO_LOGIT
from manticore_kit.hybrid.weighted_sum import weighted_sum
from manticore_kit.recipe import check_rows
from manticore_kit.tasks.language.evaluate import check_windows, losses_of_logits

Kind = Literal["probabilities", "logits"]


def ensemble_losses(
    models: Sequence[PreTrainedModel | Loaded],
    input_ids: Tensor,
    *,
    of: Kind,
    weights: Sequence[float] | Tensor | None = None,
    batch_size: int = 32,
) -> Tensor:
    """Each window's mean next-token loss under the ensemble, nats per token, float32 (examples,) on the CPU.

    `models` are causal language models that read the same ids, or what `manticore_kit.components.load` gives, whose
    tokenizers are then compared; padded vocabularies may differ in size, and an id that a model lacks has the
    probability 0 there. `input_ids` is (examples, length); `weights`, one per model with sum 1, are uniform unless
    given, and a model of weight 0 does not run. An ensemble of logits holds the logits of all models for one batch.
    Raises `ManticoreError` for models, weights or windows that cannot be used, and where a model gives NaN.
    """
    row = [1 / max(1, len(models))] * len(models) if weights is None else _checked(weights, len(models))
    return _losses(models, input_ids, of, torch.tensor([row], dtype=torch.float64), batch_size)[0]


def choose_weight(
    models: Sequence[PreTrainedModel | Loaded], windows: Tensor, of: Kind, *, points: int = 11, batch_size: int = 32
) -> list[float]:
    """The weights, one per model, whose ensemble has the lowest mean loss on `windows` (examples, length).

    Tried are all weights that are multiples of 1 / (points − 1), the models alone among them; of equal ones the one
    with more on earlier models. Each model runs once for each batch. What is reported must be measured on other
    windows than these. Raises `ManticoreError` as `ensemble_losses` does, and for fewer than two points.
    """
    if points < 2:
        raise ManticoreError(f"points is {points}: a grid of weights needs at least 2, one for each end")
    grid = torch.from_numpy(simplex_lattice(len(models), points)) if models else torch.empty(0, 0)
    means = _losses(models, windows, of, grid, batch_size).double().mean(dim=1)
    return grid[means.argmin()].tolist()


@torch.inference_mode()
def _losses(models: Sequence[Any], input_ids: Tensor, of: Kind, grid: Tensor, batch_size: int) -> Tensor:
    """Losses (weightings, examples) of the ensembles with the weights `grid` (weightings, models)."""
    if of not in ("probabilities", "logits"):
        raise ManticoreError(f'of is {of!r}: an ensemble is one of "probabilities" or of "logits"')
    loaded = _same_ids(models, input_ids)
    running = [k for k in range(len(loaded)) if grid[:, k].any()]
    mix = _of_probabilities if of == "probabilities" else _of_logits
    with _evaluating([loaded[k] for k in running]):
        batches = [mix({k: loaded[k] for k in running}, batch, grid) for batch in input_ids.split(batch_size)]
    return torch.cat(batches, dim=1)


def _of_probabilities(models: dict[int, Any], batch: Tensor, grid: Tensor) -> Tensor:
    # The loss needs the probability of the token that came, and no other: log p = logsumexp(log w_k + log p_k).
    tokens = []
    for k, model in models.items():
        losses = _token_losses(_logits(model, batch), batch)
        if losses.isnan().any():
            raise _not_a_number(k, model)
        tokens.append(losses)
    log_weights = grid[:, list(models)].log()
    mixed = [-torch.logsumexp(row[:, None, None] - torch.stack(tokens), dim=0).mean(dim=1) for row in log_weights]
    return torch.stack(mixed).float()


def _of_logits(models: dict[int, Any], batch: Tensor, grid: Tensor) -> Tensor:
    device = next(iter(models.values())).device
    ids = batch.to(device)
    terms = {k: _logits(model, batch).to(device) for k, model in models.items()}
    mixed = []
    for row in grid.float():
        used = [k for k in terms if row[k]]
        total = weighted_sum([terms[k] for k in used], list(row[used].to(device)), missing=NO_LOGIT)
        mixed.append(losses_of_logits(total, ids).cpu())
    losses = torch.stack(mixed)
    if losses.isnan().any():
        guilty = next((k for k, term in terms.items() if _token_losses(term, batch).isnan().any()), None)
        if guilty is not None:
            raise _not_a_number(guilty, models[guilty])
        raise ManticoreError("the weighted sum of the models' logits is not a number: their logits are infinite")
    return losses


def _logits(model: Any, batch: Tensor) -> Tensor:
    return model(input_ids=batch.to(model.device), use_cache=False).logits.float()


def _token_losses(logits: Tensor, batch: Tensor) -> Tensor:
    """Next-token losses (examples, length − 1), float64 on the CPU."""
    targets = F.pad(batch[:, 1:], (0, 1), value=-100).to(logits.device)
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=-100)
    return losses.view(targets.shape)[:, :-1].double().cpu()


@contextmanager
def _evaluating(models: Sequence[Any]) -> Iterator[None]:
    """The models in evaluation mode, and then back in the mode that each was in."""
    with ExitStack() as stack:
        for model in models:
            stack.callback(model.train, model.training)
            model.eval()
        yield


# ------------------------------------------------------------------------------------------------------- what is given


def _same_ids(models: Sequence[Any], input_ids: Tensor) -> list[Any]:
    """The models themselves; raises `ManticoreError` unless they all can read `input_ids` as the same tokens."""
    if not models:
        raise ManticoreError("the list of models is empty: an ensemble needs one model at least, and two to mix")
    for k, model in enumerate(models):
        if not isinstance(model, PreTrainedModel | Loaded):
            raise ManticoreError(
                f"models[{k}] is {type(model).__name__}: give transformers models, or what "
                "`manticore_kit.components.load(name)` gives"
            )
    tokenizers = {k: t for k, model in enumerate(models) if (t := getattr(model, "tokenizer", None)) is not None}
    loaded = [model.component.model if isinstance(model, Loaded) else model for model in models]
    first = next(iter(tokenizers), 0)
    for k, tokenizer in tokenizers.items():
        if not same_vocabulary(tokenizers[first], tokenizer):
            raise ManticoreError(
                f"{_place(first, loaded[first])} and {_place(k, loaded[k])} use different tokenizers "
                f"({len(tokenizers[first]):,} and {len(tokenizer):,} tokens), so an id means different strings to them "
                "and their predictions cannot be mixed. A hybrid of one block, built with `tokenizer=`, transplants "
                "all onto one tokenizer and is their ensemble of logits."
            )
    check_windows(input_ids)
    low, high = (int(x) for x in input_ids.aminmax())
    for k, model in enumerate(loaded):
        size = model.config.get_text_config(decoder=True).vocab_size
        if low < 0 or high >= size:
            raise ManticoreError(
                f"input_ids holds {low if low < 0 else high}, but {_place(k, model)} knows the ids 0 to {size - 1}: "
                "cut the text with the tokenizer that all models of the ensemble share"
            )
    return loaded


def _checked(weights: Sequence[float] | Tensor, count: int) -> list[float]:
    given = weights.tolist() if isinstance(weights, Tensor) else weights
    try:
        (row,) = check_rows([given], blocks=1, components=count)
    except ValueError as error:
        raise ManticoreError(
            f"weights is {given!r}: give {count} numbers, one for each model, 0 or more and with sum 1 "
            f"({str(error).rsplit(': ', 1)[-1]})"
        ) from error
    return [weight / sum(row) for weight in row]


def _place(k: int, model: Any) -> str:
    return f"models[{k}] ({type(model).__name__})"


def _not_a_number(k: int, model: Any) -> ManticoreError:
    return ManticoreError(
        f"{_place(k, model)} gives NaN on these windows: look at its own losses with `per_example_losses`, at its "
        "weights, and at its precision (float16 overflows where bfloat16 and float32 do not)"
    )
