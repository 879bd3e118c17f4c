"""The selective scan and its backward pass, compiled by numba for the CPU at hand.

A task is one sequence of the batch and a tile of LANES channels, the vector axis. Time is walked in chunks of CHUNK
steps; within a chunk all that has a time axis lies in tiles (CHUNK, LANES) on the stack, and the states of a channel
are taken one after the other, so any number of them will do. Adding the time step's bias, softplus, the skip through D
and the gate happen while a tile is in the cache.

Training keeps the states before each chunk only; the backward pass computes those within a chunk again, together with
their decays, and then walks the chunk from its end.

Tensors have the axes (batch, channels, length) and any strides, except: `A` is (state, padded channels) times log2(e),
so that a decay is 2^(dt A); `D` and `bias` are (padded channels,); `B` and `C` are (batch, state, length). Padding
makes the channels a multiple of LANES.
"""

import numpy as np
from numba import njit

from manticore_kit.kernels.vector_math import (
    CHUNK,
    FAST_SUMS,
    LANES,
    LN_2,
    ONE,
    ZERO,
    contiguous,
    exp2,
    sigmoid,
    softplus,
    stack_tile,
)

_V, _M, _S, _Q = "float32[::1]", "float32[:, ::1]", "float32[:, :, ::1]", "float32[:, :, :, ::1]"
_T = "float32[:, :, :]"  # any strides
_TASKS = f"int64, int64, {_T}, {_T}, {_M}, {_T}, {_T}, {_V}, {_T}, {_V}, boolean, boolean, "
_OPTIONS = {"nogil": True, "cache": True, "fastmath": FAST_SUMS, "error_model": "numpy"}


@njit(fastmath=FAST_SUMS, forceinline=True)
def _load(tile, source, b, first, lanes, start, steps):
    """Copy `source[b, first : first + lanes, start : start + steps]` into `tile`, time first; zero in idle lanes."""
    if lanes == LANES and source.strides[1] == source.itemsize:
        for t in range(steps):
            row = contiguous(source[b, first:, start + t])
            for c in range(lanes):
                tile[t, c] = row[c]
        return
    if lanes < LANES:
        tile[:] = ZERO
    for c in range(lanes):
        for t in range(steps):
            tile[t, c] = source[b, first + c, start + t]


@njit(fastmath=FAST_SUMS, forceinline=True)
def _store(tile, target, b, first, lanes, start, steps):
    """The inverse of `_load`, for a `target` (batch, length, channels)."""
    for t in range(steps):
        for c in range(lanes):
            target[b, start + t, first + c] = tile[t, c]


