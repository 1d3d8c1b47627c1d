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

from green_code.kernels.binding import Kernel
from green_code.kernels.buffers import KernelBuffers
from green_code.kernels.decoder import KernelDecoder
from green_code.kernels.exit_classifier import exit_probability_function
from green_code.kernels.packing import pack
from green_code.models.adapters import Adapters, LinearAdapter
from green_code.models.backend import TopToken
from green_code.models.config import ModelConfig, Rope
from tests.decoding.networks import exit_classifier
from tests.kernels.references import CONFIGS, PREVIEWED, holding, random_weights, states

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
    """With all adapters, but for an SVD head where the head is previewed in 4 bits, and scratch for POSITIONS positions."""
    ones, both = np.ones(config.width, np.float32), 2 * config.kv_heads * config.head_width
    adapters = Adapters(
        None if config in PREVIEWED.values() else np.eye(config.width, dtype=np.float32)[:64],
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


def guarded_buffers(decoder: KernelDecoder, x: np.ndarray, side: str) -> KernelBuffers:
    buffers = holding(decoder, x, POSITIONS)
    parts = [guarded(part, side) for part in (buffers.padded, buffers.keys, buffers.values)]
    buffers.padded, buffers.keys, buffers.values = parts
    buffers.states = buffers.padded[:, : decoder.config.width]
    buffers.addresses = parts[0].ctypes.data, parts[1].ctypes.data, parts[2].ctypes.data
    return buffers


def run_everything(kernel: Kernel, config: ModelConfig, side: str, bits: int) -> None:
    decoder = guarded_decoder(kernel, config, side, bits)
    x, some = guarded(states(config), side), guarded(np.array([0, config.vocabulary - 1], np.int32), side)
    buffers = guarded_buffers(decoder, x, side)
    rows = len(x)
    decoder.embed_into(buffers, 0, [0, config.vocabulary - 1] * (rows // 2))
    decoder.run_layers(1, config.layers, buffers, 0, rows)  # more rows than a chunk
    buffers.states[rows:] = 1
    for count in (1, 2, 3, 5):  # up to the very end
        decoder.run_layers(1, config.layers, buffers, POSITIONS - count, POSITIONS)
    decoder.project_kv(1, config.layers, buffers, 0, rows, propagated=False)
    decoder.project_kv(2, config.layers, buffers, POSITIONS - 3, POSITIONS, propagated=True)
    assert np.isfinite(decoder.logits(x)).all()
    assert len(decoder.apply_lens(x, 1)) == rows  # more rows than a chunk
    for depth in (1, config.layers):  # with and without a lens
        assert len(decoder.top_tokens(buffers, range(POSITIONS), depth)) == POSITIONS
    for depth in (1, config.layers):
        decoder.top_token_among(buffers, POSITIONS - 1, depth, some)
    classify = exit_probability_function(decoder, exit_classifier(config.width, (1, 2)).parameters_for_decoder())
    for position in (0, POSITIONS - 1):
        assert classify is not None and 0 < classify(buffers, position, 7, TopToken(0, 0.5, 0.5), 1) < 1


if __name__ == "__main__":
    for each_side in ("before", "after"):
        for name, each_config in (*CONFIGS.items(), *PREVIEWED.items()):
            for each_bits in (8, 4):
                print(
                    each_side, name, each_bits, file=sys.stderr, flush=True
                )  # the last line tells where a signal came
                run_everything(Kernel(Path(sys.argv[1]), sys.argv[2]), each_config, each_side, each_bits)
