"""A cache's memory is there when it is made: a window that types for long takes no more than one that has just begun."""

from __future__ import annotations

import psutil

from green_code.kernels.buffers import KernelBuffers

WIDTH, LAYERS, KV_HEADS, KEY_BYTES, VALUE_BYTES = 640, 18, 1, 320, 320
POSITIONS = 4096


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


def test_a_cache_takes_its_memory_when_it_is_made_and_none_while_it_fills() -> None:
    before = resident()
    buffers = KernelBuffers((WIDTH, WIDTH, LAYERS, KV_HEADS, KEY_BYTES, VALUE_BYTES), POSITIONS)
    made = resident()
    assert made - before > 0.9 * buffers.nbytes
    buffers.padded[:] = 1
    buffers.keys[:] = 1
    buffers.values[:] = 1
    assert resident() - made < 0.1 * buffers.nbytes
