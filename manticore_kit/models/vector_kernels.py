"""What the mixers here do with every pair of tokens, compiled by numba for the CPU at hand.

Loops that numba leaves to LLVM become vector instructions only where LLVM sees how. Here vectors are written down: a
value of type `Lanes` is LANES numbers side by side, of LANES heads (attention, multi-head Hyena) or channels (Hyena)
that all do the same. Arrays therefore have the heads or the channels on their last axis. A task is one sequence and one
tile of LANES of them, and all that a task needs of its sequence lies in a few arrays of the size of a cache.

Sums over the batch are left to the caller, in partial sums, so that they do not depend on how tasks are shared out.
All is one file because numba's cache follows the text of the file that a kernel stands in, and no other's.
"""

# pyright: reportCallIssue=false, reportPrivateImportUsage=false, reportOperatorIssue=false, reportIndexIssue=false
# (numba passes an intrinsic its typing context by itself, names its public functions in no __all__, and gives operators
# to a type of its own)

import functools
import operator
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

LANES = 16  # one vector of AVX-512, two of AVX, four of NEON
BATCH_SHARE = 16  # sequences whose gradients of Hyena's filters are summed within one task

_M, _T3, _T4, _T5 = "float32[:, ::1]", "float32[:, :, ::1]", "float32[:, :, :, ::1]", "float32[:, :, :, :, ::1]"


def _kernel(signature: str) -> Callable[[Callable], Callable[[], Callable]]:
    """Make a function of Python a kernel: calling its name compiles it, or reads the cache, and returns the kernel."""

    def decorate(function: Callable) -> Callable[[], Callable]:
        @functools.cache
        def compiled() -> Callable:
            kernel = njit(nogil=True, cache=True, error_model="numpy")(function)
            kernel.compile(signature)
            kernel.disable_compile()
            return kernel

        return compiled

    return decorate


# ------------------------------------------------------------------------------------------------------------ vectors


class Lanes(types.Type):
    """LANES numbers in float32 as one value, in numba's terms."""

    def __init__(self):
        super().__init__(name=f"Lanes({LANES})")


_lanes = Lanes()
_floats, _integers = (ir.VectorType(kind, LANES) for kind in (ir.FloatType(), ir.IntType(32)))
# A product and a sum may become one instruction; NaN and infinity keep their meaning, sums their order.
_FLAGS = ("contract", "nsz")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, _floats)


def _address(context, builder, array_type, array, indices):
    """Where the LANES numbers begin whose first one has `indices`; those left out are 0."""
    struct = context.make_array(array_type)(context, builder, array)
    strides = cgutils.unpack_tuple(builder, struct.strides)
    offset = ir.Constant(ir.IntType(64), 0)
    for index, stride in zip(cgutils.unpack_tuple(builder, indices), strides, strict=False):
        offset = builder.add(offset, builder.mul(index, stride))
    return builder.bitcast(cgutils.pointer_add(builder, struct.data, offset), _floats.as_pointer())


@intrinsic
def load(typing_context, array, indices):
    """LANES numbers of `array` from `indices` (a tuple) on, along its last axis."""

    def codegen(context, builder, signature, arguments):
        return builder.load(_address(context, builder, signature.args[0], *arguments), align=4)

    return _lanes(array, indices), codegen


@intrinsic
def store(typing_context, array, indices, value):
    """Writes what `load` reads."""

    def codegen(context, builder, signature, arguments):
        array, indices, value = arguments
        builder.store(value, _address(context, builder, signature.args[0], array, indices), align=4)
        return context.get_dummy_value()

    return types.void(array, indices, value), codegen


@intrinsic
def every(typing_context, number):
    """The same number in all lanes."""

    def codegen(context, builder, signature, arguments):
        nothing = ir.Constant(_floats, ir.Undefined)
        first = builder.insert_element(nothing, arguments[0], ir.IntType(32)(0))
        return builder.shuffle_vector(first, nothing, ir.Constant(_integers, [0] * LANES))

    return _lanes(types.float32), codegen


