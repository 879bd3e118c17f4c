"""The selective scan and the short causal convolution, forward and backward, compiled by numba for the CPU at hand.

A task is one sequence of the batch and a tile of LANES channels, the vector axis. Time is walked in chunks of CHUNK
steps; within a chunk all that has a time axis lies in small tiles on the stack, time first, and whatever surrounds the
recurrence (the time step's bias and softplus, the skip through D, the gate) happens while they are in the cache.

Tensors are (batch, channels, length) with any strides, or (batch, length, channels) where contiguous. Sums over the
batch and over tiles are left to the caller, in partial sums, so that they do not depend on how tasks are shared out.

All of it is one file because numba's cache follows the text of the file that a kernel stands in, and no other's.
"""

# pyright: reportCallIssue=false, reportPrivateImportUsage=false
# (numba passes an intrinsic its typing context by itself, and names its public functions in no __all__)

import functools
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 32  # four vectors of AVX side by side, so that their latencies overlap
CHUNK = 16  # the buffers of the scan's backward pass together fit a cache of 32 KiB
LONGEST_FILTER = 4  # of a convolution: its tiles hold that many steps less one of the chunk before
_ROWS = CHUNK + LONGEST_FILTER - 1

# Without "nnan" and "ninf", so that NaN and infinity keep their meaning; "reassoc" lets sums be vectorised.
_FAST_SUMS = {"contract", "reassoc", "nsz", "arcp"}
_EXACT_ORDER = {"contract", "nsz"}
_OPTIONS = {"nogil": True, "cache": True, "fastmath": _FAST_SUMS, "error_model": "numpy"}

_V, _M, _S, _Q = "float32[::1]", "float32[:, ::1]", "float32[:, :, ::1]", "float32[:, :, :, ::1]"
_T = "float32[:, :, :]"  # any strides
_TASKS = f"int64, int64, {_T}, {_T}, {_M}, {_T}, {_T}, {_V}, {_T}, {_V}, boolean, boolean, "


def _kernel(signature: str) -> Callable[[Callable], Callable[[], Callable]]:
    """Make a function of Python a kernel: calling its name compiles it, or reads the cache, and returns the kernel."""

    def decorate(function: Callable) -> Callable[[], Callable]:
        @functools.cache
        def compiled() -> Callable:
            kernel = njit(**_OPTIONS)(function)
            kernel.compile(signature)
            kernel.disable_compile()  # arrays of any other layout convert to this signature
            return kernel

        return compiled

    return decorate


ONE, TWO, ZERO = np.float32(1), np.float32(2), np.float32(0)
LOG2_E, LN_2 = np.float32(np.log2(np.e)), np.float32(np.log(2))
# Adding 1.5 * 2^23 rounds a small float32 to an integer and leaves that integer in its last bits.
ROUNDER = np.float32(1.5 * 2**23)
# Minimax fits, weighted for the relative error: 2^r = 1 + r P(r) for |r| <= 1/2, error 9e-8, and
# 2 artanh(s) = s Q(s^2) for 0 <= s <= 1/3, error 4e-9.
P0, P1, P2, P3, P4 = (
    np.float32(c)
    for c in (0.6931470036506653, 0.24022242426872253, 0.0555073358, 0.009671512991, 0.0013264723820611835)
)
Q0, Q1, Q2, Q3, Q4 = (
    np.float32(c) for c in (2.0, 0.6666631698608398, 0.40024909377098083, 0.27960604429244995, 0.28178325295448303)
)


# Elementary functions without branches or calls, which LLVM turns into vector instructions. numba's own `math.exp`
# calls the C library once per number.


