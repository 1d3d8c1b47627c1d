"""How fast a token could be if memory were all: the weights that it reads, over how fast this machine reads."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from green_code.kernels.decoder import KernelDecoder

_BYTES = 256 * 2**20  # of an array: no cache holds it and its copy
_REPEATS = 5


def weight_bytes(decoder: Any) -> int:
    """Bytes of weights that a token at full depth reads: all but the embedding's other rows, where the head is not tied to it."""
    if isinstance(decoder, KernelDecoder):
        return decoder.weight_bytes
    unread = ("positions.weight",) if decoder.config.tied_head else ("positions.weight", "embed.weight")
    return sum(weight.nbytes for name, weight in decoder.state_dict().items() if name not in unread)


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Inside a `with`, torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def read_bytes_per_second(threads: int) -> float:
    """The best of a few sums and copies of a large array; a copy counts what it reads and what it writes."""
    with torch_threads(threads):
        source = torch.ones(_BYTES // 4)
        target = torch.zeros_like(source)
        return max(_BYTES / _least(source.sum), 2 * _BYTES / _least(lambda: target.copy_(source)))


def _least(work: Callable[[], Any]) -> float:
    """Seconds of the fastest run."""
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def memory_bound(decoder: Any, threads: Sequence[int]) -> dict[str, Any]:
    """Bytes, bandwidth by number of threads, and the seconds that a token then takes at least."""
    size = weight_bytes(decoder)
    speeds = {count: read_bytes_per_second(count) for count in threads}
    return {
        "weight_bytes": size,
        "threads": [
            {"threads": count, "bytes_per_second": speed, "token_seconds": size / speed}
            for count, speed in speeds.items()
        ],
    }