def _give_operator(symbol: Callable, instruction: str) -> None:
    @intrinsic
    def compute(typing_context, x, y):
        def codegen(context, builder, signature, arguments):
            return getattr(builder, instruction)(*arguments, flags=_FLAGS)

        return _lanes(_lanes, _lanes), codegen

    @overload(symbol)
    def _(x, y):
        if isinstance(x, Lanes) and isinstance(y, Lanes):
            return lambda x, y: compute(x, y)
        return None


for _symbol, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _give_operator(_symbol, _instruction)
_give_operator(operator.truediv, "fdiv")


@intrinsic
def larger(typing_context, x, y):
    """The larger of two numbers, lane by lane; where one is NaN the result is undefined."""

    def codegen(context, builder, signature, arguments):
        kind = ir.FunctionType(_floats, (_floats, _floats))
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.maxnum.v{LANES}f32")
        return builder.call(function, arguments, fastmath=("nnan", "nsz"))

    return _lanes(_lanes, _lanes), codegen


@intrinsic
def _shift_exponent(typing_context, value, rounded):
    """`value` times 2 to the integer that `rounded` carries in its last bits."""

    def codegen(context, builder, signature, arguments):
        bits, shift = (builder.bitcast(argument, _integers) for argument in arguments)
        shifted = builder.shl(shift, ir.Constant(_integers, [23] * LANES))
        return builder.bitcast(builder.add(bits, shifted), _floats)

    return _lanes(_lanes, _lanes), codegen


ZERO, ONE, LOWEST = np.float32(0), np.float32(1), np.float32(-126)
LOG2_E = np.float32(np.log2(np.e))
# Adding 1.5 * 2^23 rounds a small float32 to an integer and leaves that integer in its last bits.
ROUNDER = np.float32(1.5 * 2**23)
# Minimax fit, weighted for the relative error: 2^r = 1 + r P(r) for |r| <= 1/2, error 9e-8.
P0, P1, P2, P3, P4 = (
    np.float32(c)
    for c in (0.6931470036506653, 0.24022242426872253, 0.0555073358, 0.009671512991, 0.0013264723820611835)
)


@njit(forceinline=True)
def exp2(x):
    """2 to the power of x <= 127, at least 1e-38."""
    x = larger(x, every(LOWEST))
    rounded = x + every(ROUNDER)
    r = x - (rounded - every(ROUNDER))
    p = every(P0) + r * (every(P1) + r * (every(P2) + r * (every(P3) + r * every(P4))))
    return _shift_exponent(every(ONE) + r * p, rounded)


@njit(forceinline=True)
def sigmoid(x):
    """1 / (1 + exp(-x)), at least 1e-38."""
    return every(ONE) / (every(ONE) + exp2(every(ZERO) - larger(every(LOG2_E) * x, every(LOWEST))))


# ----------------------------------------------------------------------------------------------------- pairs of tokens
# Within a task, states are (length, size, LANES) and what belongs to a pair is (length, LANES): one token's with each.


@njit
def _states(length, size):
    return np.empty((length, size, LANES), np.float32)


@njit(forceinline=True)
def _dot(a, t, b, s, size):
    """The sum over i < size of a[t, i] b[s, i]."""
    total = every(ZERO)
    for i in range(size):
        total = total + load(a, (t, i)) * load(b, (s, i))
    return total


@njit(forceinline=True)
def _gather(weights, states, first, last, target, s, size):
    """target[s, i] becomes the sum over first <= t < last of weights[t] states[t, i]."""
    for i in range(0, size, 4):
        a, b, c, d = every(ZERO), every(ZERO), every(ZERO), every(ZERO)
        for t in range(first, last):
            weight = load(weights, (t,))
            a = a + weight * load(states, (t, i))
            b = b + weight * load(states, (t, i + 1))
            c = c + weight * load(states, (t, i + 2))
            d = d + weight * load(states, (t, i + 3))
        store(target, (s, i), a)
        store(target, (s, i + 1), b)
        store(target, (s, i + 2), c)
        store(target, (s, i + 3), d)