@njit(f"void({_TASKS}{_S}, {_T}, {_Q})", **_OPTIONS)
def forward(begin, end, u, dt, A, B, C, D, z, bias, with_softplus, gated, y, last, checkpoints):
    """Fill `y`, the state after the last step `last` (batch, channels, state) and, unless it is empty, `checkpoints`.

    Works on the tasks from `begin` to `end`. `checkpoints` is (task, chunk, state, LANES).
    """
    channels, length = u.shape[1], u.shape[2]
    tiles = (channels + LANES - 1) // LANES
    states = A.shape[0]
    h = np.empty((states, LANES), np.float32)
    u_, dt_, x_, y_, z_, row = (stack_tile(), stack_tile(), stack_tile(), stack_tile(), stack_tile(), stack_tile())
    for task in range(begin, end):
        b, first = task // tiles, task % tiles * LANES
        lanes = min(LANES, channels - first)
        h[:] = ZERO
        for chunk in range((length + CHUNK - 1) // CHUNK):
            start = chunk * CHUNK
            steps = min(CHUNK, length - start)
            _load(u_, u, b, first, lanes, start, steps)
            _load(dt_, dt, b, first, lanes, start, steps)
            for t in range(steps):
                for c in range(LANES):
                    raw = dt_[t, c] + bias[first + c]
                    dt_[t, c] = softplus(raw) if with_softplus else raw
                    x_[t, c] = dt_[t, c] * u_[t, c]
                    y_[t, c] = D[first + c] * u_[t, c]
            for n in range(states):
                for c in range(LANES):
                    row[0, c] = A[n, first + c]
                    row[1, c] = h[n, c]
                if checkpoints.size:
                    for c in range(LANES):
                        checkpoints[task, chunk, n, c] = row[1, c]
                for t in range(steps):
                    B_t, C_t = B[b, n, start + t], C[b, n, start + t]
                    for c in range(LANES):
                        state = exp2(dt_[t, c] * row[0, c]) * row[1, c] + x_[t, c] * B_t
                        row[1, c] = state
                        y_[t, c] += state * C_t
                for c in range(LANES):
                    h[n, c] = row[1, c]
            if gated:
                _load(z_, z, b, first, lanes, start, steps)
                for t in range(steps):
                    for c in range(LANES):
                        y_[t, c] *= z_[t, c] * sigmoid(z_[t, c])
            _store(y_, y, b, first, lanes, start, steps)
        for n in range(states):
            for c in range(lanes):
                last[b, first + c, n] = h[n, c]


@njit(f"void({_TASKS}{_T}, {_T}, {_Q}, {_S}, {_S}, {_S}, {_S}, {_Q}, {_Q}, {_M}, {_M})", **_OPTIONS)
def backward(
    begin, end, u, dt, A, B, C, D, z, bias, with_softplus, gated, grad_y, grad_last, checkpoints,
    grad_u, grad_dt, grad_z, grad_A, grad_B, grad_C, grad_D, grad_bias,
):  # fmt: skip
    """Fill the gradients, given those of `y` and of the last state (batch, channels, state).

    `grad_u`, `grad_dt` and `grad_z` are (batch, length, channels). The others are partial sums, so that they do not
    depend on how tasks are shared out: `grad_A` (batch, state, channels), `grad_B` and `grad_C` (tile, batch, length,
    state), `grad_D` and `grad_bias` (batch, channels). Those of `A` are for the rates themselves, not times log2(e).
    """
    channels, length = u.shape[1], u.shape[2]
    tiles = (channels + LANES - 1) // LANES
    states = A.shape[0]
    grad_h, sum_A = np.empty((states, LANES), np.float32), np.empty((states, LANES), np.float32)
    u_, dt_, x_, y_, z_, grad_y_ = (stack_tile(), stack_tile(), stack_tile(), stack_tile(), stack_tile(), stack_tile())
    h_, decay_, grad_x_, grad_dt_ = (stack_tile(), stack_tile(), stack_tile(), stack_tile())
    slope_, row, sums = stack_tile(), stack_tile(), stack_tile()
    for task in range(begin, end):
        b, first = task // tiles, task % tiles * LANES
        tile = task % tiles
        lanes = min(LANES, channels - first)
        sums[:] = ZERO
        grad_h[:] = ZERO
        sum_A[:] = ZERO
        for n in range(states):
            for c in range(lanes):
                grad_h[n, c] = grad_last[b, first + c, n]
        for chunk in range((length + CHUNK - 1) // CHUNK - 1, -1, -1):
            start = chunk * CHUNK
            steps = min(CHUNK, length - start)
            _load(u_, u, b, first, lanes, start, steps)
            _load(dt_, dt, b, first, lanes, start, steps)
            _load(grad_y_, grad_y, b, first, lanes, start, steps)
            if gated:
                _load(z_, z, b, first, lanes, start, steps)
            for t in range(steps):
                for c in range(LANES):
                    raw = dt_[t, c] + bias[first + c]
                    dt_[t, c] = softplus(raw) if with_softplus else raw
                    slope_[t, c] = sigmoid(raw) if with_softplus else ONE
                    x_[t, c] = dt_[t, c] * u_[t, c]
                    y_[t, c] = D[first + c] * u_[t, c]
                    grad_x_[t, c] = ZERO
                    grad_dt_[t, c] = ZERO
            if gated:
                for t in range(steps):
                    for c in range(LANES):
                        gate = sigmoid(z_[t, c])
                        scaled = grad_y_[t, c] * gate
                        grad_y_[t, c] = scaled * z_[t, c]
                        z_[t, c] = scaled * (ONE + z_[t, c] * (ONE - gate))  # the gradient of z, but for y

            for n in range(states):
                for c in range(LANES):
                    row[0, c] = A[n, first + c]
                    row[1, c] = grad_h[n, c]
                    row[2, c] = sum_A[n, c]
                    h_[0, c] = checkpoints[task, chunk, n, c]
                for t in range(steps):
                    B_t, C_t = B[b, n, start + t], C[b, n, start + t]
                    for c in range(LANES):
                        decay = exp2(dt_[t, c] * row[0, c])
                        state = decay * h_[t, c] + x_[t, c] * B_t
                        decay_[t, c] = decay
                        h_[t + 1, c] = state
                        y_[t, c] += state * C_t
                for t in range(steps - 1, -1, -1):
                    B_t, C_t = B[b, n, start + t], C[b, n, start + t]
                    sum_B, sum_C = ZERO, ZERO
                    for c in range(LANES):
                        sum_C += h_[t + 1, c] * grad_y_[t, c]
                        grad_state = row[1, c] + C_t * grad_y_[t, c]
                        sum_B += grad_state * x_[t, c]
                        grad_x_[t, c] += grad_state * B_t
                        before = grad_state * decay_[t, c]
                        through_decay = before * h_[t, c]
                        row[1, c] = before
                        row[2, c] += through_decay * dt_[t, c]
                        grad_dt_[t, c] += through_decay * row[0, c]
                    grad_B[tile, b, start + t, n] = sum_B
                    grad_C[tile, b, start + t, n] = sum_C
                for c in range(LANES):
                    grad_h[n, c] = row[1, c]
                    sum_A[n, c] = row[2, c]

            for t in range(steps):
                for c in range(LANES):
                    step = (grad_dt_[t, c] * LN_2 + grad_x_[t, c] * u_[t, c]) * slope_[t, c]
                    grad_dt_[t, c] = step
                    sums[0, c] += step
                    sums[1, c] += grad_y_[t, c] * u_[t, c]
                    grad_x_[t, c] = grad_x_[t, c] * dt_[t, c] + grad_y_[t, c] * D[first + c]
                    z_[t, c] *= y_[t, c]
            _store(grad_x_, grad_u, b, first, lanes, start, steps)
            _store(grad_dt_, grad_dt, b, first, lanes, start, steps)
            if gated:
                _store(z_, grad_z, b, first, lanes, start, steps)
        for c in range(lanes):
            grad_bias[b, first + c] = sums[0, c]
            grad_D[b, first + c] = sums[1, c]
        for n in range(states):
            for c in range(lanes):
                grad_A[b, n, first + c] = sum_A[n, c]
