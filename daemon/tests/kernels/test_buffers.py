"""A cache's memory is taken when it grows, and none while it fills, so that typing for long is no growth of the engine."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json
import psutil
from green_code.kernels.buffers import KernelBuffers

def resident():
    return psutil.Process().memory_info().rss

buffers = KernelBuffers((640, 640, 18, 1, 320, 320), 0)
begun = resident()
buffers.grow(4096)
grown = resident()
for each in (buffers.padded, buffers.keys, buffers.values):
    each[:] = 1
print(json.dumps([buffers.nbytes, grown - begun, resident() - grown]))
"""
"""In a process of its own: what other tests have freed would be used again."""


def test_a_cache_takes_memory_when_it_grows_and_none_while_it_fills() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    size, to_grow, to_fill = json.loads(printed)
    assert to_grow > 0.9 * size
    assert to_fill < 0.1 * size