@njit(forceinline=True)
def _scatter(weights, states, s, first, last, target, size):
    """target[t, i] grows by weights[t] states[s, i], for first <= t < last."""
    for t in range(first, last):
        weight = load(weights, (t,))
        for i in range(size):
            store(target, (t, i), load(target, (t, i)) + weight * load(states, (s, i)))


# ---------------------------------------------------------------------------------------------------------- attention


@njit(forceinline=True)
def _turn(states, t, turns, scale, sign):
    """states[t] times `scale`, turned by its position, or back where `sign` is -1, in place.

    Channel i of a head and channel i + size / 2 are the coordinates of one plane.
    """
    half = states.shape[1] // 2
    for i in range(half):
        cos, sin = every(turns[0, t, i] * scale), every(turns[1, t, i] * scale * sign)
        x, y = load(states, (t, i)), load(states, (t, i + half))
        store(states, (t, i), x * cos - y * sin)
        store(states, (t, i + half), x * sin + y * cos)


@_kernel(f"void(int64, int64, {_T5}, {_T3}, {_T4}, {_T4})")
def attention_forward(begin, end, qkv, turns, out, stats):
    """Fill `out` (batch, length, size, heads) with causal attention, for the tasks from `begin` to `end`.

    `qkv` is (batch, length, 3, size, heads) and `turns` the cosines and sines of the rotations, (2, length, size / 2).
    `stats` (batch, length, 2, heads) are the largest score, times log2(e), and one over the sum of exponentials.
    """
    length, size, heads = qkv.shape[1], qkv.shape[3], qkv.shape[4]
    tiles = heads // LANES
    q, k, v, mixed = _states(length, size), _states(length, size), _states(length, size), _states(1, size)
    weights = np.empty((length, LANES), np.float32)
    scale = LOG2_E / np.float32(np.sqrt(size))
    for task in range(begin, end):
        b, first = task // tiles, task % tiles * LANES
        for t in range(length):
            for i in range(size):
                store(q, (t, i), load(qkv, (b, t, 0, i, first)))
                store(k, (t, i), load(qkv, (b, t, 1, i, first)))
                store(v, (t, i), load(qkv, (b, t, 2, i, first)))
            _turn(q, t, turns, scale, ONE)
            _turn(k, t, turns, ONE, ONE)
        for t in range(length):
            largest = _dot(q, t, k, 0, size)
            for s in range(t + 1):
                score = _dot(q, t, k, s, size)
                store(weights, (s,), score)
                largest = larger(largest, score)
            total = every(ZERO)
            for s in range(t + 1):
                weight = exp2(load(weights, (s,)) - largest)
                store(weights, (s,), weight)
                total = total + weight
            share = every(ONE) / total
            _gather(weights, v, 0, t + 1, mixed, 0, size)
            for i in range(size):
                store(out, (b, t, i, first), share * load(mixed, (0, i)))
            store(stats, (b, t, 0, first), largest)
            store(stats, (b, t, 1, first), share)


