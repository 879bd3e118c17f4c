"""Elementary functions that LLVM turns into vector instructions, for kernels compiled by numba.

numba's own `math.exp` calls the C library once per number. The ones here are polynomials without branches, accurate to
one or two units in the last place of float32; a NaN that goes in comes out. `stack_tile` gives a kernel a small buffer
of its own stack: the compiler then knows that no other array overlaps it and drops its checks.
"""

# pyright: reportCallIssue=false, reportPrivateImportUsage=false
# (numba passes an intrinsic its typing context by itself, and names its public functions in no __all__)

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 32  # channels side by side in a tile: four vectors of AVX, so that their latencies overlap
CHUNK = 16  # time steps in a tile: all the buffers of the backward pass together fit a cache of 32 KiB

# Without "nnan" and "ninf", so that NaN and infinity keep their meaning; "reassoc" lets sums be vectorised.
FAST_SUMS = {"contract", "reassoc", "nsz", "arcp"}

LOG2_E, LN_2 = np.float32(np.log2(np.e)), np.float32(np.log(2))
HALF, ONE, TWO, ZERO = (np.float32(value) for value in (0.5, 1, 2, 0))
# Adding 1.5 * 2^23 rounds a small float32 to an integer and leaves that integer in its last bits.
ROUNDER = np.float32(1.5 * 2**23)
LOWEST, HIGHEST = np.float32(-126), np.float32(127.99)  # exponents between which 2^x is a normal float32
# Minimax fits, weighted for the relative error: 2^r = 1 + r P(r) for |r| <= 1/2, error 2e-9, and
# 2 artanh(s) = s Q(s^2) for 0 <= s <= 1/3, error 4e-9.
P0, P1, P2, P3, P4, P5 = (
    np.float32(c)
    for c in (
        0.6931471824645996,
        0.24022647738456726,
        0.0555033236742,
        0.00961843691766,
        0.0013398875,
        0.00015353360504,
    )
)
Q0, Q1, Q2, Q3, Q4 = (
    np.float32(c) for c in (2.0, 0.6666631698608398, 0.40024909377098083, 0.27960604429244995, 0.28178325295448303)
)


@intrinsic
def _stack_floats(typing_context):
    def codegen(context, builder, signature, arguments):
        memory = cgutils.alloca_once(builder, ir.ArrayType(ir.FloatType(), (CHUNK + 1) * LANES))
        memory.align = 64
        return builder.bitcast(memory, ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(), codegen


@njit(forceinline=True)
def stack_tile():
    """An uninitialised float32 array of CHUNK + 1 rows and LANES columns on the stack of the calling kernel."""
    return carray(_stack_floats(), (CHUNK + 1, LANES))


@intrinsic
def _first_address(typing_context, array):
    def codegen(context, builder, signature, arguments):
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(types.float32)(array), codegen


@njit(forceinline=True)
def contiguous(row):
    """The first LANES numbers of `row`, a slice that only the caller knows to be contiguous."""
    return carray(_first_address(row), (LANES,))


@intrinsic
def _shift_exponent(typing_context, value, rounded):
    """`value` times 2 to the integer that `rounded` carries in its last bits."""

    def codegen(context, builder, signature, arguments):
        integer = ir.IntType(32)
        bits, shift = (builder.bitcast(argument, integer) for argument in arguments)
        return builder.bitcast(builder.add(bits, builder.shl(shift, integer(23))), ir.FloatType())

    return types.float32(types.float32, types.float32), codegen


@njit(fastmath={"contract", "nsz"}, forceinline=True)  # reassociation would cancel the rounding
def exp2(x):
    """2 to the power of x, between 1e-38 and 3e38."""
    x = LOWEST if x < LOWEST else x
    x = HIGHEST if x > HIGHEST else x
    rounded = x + ROUNDER
    r = x - (rounded - ROUNDER)
    p = ONE + r * (P0 + r * (P1 + r * (P2 + r * (P3 + r * (P4 + r * P5)))))
    return _shift_exponent(p, rounded)


@njit(fastmath={"contract", "nsz"}, forceinline=True)
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return ONE / (ONE + exp2(-LOG2_E * x))


@njit(fastmath={"contract", "nsz"}, forceinline=True)
def softplus(x):
    """log(1 + exp(x)), accurate also where it is small."""
    e = exp2(-LOG2_E * abs(x))
    s = e / (TWO + e)
    v = s * s
    return (ZERO if x < ZERO else x) + s * (Q0 + v * (Q1 + v * (Q2 + v * (Q3 + v * Q4))))
