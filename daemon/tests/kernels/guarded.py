"""A program: runs a kernel with a forbidden page right before, then right after, each of its buffers.

    python -m tests.kernels.guarded LIBRARY LEVEL

A signal ends it where the kernel reads or writes outside of a buffer. Linux and macOS.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from green_code.decoding.exit_classifier import ExitClassifier
from green_code.kernels.binding import Kernel
from green_code.kernels.decoder import KernelDecoder
from green_code.kernels.exit_classifier import exit_probability_function
from green_code.kernels.packing import pack
from green_code.models.adapters import Adapters, LinearAdapter
from green_code.models.backend import TopToken
from green_code.models.families import ModelConfig, Rope
from tests.kernels.references import CONFIGS, buffers, random_weights, states

POSITIONS = 256
_LIBC = ctypes.CDLL(None)
_KEPT: list[mmap.mmap] = []


def guarded(array: np.ndarray, side: str) -> np.ndarray:
    """A copy with a forbidden page on one side."""
    page = mmap.PAGESIZE
    size = -(-array.nbytes // page) * page
    block = mmap.mmap(-1, size + page)
    _KEPT.append(block)
    base = ctypes.addressof(ctypes.c_char.from_buffer(block))
    forbidden, at = (base, page) if side == "before" else (base + size, size - array.nbytes)
    moved = np.frombuffer(block, array.dtype, array.size, at).reshape(array.shape)
    moved[...] = array
    if _LIBC.mprotect(ctypes.c_void_p(forbidden), ctypes.c_size_t(page), 0):
        raise OSError("mprotect")
    return moved


def _guarded_angles(angles: Callable[[Rope], Sequence[np.ndarray]], side: str) -> Any:
    return lambda rope: tuple(guarded(table, side) for table in angles(rope))


def guarded_decoder(kernel: Kernel, config: ModelConfig, side: str, bits: int) -> KernelDecoder:
    """With all adapters, and scratch for POSITIONS positions."""
    ones, both = np.ones(config.width, np.float32), 2 * config.kv_heads * config.head_width
    adapters = Adapters(
        np.eye(config.width, dtype=np.float32)[:64],
        {1: LinearAdapter(np.eye(config.width, dtype=np.float32), ones)},
        {config.layers: LinearAdapter(np.ones((both, config.width), np.float32), ones)},
    )
    records, rows, rest = pack(config, random_weights(config).items(), adapters, bits=bits)
    tables = {name: guarded(array, side) for name, array in rows.items()}
    vectors = {name: guarded(array, side) if array.dtype == np.float32 else array for name, array in rest.items()}
    decoder = KernelDecoder(kernel, config, guarded(records, side), tables, vectors)
    decoder._angles = _guarded_angles(decoder._angles, side)  # type: ignore[method-assign]
    decoder._positions = 0
    decoder._allocate(POSITIONS)
    scratch = decoder._scratch
    for structure, name, array in list(scratch.kept):
        scratch.keep(structure, name, guarded(array, side))
    return decoder


def run_everything(kernel: Kernel, config: ModelConfig, side: str, bits: int) -> None:
    decoder = guarded_decoder(kernel, config, side, bits)
    x = torch.from_numpy(guarded(states(config).numpy(), side))
    keys, values = (torch.from_numpy(guarded(empty.numpy(), side)) for empty in buffers(decoder, POSITIONS))
    decoder.embed_into(x, 0, [0, config.vocabulary - 1] * (len(x) // 2))
    decoder.run_layers(1, config.layers, x, 0, len(x), keys, values)  # more rows than a chunk
    more = torch.from_numpy(guarded(np.ones((POSITIONS, config.width), np.float32), side))
    for rows in (1, 2, 3, 5):  # up to the very end
        decoder.run_layers(1, config.layers, more, POSITIONS - rows, POSITIONS, keys, values)
    decoder.project_kv(1, config.layers, x, 0, len(x), keys, values, propagated=False)
    decoder.project_kv(2, config.layers, more, POSITIONS - 3, POSITIONS, keys, values, propagated=True)
    assert torch.isfinite(decoder.logits(x)).all()
    assert len(decoder.apply_lens(x, 1)) == len(x)  # more rows than a chunk
    for depth in (1, config.layers):  # with and without a lens
        assert len(decoder.top_tokens(x, 0, len(x), depth)) == len(x)
    if config.tied_head:
        for depth in (1, config.layers):
            decoder.top_token_among(x, len(x) - 1, depth, torch.tensor([0, config.vocabulary - 1]).int())
    classify = exit_probability_function(decoder, ExitClassifier(config.width, (1, 2)).parameters_for_kernel())
    assert classify is not None and 0 < classify(x[0], 7, TopToken(0, 0.5, 0.5), 1) < 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each_side in ("before", "after"):
        for name, each_config in CONFIGS.items():
            for each_bits in (8, 4):
                print(each_side, name, each_bits, file=sys.stderr, flush=True)  # the last line tells where a signal came
                run_everything(Kernel(Path(sys.argv[1]), sys.argv[2]), each_config, each_side, each_bits)
