"""The aligned start: projectors in closed form, from the components' own states on a few thousand tokens.

At a seam, the states of all components are standardised and set side by side; their leading principal directions
are the *code* that passes through the seam. A component's output projection writes its part of the code, and its
input projection reads its own state back, which for a component that wrote the code is the transpose. With a shared
width of Σ d_k the code loses nothing, and the untrained hybrid is the logit ensemble of its components.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid.inputs import check_ids, check_width
from manticore_kit.hybrid.projector import fit

# Rows that run through a component at a time.
BATCH = 16


@dataclass
class _Code:
    """What passes through a seam: `values` (tokens, width), and each writer's map from the code to its own state."""

    values: Tensor
    readers: dict[int, tuple[Tensor, Tensor]]


def align(hybrid, input_ids: Tensor, width: int | None = None) -> None:
    """Sets the projectors of `hybrid` in place; see `ManticoreForCausalLM.align`."""
    components = [hybrid.component(k) for k in range(hybrid.num_components)]
    if hybrid.is_discretised:
        raise ManticoreError("A discretised hybrid has no projectors to align.")
    check_ids(input_ids, {c.name: c.vocab_size for c in components})
    hybrid.check_length(input_ids.shape[1])
    widths = [c.width for c in components]
    chosen = check_width(width, widths, "align")
    if input_ids.numel() < sum(widths):
        raise ManticoreError(
            f"align was given {input_ids.numel()} tokens; the components' states have {sum(widths)} dimensions "
            f"together, so it needs at least {sum(widths)} tokens, and a few thousand to fit text it has not seen."
        )
    was_training = hybrid.training
    hybrid.eval()
    try:
        states = [_native_states(c, spans, input_ids) for c, spans in zip(components, hybrid.config.spans, strict=True)]
    finally:
        hybrid.train(was_training)
    # Nothing was changed until here, so an error before leaves the hybrid as it was.
    hybrid.reset_projectors(chosen, "identity")
    hybrid.config.recipe["projector"] = {
        "kind": "linear",
        "init": "aligned",
        "width": None if width is None else chosen,
    }
    width, rows = chosen, hybrid.mixture_weights.tolist()
    if hybrid.config.ends == "shared":
        embedded = torch.stack([a * fit(s[0], width) for a, s in zip(rows[0], states, strict=True)]).sum(dim=0)
        _set_inputs(hybrid, 0, _Code(embedded, {}), states, rows)
        # The last outputs stay the identity: what every head reads best is the mixture of its own states.
    for n in range(hybrid.config.num_blocks - 1):
        code = _write(hybrid, n, states, rows[n], width)
        _set_inputs(hybrid, n + 1, code, states, rows)


@torch.no_grad()
def _native_states(component, spans, input_ids: Tensor) -> list[Tensor]:
    """The component's own state before its first block and after each, (tokens, width) in float64."""
    seen: list[list[Tensor]] = [[] for _ in range(len(spans) + 1)]
    for ids in input_ids.split(BATCH):
        start = component.start(ids.to(component.model.device))
        hidden = start.hidden
        seen[0].append(hidden)
        for n, span in enumerate(spans):
            hidden = component.run(start, hidden, *span)
            seen[n + 1].append(hidden)
    return [torch.cat([h.flatten(0, 1) for h in states]).double() for states in seen]


def _write(hybrid, n: int, states: list[list[Tensor]], row: list[float], width: int) -> _Code:
    """Sets the output projections of block `n` and returns the code that they write."""
    writers = [k for k, weight in enumerate(row) if weight > 0]
    own = {k: states[k][n + 1] for k in writers}
    if len(writers) == 1:  # its gate is 1: the state passes as it is
        return _Code(fit(own[writers[0]], width), {})
    means = {k: h.mean(dim=0) for k, h in own.items()}
    scales = {k: (h - means[k]).square().mean().sqrt().clamp(min=1e-12) for k, h in own.items()}
    joint = torch.cat([(own[k] - means[k]) / scales[k] for k in writers], dim=1)
    # Eigenvalues come in rising order; the last columns are the leading directions.
    directions = torch.linalg.eigh(joint.T @ joint / len(joint)).eigenvectors.flip(1)[:, :width]
    values, readers = fit(joint @ directions, width), {}
    for k, part in zip(writers, directions.split([own[k].shape[1] for k in writers]), strict=True):
        part = fit(part, width)
        matrix = part.T / (scales[k] * row[k])
        hybrid.projectors[f"out_{n}_{k}"].set_map(matrix, -matrix @ means[k], row[k])
        readers[k] = (scales[k] * part, means[k])
    return _Code(values, readers)


def _set_inputs(hybrid, n: int, code: _Code, states: list[list[Tensor]], rows: list[list[float]]) -> None:
    """Sets the input projections of block `n`, which read each component's own state from the code."""
    for k, weight in enumerate(rows[n]):
        if weight < 1:
            matrix, offset = code.readers[k] if k in code.readers else _least_squares(code.values, states[k][n])
            hybrid.projectors[f"in_{n}_{k}"].set_map(matrix, offset, weight)


def _least_squares(values: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Matrix (wanted width, code width) and offset of the affine map nearest to values ↦ wanted."""
    middle, target = values.mean(dim=0), wanted.mean(dim=0)
    # A code may leave dimensions empty, so the solver must cope with missing rank.
    matrix = torch.linalg.lstsq((values - middle).cpu(), (wanted - target).cpu(), driver="gelsd").solution.T.to(values)
    return matrix, target - matrix @ middle
