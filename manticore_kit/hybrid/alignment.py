"""The aligned start: projectors in closed form, from the components' own states on a few thousand tokens.

At a seam, the states of all components are standardised and set side by side; their leading principal directions
are the *code* that passes through the seam. A component's output projection writes its part of the code, and its
input projection reads its own state back, which for a component that wrote the code is the transpose. With a shared
width of Σ d_k the code loses nothing, and the untrained hybrid is the logit ensemble of its components.
"""

from dataclasses import dataclass
from itertools import pairwise

import scipy.linalg
import torch
from torch import Tensor

from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid.inputs import check_ids, check_width
from manticore_kit.hybrid.projector import fit

# Windows that run through a component at a time.
BATCH = 4


@dataclass
class _Seam:
    """Moments of the components' own states at a seam, side by side in float64; `parts[k]` are those of component k."""

    mean: Tensor
    covariance: Tensor
    parts: list[slice]


@dataclass
class _Code:
    """What passes through a seam, code = matrix · (states − their mean) + mean, and each writer's map back from it."""

    matrix: Tensor
    mean: Tensor
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
        # A component reads its own embedding, unless the ends are shared.
        wanted = range(0 if hybrid.config.ends == "shared" else 1, hybrid.config.num_blocks)
        seams = _observe(components, hybrid.config.spans, input_ids, wanted)
    finally:
        hybrid.train(was_training)
    # Nothing was changed until here, so an error before leaves the hybrid as it was.
    with torch.random.fork_rng():
        torch.manual_seed(hybrid.recipe.seed)  # some kinds have weights that no closed form sets
        hybrid.reset_projectors(chosen, "identity")
    hybrid.config.recipe["projector"] = {
        **hybrid.config.recipe["projector"],
        "init": "aligned",
        "width": None if width is None else chosen,
    }
    width, rows = chosen, hybrid.mixture_weights.tolist()
    if hybrid.config.ends == "shared":
        _set_inputs(hybrid, 0, _sum_of_fitted(seams[0], rows[0], width), seams[0], rows)
        # The last outputs stay the identity: what every head reads best is the mixture of its own states.
    for n in range(hybrid.config.num_blocks - 1):
        code = _write(hybrid, n, seams[n + 1], rows[n], width)
        _set_inputs(hybrid, n + 1, code, seams[n + 1], rows)


@torch.no_grad()
def _observe(components, spans, input_ids: Tensor, wanted: range) -> dict[int, _Seam]:
    """The seams before each of the `wanted` blocks, as the components' own states on `input_ids` show them.

    Sums are kept and not the states, which on many tokens would outgrow the components' weights.
    """
    ends = torch.tensor([0, *(c.width for c in components)]).cumsum(0).tolist()
    parts = [slice(*pair) for pair in pairwise(ends)]
    origins, sums, products = {}, {}, {}
    for ids in input_ids.split(BATCH):
        native = [_native_states(component, own, ids) for component, own in zip(components, spans, strict=True)]
        for n in wanted:
            joint = torch.cat([states[n].flatten(0, 1) for states in native], dim=1).double()
            if n not in origins:  # a point near the mean, so that no digits are lost between large sums
                origins[n] = joint.mean(dim=0)
                sums[n] = torch.zeros_like(origins[n])
                products[n] = joint.new_zeros(ends[-1], ends[-1])
            joint -= origins[n]
            sums[n] += joint.sum(dim=0)
            products[n].addmm_(joint.T, joint)
    seams = {}
    for n in wanted:
        shift = sums[n] / input_ids.numel()
        covariance = products[n].div_(input_ids.numel()).addr_(shift, shift, alpha=-1)
        seams[n] = _Seam(origins[n] + shift, covariance, parts)
    return seams


def _native_states(component, spans, ids: Tensor) -> list[Tensor]:
    """The component's own state before each of its blocks, (batch, length, width)."""
    start = component.start(ids.to(component.model.device))
    states = [start.hidden]
    for span in spans[:-1]:
        states.append(component.run(start, states[-1], *span))
    return states


def _write(hybrid, n: int, seam: _Seam, row: list[float], width: int) -> _Code:
    """Sets the output projections of block `n` and returns the code that they write."""
    writers = [k for k, weight in enumerate(row) if weight > 0]
    if len(writers) == 1:  # its gate is 1: the state passes as it is
        return _sum_of_fitted(seam, row, width)
    means = {k: seam.mean[seam.parts[k]] for k in writers}
    variances = {k: seam.covariance.diagonal()[seam.parts[k]] for k in writers}
    scales = {k: variance.mean().sqrt().clamp(min=1e-12) for k, variance in variances.items()}
    scaling = torch.cat([torch.ones_like(variances[k]) / scales[k] for k in writers])
    rows = torch.cat([torch.arange(part.start, part.stop) for part in (seam.parts[k] for k in writers)])
    joint = seam.covariance[rows[:, None], rows].mul_(scaling).mul_(scaling[:, None])
    code = _Code(seam.mean.new_zeros(width, len(seam.mean)), seam.mean.new_zeros(width), {})
    directions = _leading_directions(joint, width).split([len(means[k]) for k in writers])
    for k, part in zip(writers, directions, strict=True):
        part = fit(part, width)
        matrix = part.T / (scales[k] * row[k])
        hybrid.projectors[f"out_{n}_{k}"].set_map(matrix, -matrix @ means[k], row[k])
        code.readers[k] = (scales[k] * part, means[k])
        code.matrix[:, seam.parts[k]] = part.T / scales[k]
    return code


def _leading_directions(covariance: Tensor, count: int) -> Tensor:
    """The `count` leading eigenvectors, or all there are, as columns; `covariance` is used up."""
    size = len(covariance)
    wanted = (max(0, size - count), size - 1)
    _, vectors = scipy.linalg.eigh(covariance.cpu().numpy().T, subset_by_index=wanted, overwrite_a=True)
    # Eigenvalues come in rising order.
    return torch.from_numpy(vectors).to(covariance).flip(1)


def _sum_of_fitted(seam: _Seam, row: list[float], width: int) -> _Code:
    """The code Σ_k row[k] · fit(state_k), which no projection writes."""
    matrix = torch.cat(
        [a * torch.eye(width, p.stop - p.start, dtype=torch.float64) for a, p in zip(row, seam.parts, strict=True)],
        dim=1,
    ).to(seam.mean)
    return _Code(matrix, matrix @ seam.mean, {})


def _set_inputs(hybrid, n: int, code: _Code, seam: _Seam, rows: list[list[float]]) -> None:
    """Sets the input projections of block `n`, which read each component's own state from the code."""
    for k, weight in enumerate(rows[n]):
        if weight < 1:
            matrix, offset = code.readers[k] if k in code.readers else _least_squares(code, seam, seam.parts[k])
            hybrid.projectors[f"in_{n}_{k}"].set_map(matrix, offset, weight)


def _least_squares(code: _Code, seam: _Seam, part: slice) -> tuple[Tensor, Tensor]:
    """Matrix (component width, code width) and offset of the affine map nearest to code ↦ state."""
    both = seam.covariance @ code.matrix.T
    # A code may leave dimensions empty, so the inverse must cope with missing rank.
    inverse = torch.linalg.pinv((code.matrix @ both).cpu(), hermitian=True).to(both)
    matrix = both[part] @ inverse
    return matrix, seam.mean[part] - matrix @ code.mean