@_kernel(f"void(int64, int64, {_T5}, {_T3}, {_T4}, {_T4}, {_T4}, {_T5})")
def attention_backward(begin, end, qkv, turns, out, stats, grad_out, grad_qkv):
    """Fill `grad_qkv`, given what `attention_forward` had and gave and the gradient of `out`."""
    length, size, heads = qkv.shape[1], qkv.shape[3], qkv.shape[4]
    tiles = heads // LANES
    q, k, v, g = _states(length, size), _states(length, size), _states(length, size), _states(length, size)
    grad_q, grad_k, grad_v = _states(length, size), _states(length, size), _states(length, size)
    means, weights, grad_scores = _states(1, length)[0], _states(1, length)[0], _states(1, length)[0]
    scale = LOG2_E / np.float32(np.sqrt(size))
    for task in range(begin, end):
        b, first = task // tiles, task % tiles * LANES
        for t in range(length):
            mean = every(ZERO)
            for i in range(size):
                store(q, (t, i), load(qkv, (b, t, 0, i, first)))
                store(k, (t, i), load(qkv, (b, t, 1, i, first)))
                store(v, (t, i), load(qkv, (b, t, 2, i, first)))
                grad = load(grad_out, (b, t, i, first))
                store(g, (t, i), grad)
                mean = mean + grad * load(out, (b, t, i, first))
                store(grad_q, (t, i), every(ZERO))
            store(means, (t,), mean)
            _turn(q, t, turns, scale, ONE)
            _turn(k, t, turns, ONE, ONE)
        for s in range(length):
            for t in range(s, length):
                largest, share = load(stats, (b, t, 0, first)), load(stats, (b, t, 1, first))
                weight = share * exp2(_dot(q, t, k, s, size) - largest)
                store(weights, (t,), weight)
                store(grad_scores, (t,), weight * (_dot(g, t, v, s, size) - load(means, (t,))))
            _gather(weights, g, s, length, grad_v, s, size)
            _gather(grad_scores, q, s, length, grad_k, s, size)
            _scatter(grad_scores, k, s, s, length, grad_q, size)
        for t in range(length):
            _turn(grad_q, t, turns, scale / LOG2_E, -ONE)
            _turn(grad_k, t, turns, ONE / LOG2_E, -ONE)
            for i in range(size):
                store(grad_qkv, (b, t, 0, i, first), load(grad_q, (t, i)))
                store(grad_qkv, (b, t, 1, i, first), load(grad_k, (t, i)))
                store(grad_qkv, (b, t, 2, i, first), load(grad_v, (t, i)))


# -------------------------------------------------------------------------------------------------- multi-head Hyena


@njit(forceinline=True)
def _short(projected, b, part, first, short, target):
    """target[t, i] becomes the short causal convolution of one of the three projections."""
    length, size = target.shape[0], target.shape[1]
    width = short.shape[0]
    for t in range(length):
        for i in range(size):
            total = every(ZERO)
            for j in range(max(0, width - 1 - t), width):
                x = load(projected, (b, t - width + 1 + j, part, i, first))
                total = total + load(short, (j, part, i, first)) * x
            store(target, (t, i), total)


@njit(forceinline=True)
def _short_backward(projected, b, part, first, short, grad, grad_projected, grad_short):
    """What `_short` is the forward of, given the gradient of its target; grad_short[b] becomes this sequence's part."""
    length, size = grad.shape[0], grad.shape[1]
    width = short.shape[0]
    for t in range(length):
        for i in range(size):
            total = every(ZERO)
            for j in range(max(0, width + t - length), width):
                total = total + load(short, (j, part, i, first)) * load(grad, (t + width - 1 - j, i))
            store(grad_projected, (b, t, part, i, first), total)
    for j in range(width):
        for i in range(size):
            total = every(ZERO)
            for t in range(width - 1 - j, length):
                total = total + load(grad, (t, i)) * load(projected, (b, t - width + 1 + j, part, i, first))
            store(grad_short, (b, j, part, i, first), total)


@_kernel(f"void(int64, int64, {_T5}, {_T4}, {_M}, {_T4})")
def multihead_forward(begin, end, projected, short, filters, out):
    """Fill `out` (batch, length, size, heads) with multi-head Hyena, for the tasks from `begin` to `end`.

    `projected` is (batch, length, 3, size, heads): queries, keys and values before the short convolution. `short` is
    (width, 3, size, heads) and `filters` (length, heads).
    """
    length, size, heads = projected.shape[1], projected.shape[3], projected.shape[4]
    tiles = heads // LANES
    q, k, v, mixed = _states(length, size), _states(length, size), _states(length, size), _states(1, size)
    weights = _states(1, length)[0]
    for task in range(begin, end):
        b, first = task // tiles, task % tiles * LANES
        _short(projected, b, 0, first, short, q)
        _short(projected, b, 1, first, short, k)
        _short(projected, b, 2, first, short, v)
        for t in range(length):
            for s in range(t + 1):
                store(weights, (s,), load(filters, (t - s, first)) * _dot(q, t, k, s, size))
            _gather(weights, v, 0, t + 1, mixed, 0, size)
            for i in range(size):
                store(out, (b, t, i, first), load(mixed, (0, i)))


