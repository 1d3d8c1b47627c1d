"""Attention of a few rows over a ragged cache: rotary embedding and writing, then flash decoding.

A cache's keys and values are (L, K, capacity, D); a row sees the positions up to its own. Its keys are read in splits of as many
positions, which begin at the same positions for every row, bucket and batch, so that its result depends on nothing else.
"""

from __future__ import annotations

import triton
import triton.language as tl

from green_code.gpu.control import ALIGNED, CAPACITY, KEYS, ROWS, START, VALUES
from green_code.gpu.kernels_linear import product, softcapped

BLOCK_S = tl.constexpr(64)


@triton.jit
def _cached(control, which, layer, kv_heads, head, head_width, DTYPE: tl.constexpr):
    """Where the keys or values of a layer's head lie."""
    base = tl.multiple_of(tl.load(control + which).to(tl.pointer_type(DTYPE)), ALIGNED)
    return base + (layer * kv_heads + head) * tl.load(control + CAPACITY) * head_width


@triton.jit
def rope_cache(control, qkv, q_gain, k_gain, frequencies, queries, layer, heads, kv_heads, head_width, rotated, eps,
               FIRST: tl.constexpr, QK_NORM: tl.constexpr, ROPE: tl.constexpr, DTYPE: tl.constexpr,
               BLOCK_D: tl.constexpr):  # fmt: skip
    """Norms and rotates the heads of `qkv` (rows, heads of FIRST … · D), float32. Queries go to `queries` (rows, H, D), keys and values
    into the cache. Grid: rows, heads.

    FIRST: of the queries' heads; `heads`: the columns have keys and values alone. frequencies: (rotated / 2,).
    """
    row, column_head = tl.program_id(0), tl.program_id(1)
    if row >= tl.load(control + ROWS):
        return
    head = column_head + FIRST
    column = tl.arange(0, BLOCK_D)
    inside = column < head_width
    source = qkv + (row * tl.num_programs(1) + column_head) * head_width
    x = tl.load(source + column, inside, 0)
    position = tl.load(control + START) + row
    if head < heads + kv_heads:
        half = rotated // 2
        partner = tl.where(column < half, column + half, column - half)
        turns = column < rotated
        if ROPE:
            y = tl.load(source + partner, turns, 0)
        if QK_NORM:
            inverse = 1.0 / tl.sqrt(tl.sum(x * x, 0) / head_width + eps)
            if head < heads:
                gain = q_gain
            else:
                gain = k_gain
            x *= inverse * tl.load(gain + column, inside, 0)
            if ROPE:
                y *= inverse * tl.load(gain + partner, turns, 0)
        if ROPE:
            frequency = tl.load(frequencies + tl.where(column < half, column, column - half), turns, 0)
            angle = position.to(tl.float32) * frequency
            sine = tl.where(column < half, -tl.sin(angle), tl.sin(angle))
            x = tl.where(turns, x * tl.cos(angle) + y * sine, x)
    if head < heads:
        tl.store(queries + (row * heads + head) * head_width + column, x.to(DTYPE), inside)
    elif head < heads + kv_heads:
        keys = _cached(control, KEYS, layer, kv_heads, head - heads, head_width, DTYPE)
        tl.store(keys + position * head_width + column, x.to(DTYPE), inside)
    else:
        values = _cached(control, VALUES, layer, kv_heads, head - heads - kv_heads, head_width, DTYPE)
        tl.store(values + position * head_width + column, x.to(DTYPE), inside)