@intrinsic
def _stack_floats(typing_context):
    def codegen(context, builder, signature, arguments):
        memory = cgutils.alloca_once(builder, ir.ArrayType(ir.FloatType(), _ROWS * LANES))
        memory.align = 64
        return builder.bitcast(memory, ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(), codegen


@njit(forceinline=True)
def _stack_tile():
    """An uninitialised array (_ROWS, LANES) on the kernel's stack: the compiler knows that no other overlaps it."""
    return carray(_stack_floats(), (_ROWS, LANES))


@intrinsic
def _first_address(typing_context, array):
    def codegen(context, builder, signature, arguments):
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(types.float32)(array), codegen


@njit(forceinline=True)
def _contiguous(row):
    """The first LANES numbers of `row`, a slice that only the caller knows to be contiguous."""
    return carray(_first_address(row), (LANES,))


@intrinsic
def _at_least(typing_context, value, bound):
    """The larger of two numbers in one instruction; where `value` is NaN the result is undefined."""

    def codegen(context, builder, signature, arguments):
        real = ir.FloatType()
        function_type = ir.FunctionType(real, (real, real))
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.maxnum.f32")
        return builder.call(function, arguments, fastmath=("nnan", "nsz"))

    return types.float32(types.float32, types.float32), codegen


@intrinsic
def _shift_exponent(typing_context, value, rounded):
    """`value` times 2 to the integer that `rounded` carries in its last bits."""

    def codegen(context, builder, signature, arguments):
        integer = ir.IntType(32)
        bits, shift = (builder.bitcast(argument, integer) for argument in arguments)
        return builder.bitcast(builder.add(bits, builder.shl(shift, integer(23))), ir.FloatType())

    return types.float32(types.float32, types.float32), codegen


@njit(fastmath=_EXACT_ORDER, forceinline=True)  # reassociation would cancel the rounding
def _exp2(x):
    """2 to the power of x <= 127, at least 1e-38."""
    x = _at_least(x, np.float32(-126))
    rounded = x + ROUNDER
    r = x - (rounded - ROUNDER)
    return _shift_exponent(ONE + r * (P0 + r * (P1 + r * (P2 + r * (P3 + r * P4)))), rounded)


@njit(fastmath=_EXACT_ORDER, forceinline=True)
def _sigmoid(x):
    """1 / (1 + exp(-x))."""
    e = _exp2(-LOG2_E * abs(x))
    return (e if x < ZERO else ONE) / (ONE + e)


@njit(fastmath=_EXACT_ORDER, forceinline=True)
def _softplus(x):
    """log(1 + exp(x)), accurate also where it is small."""
    e = _exp2(-LOG2_E * abs(x))
    s = e / (TWO + e)
    v = s * s
    return (ZERO if x < ZERO else x) + s * (Q0 + v * (Q1 + v * (Q2 + v * (Q3 + v * Q4))))


@njit(fastmath=_FAST_SUMS, forceinline=True)
def _load(tile, top, source, b, first, lanes, start, steps):
    """Copy `source[b, first : first + lanes, start : start + steps]` into `tile`, time first, from row `top` on.

    Idle lanes become zero, in all rows.
    """
    if lanes == LANES and source.strides[1] == source.itemsize:
        for t in range(steps):
            row = _contiguous(source[b, first:, start + t])
            for c in range(lanes):
                tile[top + t, c] = row[c]
        return
    for c in range(lanes, LANES):
        for t in range(_ROWS):
            tile[t, c] = ZERO
    for c in range(lanes):
        for t in range(steps):
            tile[top + t, c] = source[b, first + c, start + t]


@njit(fastmath=_FAST_SUMS, forceinline=True)
def _store(tile, target, b, first, lanes, start, steps):
    """The inverse of `_load`, for a `target` (batch, length, channels)."""
    for t in range(steps):
        for c in range(lanes):
            target[b, start + t, first + c] = tile[t, c]


@_kernel(f"void({_TASKS}{_S}, {_T}, {_Q})")
def scan_forward(begin, end, u, dt, A, B, C, D, z, bias, with_softplus, gated, y, last, checkpoints):
    """Fill `y`, the state after the last step `last` (batch, channels, state) and, unless it is empty, `checkpoints`.

    Works on the tasks from `begin` to `end`. `A` is (state, padded channels) times log2(e), so that a decay is
    2^(dt A); `D` and `bias` are (padded channels,), `B` and `C` (batch, state, length). Padding, with zeros, makes the
    channels a multiple of LANES. `checkpoints` are the states before each chunk, (task, chunk, state, LANES).
    """
    channels, length = u.shape[1], u.shape[2]
    tiles = (channels + LANES - 1) // LANES
    states = A.shape[0]
    h = np.empty((states, LANES), np.float32)
    u_, dt_, x_, y_, z_, row = (
        _stack_tile(),
        _stack_tile(),
        _stack_tile(),
        _stack_tile(),
        _stack_tile(),
        _stack_tile(),
    )
    for task in range(begin, end):
        b, first = task // tiles, task % tiles * LANES
        lanes = min(LANES, channels - first)
        h[:] = ZERO
        bias_row, D_row = _contiguous(bias[first:]), _contiguous(D[first:])
        for c in range(LANES):
            row[2, c], row[3, c] = bias_row[c], D_row[c]
        for chunk in range((length + CHUNK - 1) // CHUNK):
            start = chunk * CHUNK
            steps = min(CHUNK, length - start)
            _load(u_, 0, u, b, first, lanes, start, steps)
            _load(dt_, 0, dt, b, first, lanes, start, steps)
            for t in range(steps):
                for c in range(LANES):
                    raw = dt_[t, c] + row[2, c]
                    dt_[t, c] = _softplus(raw) if with_softplus else raw
                    x_[t, c] = dt_[t, c] * u_[t, c]
                    y_[t, c] = row[3, c] * u_[t, c]
            for n in range(states):
                rates = _contiguous(A[n, first:])
                for c in range(LANES):
                    row[0, c] = rates[c]
                    row[1, c] = h[n, c]
                if checkpoints.size:
                    for c in range(LANES):
                        checkpoints[task, chunk, n, c] = row[1, c]
                for t in range(steps):
                    B_t, C_t = B[b, n, start + t], C[b, n, start + t]
                    for c in range(LANES):
                        state = _exp2(dt_[t, c] * row[0, c]) * row[1, c] + x_[t, c] * B_t
                        row[1, c] = state
                        y_[t, c] += state * C_t
                for c in range(LANES):
                    h[n, c] = row[1, c]
            if gated:
                _load(z_, 0, z, b, first, lanes, start, steps)
                for t in range(steps):
                    for c in range(LANES):
                        y_[t, c] *= z_[t, c] * _sigmoid(z_[t, c])
            _store(y_, y, b, first, lanes, start, steps)
        for n in range(states):
            for c in range(lanes):
                last[b, first + c, n] = h[n, c]


@_kernel(f"void({_TASKS}{_T}, {_T}, {_Q}, {_S}, {_S}, {_S}, {_S}, {_Q}, {_Q}, {_M}, {_M})")
def scan_backward(
    begin, end, u, dt, A, B, C, D, z, bias, with_softplus, gated, grad_y, grad_last, checkpoints,
    grad_u, grad_dt, grad_z, grad_A, grad_B, grad_C, grad_D, grad_bias,
):  # fmt: skip
    """Fill the gradients, given those of `y` and of the last state (batch, channels, state).

    The states within a chunk are computed again, together with their decays, and then the chunk is walked from its end.

    `grad_u`, `grad_dt` and `grad_z` are (batch, length, channels). The others are partial sums, so that they do not
    depend on how tasks are shared out: `grad_A` (batch, state, channels), `grad_B` and `grad_C` (tile, batch, length,
    state), `grad_D` and `grad_bias` (batch, channels). Those of `A` are for the rates themselves, not times log2(e).
    """
    channels, length = u.shape[1], u.shape[2]
    tiles = (channels + LANES - 1) // LANES
    states = A.shape[0]
    grad_h, sum_A = np.empty((states, LANES), np.float32), np.empty((states, LANES), np.float32)
    u_, dt_, x_, y_, z_, grad_y_ = (
        _stack_tile(),
        _stack_tile(),
        _stack_tile(),
        _stack_tile(),
        _stack_tile(),
        _stack_tile(),
    )
    h_, decay_, grad_x_, grad_dt_ = (_stack_tile(), _stack_tile(), _stack_tile(), _stack_tile())
    slope_, row, sums = _stack_tile(), _stack_tile(), _stack_tile()
    for task in range(begin, end):
        b, first = task // tiles, task % tiles * LANES
        tile = task % tiles
        lanes = min(LANES, channels - first)
        bias_row, D_row = _contiguous(bias[first:]), _contiguous(D[first:])
        for c in range(LANES):
            row[3, c], row[4, c] = bias_row[c], D_row[c]
        sums[:] = ZERO
        grad_h[:] = ZERO
        sum_A[:] = ZERO
        for n in range(states):
            for c in range(lanes):
                grad_h[n, c] = grad_last[b, first + c, n]
        for chunk in range((length + CHUNK - 1) // CHUNK - 1, -1, -1):
            start = chunk * CHUNK
            steps = min(CHUNK, length - start)
            _load(u_, 0, u, b, first, lanes, start, steps)
            _load(dt_, 0, dt, b, first, lanes, start, steps)
            _load(grad_y_, 0, grad_y, b, first, lanes, start, steps)
            if gated:
                _load(z_, 0, z, b, first, lanes, start, steps)
            for t in range(steps):
                for c in range(LANES):
                    raw = dt_[t, c] + row[3, c]
                    dt_[t, c] = _softplus(raw) if with_softplus else raw
                    slope_[t, c] = _sigmoid(raw) if with_softplus else ONE
                    x_[t, c] = dt_[t, c] * u_[t, c]
                    y_[t, c] = row[4, c] * u_[t, c]
                    grad_x_[t, c] = ZERO
                    grad_dt_[t, c] = ZERO
            if gated:
                for t in range(steps):
                    for c in range(LANES):
                        gate = _sigmoid(z_[t, c])
                        scaled = grad_y_[t, c] * gate
                        grad_y_[t, c] = scaled * z_[t, c]
                        z_[t, c] = scaled * (ONE + z_[t, c] * (ONE - gate))  # the gradient of z, but for y

            for n in range(states):
                rates = _contiguous(A[n, first:])
                for c in range(LANES):
                    row[0, c] = rates[c]
                    row[1, c] = grad_h[n, c]
                    row[2, c] = sum_A[n, c]
                    h_[0, c] = checkpoints[task, chunk, n, c]
                for t in range(steps):
                    B_t, C_t = B[b, n, start + t], C[b, n, start + t]
                    for c in range(LANES):
                        decay = _exp2(dt_[t, c] * row[0, c])
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
                    grad_x_[t, c] = grad_x_[t, c] * dt_[t, c] + grad_y_[t, c] * row[4, c]
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


@njit(fastmath=_FAST_SUMS, forceinline=True)
def _convolve(x_, weight_, width, steps, y_):
    """`y_[t]` = bias + the sum over k of `weight_[k] x_[t + k]`; the bias is the row after the weights."""
    for t in range(steps):
        for c in range(LANES):
            y_[t, c] = weight_[width, c]
        for k in range(width):
            for c in range(LANES):
                y_[t, c] += weight_[k, c] * x_[t + k, c]


@_kernel(f"void(int64, int64, {_T}, {_M}, boolean, {_S})")
def convolution_forward(begin, end, x, weight, with_silu, y):
    """Fill `y` (batch, length, channels) with the causal convolution of each channel of `x`.

    `weight` is (width + 1, padded channels): the weights, the last of them for the present, and the bias.
    """
    channels, length = x.shape[1], x.shape[2]
    tiles = (channels + LANES - 1) // LANES
    width = weight.shape[0] - 1
    past = width - 1
    x_, y_, weight_ = _stack_tile(), _stack_tile(), _stack_tile()
    for task in range(begin, end):
        b, first = task // tiles, task % tiles * LANES
        lanes = min(LANES, channels - first)
        for k in range(width + 1):
            weights = _contiguous(weight[k, first:])
            for c in range(LANES):
                weight_[k, c] = weights[c]
        x_[:] = ZERO
        for start in range(0, length, CHUNK):
            steps = min(CHUNK, length - start)
            back = min(start, past)
            _load(x_, past - back, x, b, first, lanes, start - back, steps + back)
            _convolve(x_, weight_, width, steps, y_)
            if with_silu:
                for t in range(steps):
                    for c in range(LANES):
                        y_[t, c] *= _sigmoid(y_[t, c])
            _store(y_, y, b, first, lanes, start, steps)


@_kernel(f"void(int64, int64, {_T}, {_M}, boolean, {_T}, {_S}, {_S})")
def convolution_backward(begin, end, x, weight, with_silu, grad_y, grad_x, grad_weight):
    """Fill `grad_x` (batch, length, channels) and, summed over time, `grad_weight` (batch, width + 1, channels)."""
    channels, length = x.shape[1], x.shape[2]
    tiles = (channels + LANES - 1) // LANES
    width = weight.shape[0] - 1
    past = width - 1
    x_, y_, weight_, sums = _stack_tile(), _stack_tile(), _stack_tile(), _stack_tile()
    grad_y_, grad_x_ = _stack_tile(), _stack_tile()
    for task in range(begin, end):
        b, first = task // tiles, task % tiles * LANES
        lanes = min(LANES, channels - first)
        for k in range(width + 1):
            weights = _contiguous(weight[k, first:])
            for c in range(LANES):
                weight_[k, c] = weights[c]
        sums[:] = ZERO
        grad_y_[:] = ZERO
        for chunk in range((length + CHUNK - 1) // CHUNK - 1, -1, -1):
            start = chunk * CHUNK
            steps = min(CHUNK, length - start)
            back = min(start, past)
            if start == 0:
                x_[:] = ZERO
            _load(x_, past - back, x, b, first, lanes, start - back, steps + back)
            for t in range(past):  # the first steps of the later chunk
                for c in range(LANES):
                    grad_y_[CHUNK + t, c] = grad_y_[t, c]
            _load(grad_y_, 0, grad_y, b, first, lanes, start, steps)
            if with_silu:
                _convolve(x_, weight_, width, steps, y_)
                for t in range(steps):
                    for c in range(LANES):
                        gate = _sigmoid(y_[t, c])
                        grad_y_[t, c] *= gate * (ONE + y_[t, c] * (ONE - gate))
            for t in range(steps):
                for c in range(LANES):
                    grad_x_[t, c] = ZERO
                    sums[width, c] += grad_y_[t, c]
                for k in range(width):
                    for c in range(LANES):
                        grad_x_[t, c] += weight_[k, c] * grad_y_[t + past - k, c]
                        sums[k, c] += grad_y_[t, c] * x_[t + k, c]
            _store(grad_x_, grad_x, b, first, lanes, start, steps)
        for k in range(width + 1):
            for c in range(lanes):
                grad_weight[b, k, first + c] = sums[k, c]