@_kernel(f"void(int64, int64, {_T5}, {_T4}, {_M}, {_T4}, {_T5}, {_T5}, {_T3})")
def multihead_backward(
    begin, end, projected, short, filters, grad_out, grad_projected, grad_short, grad_filters
):  # fmt: skip
    """Fill the gradients, given that of `out`; those of `short` and `filters` have the batch as a first axis."""
    length, size, heads = projected.shape[1], projected.shape[3], projected.shape[4]
    tiles = heads // LANES
    q, k, v, g = _states(length, size), _states(length, size), _states(length, size), _states(length, size)
    grad_q, grad_k, grad_v = _states(length, size), _states(length, size), _states(length, size)
    weights, grad_scores, grad_h = _states(1, length)[0], _states(1, length)[0], _states(1, length)[0]
    for task in range(begin, end):
        b, first = task // tiles, task % tiles * LANES
        _short(projected, b, 0, first, short, q)
        _short(projected, b, 1, first, short, k)
        _short(projected, b, 2, first, short, v)
        for t in range(length):
            for i in range(size):
                store(g, (t, i), load(grad_out, (b, t, i, first)))
                store(grad_q, (t, i), every(ZERO))
            store(grad_h, (t,), every(ZERO))
        for s in range(length):
            for t in range(s, length):
                h = load(filters, (t - s, first))
                score, grad_weight = _dot(q, t, k, s, size), _dot(g, t, v, s, size)
                store(weights, (t,), h * score)
                store(grad_scores, (t,), h * grad_weight)
                store(grad_h, (t - s,), load(grad_h, (t - s,)) + score * grad_weight)
            _gather(weights, g, s, length, grad_v, s, size)
            _gather(grad_scores, q, s, length, grad_k, s, size)
            _scatter(grad_scores, k, s, s, length, grad_q, size)
        _short_backward(projected, b, 0, first, short, grad_q, grad_projected, grad_short)
        _short_backward(projected, b, 1, first, short, grad_k, grad_projected, grad_short)
        _short_backward(projected, b, 2, first, short, grad_v, grad_projected, grad_short)
        for t in range(length):
            store(grad_filters, (b, t, first), load(grad_h, (t,)))


# -------------------------------------------------------------------------------------------------------------- Hyena
# Sequences that are convolved are (ROWS + length + ROWS, LANES), with ROWS zeros before them and after.

ROWS = 8  # results of a long convolution that are computed together


@njit(forceinline=True)
def _convolve(h, u, y, length):
    """y[t] becomes the sum over s <= t of h[t - s] u[s], for padded sequences."""
    for top in range(0, length, ROWS):
        a, b, c, d = every(ZERO), every(ZERO), every(ZERO), every(ZERO)
        e, f, g, i = every(ZERO), every(ZERO), every(ZERO), every(ZERO)
        for s in range(min(top + ROWS, length)):
            x, lag = load(u, (ROWS + s,)), ROWS + top - s
            a, b = a + x * load(h, (lag,)), b + x * load(h, (lag + 1,))
            c, d = c + x * load(h, (lag + 2,)), d + x * load(h, (lag + 3,))
            e, f = e + x * load(h, (lag + 4,)), f + x * load(h, (lag + 5,))
            g, i = g + x * load(h, (lag + 6,)), i + x * load(h, (lag + 7,))
        _eight(y, top, a, b, c, d, e, f, g, i)