@triton.jit
def attend(control, queries, partial, greatest, sums, arrived, out, layer, heads, kv_heads, head_width, out_width, window, scale, cap,
           WINDOWED: tl.constexpr, CAPPED: tl.constexpr, SPLITS: tl.constexpr, SPLIT: tl.constexpr, DTYPE: tl.constexpr, BLOCK_G: tl.constexpr,
           BLOCK_D: tl.constexpr):  # fmt: skip
    """Flash decoding (Dao et al. 2023): each program attends over one split for the queries of one key-value head; the last one that
    arrives adds the splits up. Grid: rows, kv_heads, SPLITS.

    Args:
        partial: (rows, K, SPLITS, BLOCK_G, BLOCK_D), `greatest` and `sums`: (rows, K, SPLITS, BLOCK_G), float32, scratch.
        arrived: (rows, K) int32, zeros, which it leaves.
        out: (rows, out_width), of which the first H · D columns are written. window: positions that a row sees, its own included.
    """
    row, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    if row >= tl.load(control + ROWS):
        return
    position = tl.load(control + START) + row
    query, column = tl.arange(0, BLOCK_G), tl.arange(0, BLOCK_D)
    group = heads // kv_heads
    kept = (query < group)[:, None] & (column < head_width)[None, :]
    place = (kv_head * group + query)[:, None] * head_width + column[None, :]
    q = tl.load(queries + row * heads * head_width + place, kept, 0)
    keys = _cached(control, KEYS, layer, kv_heads, kv_head, head_width, DTYPE)
    values = _cached(control, VALUES, layer, kv_heads, kv_head, head_width, DTYPE)
    most = tl.full((BLOCK_G,), -1e30, tl.float32)
    total = tl.zeros((BLOCK_G,), tl.float32)
    mixed = tl.zeros((BLOCK_G, BLOCK_D), tl.float32)
    first, end = (split * SPLIT).to(tl.int64), tl.minimum((split + 1) * SPLIT, position + 1)
    oldest = tl.zeros((), tl.int64)
    if WINDOWED:
        oldest = tl.maximum(position + 1 - window, 0)
        first = tl.maximum(first, oldest // BLOCK_S * BLOCK_S)
    for at in range(first, end, BLOCK_S):
        seen = at + tl.arange(0, BLOCK_S)
        visible = (seen < end) & (seen >= oldest)
        read = visible[:, None] & (column < head_width)[None, :]
        k = tl.load(keys + seen[:, None] * head_width + column[None, :], read, 0)
        scores = product(q, tl.trans(k)) * scale
        if CAPPED:
            scores = softcapped(scores, cap)
        scores = tl.where(visible[None, :], scores, -1e30)
        more = tl.maximum(most, tl.max(scores, 1))
        kept_share = tl.exp(most - more)
        shares = tl.where(visible[None, :], tl.exp(scores - more[:, None]), 0.0)
        v = tl.load(values + seen[:, None] * head_width + column[None, :], read, 0)
        mixed = mixed * kept_share[:, None] + product(shares.to(DTYPE), v)
        total = total * kept_share + tl.sum(shares, 1)
        most = more
    target = out + row * out_width + place
    if SPLITS == 1:
        tl.store(target, (mixed / total[:, None]).to(DTYPE), kept)
    else:
        pair = row * kv_heads + kv_head
        part = pair * SPLITS + split
        square = query[:, None] * BLOCK_D + column[None, :]
        tl.store(partial + part * BLOCK_G * BLOCK_D + square, mixed)
        tl.store(greatest + part * BLOCK_G + query, most)
        tl.store(sums + part * BLOCK_G + query, total)
        tl.debug_barrier()  # all threads have stored before one counts the program
        if tl.atomic_add(arrived + pair, 1) == SPLITS - 1:
            tl.store(arrived + pair, 0)
            most = tl.full((BLOCK_G,), -1e30, tl.float32)
            total = tl.zeros((BLOCK_G,), tl.float32)
            mixed = tl.zeros((BLOCK_G, BLOCK_D), tl.float32)
            for other in range(SPLITS):
                part = pair * SPLITS + other
                theirs = tl.load(greatest + part * BLOCK_G + query)
                more = tl.maximum(most, theirs)
                ours, share = tl.exp(most - more), tl.exp(theirs - more)
                mixed = mixed * ours[:, None] + tl.load(partial + part * BLOCK_G * BLOCK_D + square) * share[:, None]
                total = total * ours + tl.load(sums + part * BLOCK_G + query) * share
                most = more
            tl.store(target, (mixed / total[:, None]).to(DTYPE), kept)
