"""Rows of hidden states: embedding them, and adding to and normalising them."""

from __future__ import annotations

import triton
import triton.language as tl

from green_code.gpu.control import ALIGNED, POSITIONS, ROWS, START, STATES


@triton.jit
def row_state(control, row, width, AT_START: tl.constexpr):
    """Where the state of a row lies: of position START + row, or of POSITIONS[row]."""
    states = tl.multiple_of(tl.load(control + STATES).to(tl.pointer_type(tl.float32)), ALIGNED)
    if AT_START:
        position = tl.load(control + START) + row
    else:
        position = tl.load(control + POSITIONS + row)
    return states + position * width


@triton.jit
def embed_rows(control, tokens, table, positions, width, scale, offset,
               LEARNED: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """States of positions START … from the rows `tokens` of `table`, and of the learned `positions`. Grid: rows."""
    row = tl.program_id(0)
    if row >= tl.load(control + ROWS):
        return
    column = tl.arange(0, BLOCK)
    inside = column < width
    token = tl.load(tokens + row).to(tl.int64)
    x = tl.load(table + token * width + column, inside, 0).to(tl.float32) * scale
    if LEARNED:
        position = tl.load(control + START) + row + offset
        x += tl.load(positions + position * width + column, inside, 0).to(tl.float32)
    tl.store(row_state(control, row, width, True) + column, x, inside)


@triton.jit
def _normed(x, gain, bias, column, inside, width, eps,
            LAYER: tl.constexpr, GAIN: tl.constexpr, BIAS: tl.constexpr):  # fmt: skip
    """A row over its root mean square, or standardised (LAYER), times its gain, plus its bias."""
    if LAYER:
        x = tl.where(inside, x - tl.sum(x, 0) / width, 0.0)
    x *= 1.0 / tl.sqrt(tl.sum(x * x, 0) / width + eps)
    if GAIN:
        x *= tl.load(gain + column, inside, 0)
    if BIAS:
        x += tl.load(bias + column, inside, 0)
    return x


@triton.jit
def norm_rows(control, x_rows, added, added_gain, gain, bias, out, unit, width, out_width, eps, scale,
              SOURCE: tl.constexpr, ADD: tl.constexpr, NORM: tl.constexpr, LAYER: tl.constexpr, GAIN: tl.constexpr,
              BIAS: tl.constexpr, UNIT: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Norms of rows, after `scale` × the norm of what is `added` to them. Grid: rows.

    SOURCE: "start" or "positions", see `row_state`; "rows": of `x_rows` (rows, width), float32. ADD: the state gets the norm of `added`
    (rows, width) with `added_gain`, times `scale`. NORM: `out` (rows, out_width) gets the norm. UNIT: `unit` (rows, width) gets it without
    its gain, in float32.
    """
    row = tl.program_id(0)
    if row >= tl.load(control + ROWS):
        return
    column = tl.arange(0, BLOCK)
    inside = column < width
    if SOURCE == "rows":
        source = x_rows + row * width
    else:
        source = row_state(control, row, width, SOURCE == "start")
    x = tl.load(source + column, inside, 0)
    if ADD:
        more = tl.load(added + row * width + column, inside, 0)
        x += scale * _normed(more, added_gain, bias, column, inside, width, eps, False, True, False)
        tl.store(source + column, x, inside)
    if NORM:
        if UNIT:
            x = _normed(x, gain, bias, column, inside, width, eps, LAYER, False, False)
            tl.store(unit + row * width + column, x, inside)
            x *= tl.load(gain + column, inside, 0)
        else:
            x = _normed(x, gain, bias, column, inside, width, eps, LAYER, GAIN, BIAS)
        tl.store(out + row * out_width + column, x.to(out.dtype.element_ty), inside)
