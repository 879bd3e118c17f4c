"""The state-space dual scan of Mamba-2 in PyTorch, as matrix products over short chunks of time.

The recurrence, for every sequence, head h with a rate A of its own, channel p of the head and state n (Dao and Gu,
arXiv 2405.21060, sections 3 and 6):

    h[t] = exp(dt[t] A) h[t-1] + dt[t] x[t] B[t]        y[t] = sum over n of C[t] h[t]  +  D x[t]

Within a chunk y is a masked product like attention's, between chunks the states are carried along. Notable here:
- the chunk is short, whatever the model's `chunk_size`, and divides the length nearly evenly: little is padded;
- scores C·B are computed once per group of heads that share B and C, not once per head;
- every sum over time, state or channels is a batched matrix product; nothing larger than its result is built.

Shape suffixes: `B` sequences in the batch, `C` chunks, `Q` steps of a chunk, `L` steps in all, `G` groups of
heads, `H` heads, `P` channels of a head, `N` states.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from manticore_kit.errors import ManticoreError


def chunk_scan(
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int,
    D: Tensor | None = None,
    dt_bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    return_final_states: bool = False,
    **_: object,
) -> Tensor | tuple[Tensor, Tensor]:
    """Return what `mamba2_chunk_scan` of transformers returns (arXiv 2405.21060), only sooner.

    `hidden_states` is (batch, length, heads, channels of a head), `dt` (batch, length, heads), `A`, `D` and `dt_bias`
    (heads,), `B` and `C` (batch, length, groups, state), `initial_states` (batch, heads, channels of a head, state).
    Time steps are clamped to `dt_limit`. The result is in float32, or float64 where `hidden_states` is, and with
    `return_final_states` a pair with the state after the last step. `chunk_size` does not change the result and is
    ignored.

    Raises `ManticoreError` for an input whose shape does not fit the others.
    """
    _check_shapes(hidden_states, dt, A, B, C)
    batch, length, heads, width = hidden_states.shape
    groups, states = B.shape[2:]
    if dt_bias is not None:
        dt = dt + dt_bias.to(dt.dtype)
    if dt_softplus:
        dt = F.softplus(dt)
    dtype = torch.promote_types(hidden_states.dtype, torch.float32)
    x_BLHP = hidden_states.to(dtype)
    dt_BLH = torch.clamp(dt, *dt_limit).to(dtype)

    # A step costs a row of its chunk's decays and its share of the chunk's states: balanced where both are as many.
    chunks = -(-length // round((width * states) ** 0.5))
    steps = -(-length // chunks)
    shared = heads // groups

    def in_chunks(tensor: Tensor) -> Tensor:
        """(batch, length, ...) as (batch, chunks, steps, ...); what is padded has a time step of 0: no effect."""
        if missing := chunks * steps - length:
            tensor = F.pad(tensor, [0, 0] * (tensor.ndim - 2) + [0, missing])
        return tensor.reshape(batch, chunks, steps, *tensor.shape[2:])

    x_BCQHP = in_chunks(x_BLHP * dt_BLH[..., None])
    B_BCGQN, C_BCGQN = (in_chunks(tensor.to(dtype)).transpose(2, 3) for tensor in (B, C))
    exponents_BCHQ = (in_chunks(dt_BLH).double() * A.double()).cumsum(2).transpose(2, 3)

    scores_BCGQQ = C_BCGQN @ B_BCGQN.transpose(3, 4)
    decay_BCHQQ = _Decay.apply(exponents_BCHQ, dtype)
    mixed_BCHQQ = (scores_BCGQQ[:, :, :, None] * decay_BCHQQ.unflatten(2, (groups, shared))).flatten(2, 3)
    y_BCQHP = (mixed_BCHQQ @ x_BCQHP.transpose(2, 3)).transpose(2, 3)

    # The states that a chunk adds, from its steps to its end; those of the last chunk only if somebody asks for them.
    ends = chunks if return_final_states else chunks - 1
    to_end_BCQH = (exponents_BCHQ[..., -1:] - exponents_BCHQ).exp().to(dtype).transpose(2, 3)
    weighted = (x_BCQHP[:, :ends] * to_end_BCQH[:, :ends, ..., None]).unflatten(3, (groups, shared)).flatten(4)
    added_BCHPN = (weighted.permute(0, 1, 3, 4, 2) @ B_BCGQN[:, :ends]).reshape(batch, ends, heads, width, states)

    state_BHPN: Any = None if initial_states is None else initial_states.to(dtype)
    over_chunks = exponents_BCHQ[..., -1].exp().to(dtype)[..., None, None].unbind(1)
    befores: list[Any] = []
    for added, over_chunk in zip(added_BCHPN.unbind(1), over_chunks, strict=False):
        befores.append(state_BHPN)
        state_BHPN = added if state_BHPN is None else torch.addcmul(added, state_BHPN, over_chunk)
    befores = [state for state in [*befores, state_BHPN][:chunks] if state is not None]

    if befores:  # of all chunks, or of all but the first, before which there is nothing
        before = torch.stack(befores, 1).unflatten(2, (groups, shared)).flatten(3, 4)
        first = chunks - len(befores)
        from_start = exponents_BCHQ[:, first:].exp().to(dtype).transpose(2, 3)[..., None]
        carried = (C_BCGQN[:, first:] @ before.transpose(3, 4)).transpose(2, 3).reshape(y_BCQHP[:, first:].shape)
        y_BCQHP = torch.cat([y_BCQHP[:, :first], torch.addcmul(y_BCQHP[:, first:], carried, from_start)], 1)

    y_BLHP = y_BCQHP.reshape(batch, chunks * steps, heads, width)[:, :length]
    if D is not None:
        y_BLHP = torch.addcmul(y_BLHP, x_BLHP, D.to(dtype)[:, None])
    y_BLHP = y_BLHP.contiguous()  # the mixers view it in another shape
    return (y_BLHP, state_BHPN) if return_final_states else y_BLHP


class _Decay(torch.autograd.Function):
    """exp(s[q] - s[r]) for r <= q and 0 above the diagonal, of exponents that sum the rates of decay over time.

    The exponents come in float64: the difference of two neighbours is small where their sum has grown large.
    """

    @staticmethod
    def forward(ctx, exponents: Tensor, dtype: torch.dtype) -> Tensor:
        steps = exponents.shape[-1]
        coarse = exponents.to(dtype)
        fine = (exponents - coarse).to(dtype)  # coarse + fine is the exponent to twice the precision
        decay = coarse[..., :, None] - coarse[..., None, :]
        decay.add_(fine[..., :, None]).sub_(fine[..., None, :])
        future = torch.ones(steps, steps, dtype=torch.bool, device=decay.device).triu_(1)
        decay.masked_fill_(future, -torch.inf).exp_()
        ctx.save_for_backward(decay)
        return decay

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (decay,) = ctx.saved_tensors
        through = grad * decay
        through.diagonal(dim1=-2, dim2=-1).zero_()  # a step's difference from itself is 0: cancelling would round
        return through.sum(-1, dtype=torch.float64) - through.sum(-2, dtype=torch.float64), None


def _check_shapes(hidden_states: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
    # Broadcasting would otherwise accept some of these and return numbers that mean nothing.
    batch, length, heads, _ = hidden_states.shape
    groups, states = B.shape[-2:]
    expected = {
        "dt": (dt, (batch, length, heads), "(batch, length, heads)"),
        "A": (A, (heads,), "(heads,)"),
        "B": (B, (batch, length, groups, states), "(batch, length, groups, state)"),
        "C": (C, (batch, length, groups, states), "(batch, length, groups, state)"),
    }
    for name, (tensor, shape, meaning) in expected.items():
        if tensor.shape != shape:
            raise ManticoreError(
                f"chunk_scan: {name} has shape {tuple(tensor.shape)}; with hidden_states of shape "
                f"{tuple(hidden_states.shape)} it must be {shape}, which is {meaning}. "
                "Transpose or expand it before the call."
            )
    if heads % groups:
        raise ManticoreError(f"chunk_scan: {heads} heads cannot share {groups} groups of B and C equally.")