@njit(forceinline=True)
def _correlate(y, h, u, length):
    """u[s] becomes the sum over t >= s of y[t] h[t - s], for padded sequences."""
    for top in range(0, length, ROWS):
        a, b, c, d = every(ZERO), every(ZERO), every(ZERO), every(ZERO)
        e, f, g, i = every(ZERO), every(ZERO), every(ZERO), every(ZERO)
        for t in range(top, length):
            x, lag = load(y, (ROWS + t,)), ROWS + t - top
            a, b = a + x * load(h, (lag,)), b + x * load(h, (lag - 1,))
            c, d = c + x * load(h, (lag - 2,)), d + x * load(h, (lag - 3,))
            e, f = e + x * load(h, (lag - 4,)), f + x * load(h, (lag - 5,))
            g, i = g + x * load(h, (lag - 6,)), i + x * load(h, (lag - 7,))
        _eight(u, top, a, b, c, d, e, f, g, i)


@njit(forceinline=True)
def _eight(target, top, a, b, c, d, e, f, g, i):
    row = ROWS + top
    store(target, (row,), a)
    store(target, (row + 1,), b)
    store(target, (row + 2,), c)
    store(target, (row + 3,), d)
    store(target, (row + 4,), e)
    store(target, (row + 5,), f)
    store(target, (row + 6,), g)
    store(target, (row + 7,), i)


@njit
def _padded(count, length):
    return np.zeros((count, ROWS + length + ROWS, LANES), np.float32)


@njit(forceinline=True)
def _short_channels(projected, b, part, first, short, group, target):
    """target[t] becomes the short causal convolution of LANES channels of a projection, with one group's filter."""
    width = short.shape[0]
    for t in range(projected.shape[1]):
        total = every(ZERO)
        for j in range(max(0, width - 1 - t), width):
            x = load(projected, (b, t - width + 1 + j, part, first))
            total = total + load(short, (j, part, group, first)) * x
        store(target, (ROWS + t,), total)


@njit(forceinline=True)
def _short_channels_backward(projected, b, part, first, short, group, grad, grad_projected, grad_short, share):
    """Adds to the gradients of what `_short_channels` has, given that of its target."""
    width, length = short.shape[0], projected.shape[1]
    for t in range(length):
        total = load(grad_projected, (b, t, part, first))
        for j in range(max(0, width + t - length), width):
            total = total + load(short, (j, part, group, first)) * load(grad, (ROWS + t + width - 1 - j,))
        store(grad_projected, (b, t, part, first), total)
    for j in range(width):
        total = load(grad_short, (share, j, part, group, first))
        for t in range(width - 1 - j, length):
            total = total + load(grad, (ROWS + t,)) * load(projected, (b, t - width + 1 + j, part, first))
        store(grad_short, (share, j, part, group, first), total)


@_kernel(f"void(int64, int64, {_T4}, {_T4}, {_T3}, {_T4})")
def hyena_forward(begin, end, projected, short, filters, out):
    """Fill `out` (batch, length, groups, channels) with Hyena, for the tasks from `begin` to `end`.

    `projected` is (batch, length, 3, channels): queries, keys and values before the short convolution, shared by the
    groups. `short` is (width, 3, groups, channels) and `filters` (length, groups, channels). A task is one sequence
    and LANES of the channels, in all groups.
    """
    length, groups, channels = out.shape[1:]
    tiles = channels // LANES
    h, y = _padded(1, length)[0], _padded(1, length)[0]
    q, k, v = _padded(1, length)[0], _padded(1, length)[0], _padded(1, length)[0]
    for task in range(begin, end):
        b, first = task // tiles, task % tiles * LANES
        for group in range(groups):
            for t in range(length):
                store(h, (ROWS + t,), load(filters, (t, group, first)))
            _short_channels(projected, b, 0, first, short, group, q)
            _short_channels(projected, b, 1, first, short, group, k)
            _short_channels(projected, b, 2, first, short, group, v)
            for t in range(ROWS, ROWS + length):
                store(v, (t,), load(k, (t,)) * load(v, (t,)))
            _convolve(h, v, y, length)
            for t in range(length):
                store(out, (b, t, group, first), load(q, (ROWS + t,)) * load(y, (ROWS + t,)))


