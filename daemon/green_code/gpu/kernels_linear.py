"""Products of a few rows with a matrix of weights in 4, 8, 16 or 32 bits, and what follows at once: bias, activation, gate, sum.

Reading the weights takes the time, so each program reads those of its outputs once, for BLOCK_M rows. These are padded to 16, as the
tensor cores take them: a row's result is the same in any batch. A scale multiplies the product over its group, not the weights,
which would round them.
"""

from __future__ import annotations

import os

import triton
import triton.language as tl

from green_code.gpu.control import ROWS
from green_code.gpu.kernels_norm import row_state
from green_code.kernels import quantise

GROUP = tl.constexpr(quantise.GROUP)
NIBBLE_GROUP = tl.constexpr(quantise.NIBBLE_GROUP)
INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def product(a, b):
    """(M, K) · (K, N), float32, of activations and of codes in any type. Triton's interpreter neither makes bfloat16 of integers nor
    multiplies it."""
    if INTERPRETED:
        a, b = a.to(tl.float32), b.to(tl.float32)
    else:
        b = b.to(a.dtype)
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def _products(x, weights, scales, minima, row, rows, output, outputs, inputs,
              BITS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    """(BLOCK_M, BLOCK_N) float32: rows of `x` (rows, inputs) with the weights (outputs, inputs) of some outputs."""
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    there, read = row < rows, output < outputs
    output = output.to(tl.int64)
    if BITS == 4:
        column = tl.arange(0, NIBBLE_GROUP)
        for at in range(0, inputs, 2 * NIBBLE_GROUP):
            pair = weights + output[:, None] * (inputs // 2) + at // 2 + column[None, :]
            codes = tl.load(pair, read[:, None], 0)
            group = output * (inputs // NIBBLE_GROUP) + at // NIBBLE_GROUP
            for half in tl.static_range(2):
                place = x + row[:, None] * inputs + at + half * NIBBLE_GROUP + column[None, :]
                some = tl.load(place, there[:, None], 0)
                if half == 0:
                    nibbles = codes & 15
                else:
                    nibbles = codes >> 4
                scale = tl.load(scales + group + half, read, 0).to(tl.float32)
                minimum = tl.load(minima + group + half, read, 0).to(tl.float32)
                sums = tl.sum(some.to(tl.float32), 1)
                total += product(some, tl.trans(nibbles)) * scale[None, :] + sums[:, None] * minimum[None, :]
    else:
        column = tl.arange(0, GROUP)
        for at in range(0, inputs, GROUP):
            some = tl.load(x + row[:, None] * inputs + at + column[None, :], there[:, None], 0)
            codes = tl.load(weights + output[:, None] * inputs + at + column[None, :], read[:, None], 0)
            part = product(some, tl.trans(codes))
            if BITS == 8:
                scale = tl.load(scales + output * (inputs // GROUP) + at // GROUP, read, 0).to(tl.float32)
                part *= scale[None, :]
            total += part
    return total


@triton.jit
def _activated(x, ACTIVATION: tl.constexpr):
    if ACTIVATION == "silu":
        x = x / (1.0 + tl.exp(-x))
    elif ACTIVATION == "relu":
        x = tl.maximum(x, 0.0)
    elif ACTIVATION == "gelu":
        x = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    elif ACTIVATION == "gelu_tanh":  # ½ (1 + tanh y) is the logistic function of 2 y
        x = x / (1.0 + tl.exp(-1.5957691216057308 * (x + 0.044715 * x * x * x)))
    return x


@triton.jit
def softcapped(x, cap):
    """c · tanh(x / c)."""
    return cap * (2.0 / (1.0 + tl.exp(-2.0 * x / cap)) - 1.0)


@triton.jit
def linear(control, x, weights, scales, minima, bias, out, plus, maxima, outputs, inputs, out_width, scale, cap,
           BITS: tl.constexpr, GATED: tl.constexpr, ACTIVATION: tl.constexpr, TARGET: tl.constexpr, BIAS: tl.constexpr,
           CAPPED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    """y = W x + b for rows of `x` (rows, inputs). Grid: blocks of outputs, blocks of rows.

    GATED: W has 2 × outputs rows, and y = ACTIVATION(gate) · up; otherwise y = ACTIVATION(y), times `scale`.
    TARGET: "out": into `out` (rows, out_width); "plus": the same with `plus` (rows, out_width) added; "state": added to the states of
    positions START …; "maxima": as "out", and the greatest of this block's outputs into `maxima` (rows, blocks).
    """
    row = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    rows = tl.load(control + ROWS)
    if tl.program_id(1) * BLOCK_M >= rows:
        return
    output = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    kept = (row < rows)[:, None] & (output < outputs)[None, :]
    y = _products(x, weights, scales, minima, row, rows, output, outputs, inputs, BITS, BLOCK_M, BLOCK_N)
    if BIAS:
        y += tl.load(bias + output, output < outputs, 0)[None, :]
    y = _activated(y, ACTIVATION)
    if GATED:
        second = tl.where(output < outputs, output + outputs, 2 * outputs)
        up = _products(x, weights, scales, minima, row, rows, second, 2 * outputs, inputs, BITS, BLOCK_M, BLOCK_N)
        if BIAS:
            up += tl.load(bias + outputs + output, output < outputs, 0)[None, :]
        y *= up
    y *= scale
    if CAPPED:
        y = softcapped(y, cap)
    place = row[:, None] * out_width + output[None, :]
    if TARGET == "state":
        state = row_state(control, row, out_width, True)[:, None] + output[None, :]
        tl.store(state, tl.load(state, kept, 0) + y, kept)
    else:
        if TARGET == "plus":
            y += tl.load(plus + place, kept, 0)
        tl.store(out + place, y.to(out.dtype.element_ty), kept)
        if TARGET == "maxima":
            greatest = tl.max(tl.where(kept, y, float("-inf")), 1)
            tl.store(maxima + row * tl.num_programs(0) + tl.program_id(0), greatest, row < rows)