@_kernel(f"void(int64, int64, {_T4}, {_T4}, {_T3}, {_T4}, {_T4}, {_T5}, {_T4})")
def hyena_backward(
    begin, end, projected, short, filters, grad_out, grad_projected, grad_short, grad_filters
):  # fmt: skip
    """Add the gradients, given that of `out`, to what is zero at first.

    Those of `short` and `filters` have a first axis of shares, of BATCH_SHARE sequences each. A task is one share and
    LANES of the channels.
    """
    batch, length, groups, channels = grad_out.shape
    tiles = channels // LANES
    h, y, g, u = _padded(1, length)[0], _padded(1, length)[0], _padded(1, length)[0], _padded(1, length)[0]
    q, k, v, grad = _padded(1, length)[0], _padded(1, length)[0], _padded(1, length)[0], _padded(1, length)[0]
    for task in range(begin, end):
        share, first = task // tiles, task % tiles * LANES
        for b in range(share * BATCH_SHARE, min(batch, (share + 1) * BATCH_SHARE)):
            for group in range(groups):
                for t in range(length):
                    store(h, (ROWS + t,), load(filters, (t, group, first)))
                    store(g, (ROWS + t,), load(grad_out, (b, t, group, first)))
                _short_channels(projected, b, 0, first, short, group, q)
                _short_channels(projected, b, 1, first, short, group, k)
                _short_channels(projected, b, 2, first, short, group, v)
                for t in range(ROWS, ROWS + length):
                    store(u, (t,), load(k, (t,)) * load(v, (t,)))
                _convolve(h, u, y, length)
                for t in range(ROWS, ROWS + length):
                    store(grad, (t,), load(g, (t,)) * load(y, (t,)))
                    store(g, (t,), load(g, (t,)) * load(q, (t,)))
                _short_channels_backward(projected, b, 0, first, short, group, grad, grad_projected, grad_short, share)
                _correlate(g, u, y, length)
                for t in range(length):
                    sum_h = load(grad_filters, (share, t, group, first)) + load(y, (ROWS + t,))
                    store(grad_filters, (share, t, group, first), sum_h)
                _correlate(g, h, u, length)
                for t in range(ROWS, ROWS + length):
                    store(grad, (t,), load(u, (t,)) * load(v, (t,)))
                    store(k, (t,), load(u, (t,)) * load(k, (t,)))
                _short_channels_backward(projected, b, 1, first, short, group, grad, grad_projected, grad_short, share)
                _short_channels_backward(projected, b, 2, first, short, group, k, grad_projected, grad_short, share)
                for t in range(ROWS + length, ROWS + length + ROWS):
                    store(u, (t,), every(ZERO))


# ------------------------------------------------------------------------------------------------------------- SwiGLU


@_kernel(f"void(int64, int64, {_T3}, {_M})")
def swiglu_forward(begin, end, gate_up, out):
    """Fill `out` (tokens, channels) with silu(gate) · up of `gate_up` (tokens, 2, channels); a task is a token."""
    for token in range(begin, end):
        for first in range(0, out.shape[1], LANES):
            gate = load(gate_up, (token, 0, first))
            store(out, (token, first), gate * sigmoid(gate) * load(gate_up, (token, 1, first)))


@_kernel(f"void(int64, int64, {_T3}, {_M}, {_T3})")
def swiglu_backward(begin, end, gate_up, grad_out, grad_gate_up):
    """Fill `grad_gate_up`, given the gradient of `out`."""
    for token in range(begin, end):
        for first in range(0, grad_out.shape[1], LANES):
            gate, up = load(gate_up, (token, 0, first)), load(gate_up, (token, 1, first))
            grad, share = load(grad_out, (token, first)), sigmoid(gate)
            store(grad_gate_up, (token, 1, first), grad * gate * share)
            slope = share * (every(ONE) + gate * (every(ONE) - share))
            store(grad_gate_up, (token, 0, first), grad * up * slope)
