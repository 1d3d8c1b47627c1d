"""A decoder whose layers and head run in the kernel. `models.torch_decoder.Decoder` is its reference and its fallback."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from green_code.kernels.binding import (
    ACTIVATIONS,
    HEAD_ROWS,
    ROTARY_BLOCK,
    CLayer,
    CMatrix,
    CModel,
    CNorm,
    CSvdHead,
    CTopToken,
    Kernel,
    Scratch,
)
from green_code.kernels.buffers import KernelBuffers
from green_code.kernels.exit_classifier import exit_probability_function
from green_code.kernels.packing import PREVIEW, head_weight, kv_projection_name, lens_name, reads_rows, unpack
from green_code.kernels.padding import Padding
from green_code.kernels.thread_pool import ThreadPool
from green_code.kernels.weight_bits import candidate_bytes
from green_code.models.backend import Buffers, ExitParameters, ExitProbability, ExitQuestion, TopToken, top_token_of
from green_code.models.config import ModelConfig, Rope, inverse_frequencies
from green_code.models.shapes import EMBEDDING, POSITIONS

_FIRST_POSITIONS = 1024
_MATRICES = ("qkv", "attention_out", "mlp_in", "mlp_out")
_NORMS = ("attention_norm", "attention_out_norm", "mlp_norm", "mlp_out_norm")
_FLOAT_BYTES, _BFLOAT16_BYTES = 4, 2
_AT_ONCE = 30_000_000_000
"""Multiplications of a call, which cannot be interrupted: half a second of one thread."""
_SHARED_BYTES = 16_000_000
"""Of a preview, times positions, from which on threads share it: half a millisecond for one. Below, helpers cost more than they save."""


class KernelDecoder:
    """Weights in 8 or 4 bits, keys and values in int8, hidden states in float32; on as many threads as pay (thread_pool.py).

    A row's result depends on the row alone, not on the thread that computes it.

    Args:
        records, rows, rest: of `packing.pack`.
    Raises:
        ValueError: they are not of this configuration.
    """

    gpu = None
    rows_at_once = 256

    def __init__(
        self,
        kernel: Kernel,
        config: ModelConfig,
        records: np.ndarray,
        rows: Mapping[str, np.ndarray],
        rest: Mapping[str, np.ndarray],
    ) -> None:
        packed = unpack(config, records, rows, rest)
        self.config, self.kernel = config, kernel
        self._padding = padding = Padding(config)
        self._layout = (
            config.width, padding.width, config.layers, config.kv_heads,
            kernel.key_bytes(padding.head_width), kernel.value_bytes(padding.head_width),
        )  # fmt: skip
        self._row_bytes = padding.width * _FLOAT_BYTES
        self._packed, self._matrices = packed, packed.matrices
        self._embed, positions = packed.tables[EMBEDDING].ctypes.data, packed.tables.get(POSITIONS)
        self._learned_positions = None if positions is None else positions.ctypes.data
        self._lenses = {
            depth: (self._matrices[lens_name(depth)], self._vector(lens_name(depth))) for depth in packed.extras.lenses
        }
        self._layer_weights: int = sum(
            m.outputs * m.inputs for m in (self._matrices[f"layers.0.{name}"] for name in _MATRICES)
        )
        has_rows = reads_rows(config, packed.extras)
        self._head = CSvdHead(
            None if packed.down is None else packed.down.ctypes.data,
            self._matrices[PREVIEW],
            packed.tables[head_weight(config)].ctypes.data if has_rows else None,
            config.vocabulary,
        )
        self._tops = (CTopToken * HEAD_ROWS)()
        self._threads = ThreadPool(kernel.run_helper)
        self._positions = 0
        self._allocate(_FIRST_POSITIONS)

    def serve(self) -> None:
        """See `Backend`."""

    def close(self) -> None:
        """See `Backend`."""

    def layers_at_once(self, rows: int) -> int:
        """See `Backend`."""
        return max(1, _AT_ONCE // (rows * self._layer_weights))

    def new_buffers(self, capacity: int) -> KernelBuffers:
        """See `Backend`."""
        return KernelBuffers(self._layout, capacity)

    def embed_into(self, buffers: Buffers, start: int, tokens: Sequence[int]) -> None:
        """See `Backend`.

        Raises:
            ValueError: there is no such token or position.
        """
        c, at = self.config, self._address(self._own(buffers), start, start + len(tokens))
        if not all(0 <= token < c.vocabulary for token in tokens):
            raise ValueError(f"tokens must be of the {c.vocabulary} that are embedded")
        positions = self._learned_positions
        if positions is not None:
            if start + len(tokens) > c.max_positions:
                raise ValueError(f"positions {start} … {start + len(tokens) - 1} of {c.max_positions} that are learned")
            positions += (c.row.learned_position_offset + start) * self._padding.width * _BFLOAT16_BYTES
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        self.kernel.embed(self._model, self._embed, positions, ids, len(tokens), c.embedding_scale, at)

    def run_layers(self, first: int, last: int, buffers: Buffers, start: int, stop: int) -> None:
        """See `Backend`.

        Raises:
            ValueError: the buffers are of another model, or a bound is outside of them.
        """
        arguments = self._arguments(first, last, buffers, start, stop)
        pool = self._threads.open(stop - start)
        self.kernel.run_layers(*arguments, pool)
        if pool is not None:
            self._threads.back_off()

    def project_kv(self, first: int, last: int, buffers: Buffers, start: int, stop: int, propagated: bool) -> None:
        """See `Backend`; errors are those of `run_layers`."""
        self.kernel.project_kv(*self._arguments(first, last, buffers, start, stop), propagated)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Final norm and whole head: states (C,) or (N, C) → (V,) or (N, V) float32.

        From the head's rows in bfloat16 where candidates are read from them, which is exact and takes several times as long; otherwise
        from the head in 8 bits, as in `top_tokens`.
        """
        rows = self._rows(x)
        out = np.empty((len(rows), self._head.preview.outputs), np.float32)
        self.kernel.logits(
            self._model, self._head, rows.ctypes.data, len(rows), out.ctypes.data, self._scratch.structure
        )
        logits: np.ndarray = out[:, : self.config.vocabulary].reshape(*x.shape[:-1], -1)
        return logits

    def apply_lens(self, x: np.ndarray, depth: int) -> np.ndarray:
        """States (N, C) at `depth` as the head reads them: through the exit's lens, where it has one."""
        if depth not in self._lenses:
            return x
        rows = self._rows(x)
        out = np.empty_like(rows)
        self.kernel.apply_lens(
            self._model, *self._lenses[depth], rows.ctypes.data, len(rows), out.ctypes.data, self._scratch.structure
        )
        return out[:, : self.config.width]

    def top_tokens(
        self, buffers: Buffers, positions: Sequence[int], depth: int, question: ExitQuestion | None = None
    ) -> list[TopToken]:
        """See `Backend`; by the SVD head where there is one, otherwise by a preview in 4 bits or the whole head in 8 (`head_bits`)."""
        own, first, end, count = self._own(buffers), positions[0], positions[-1] + 1, len(positions)
        at = self._address(own, first, end)
        if end - first != count:
            gathered = own.padded[list(positions)]
            at = gathered.ctypes.data
        return self._tops_at(at, count, depth)

    def _tops_at(self, at: int, count: int, depth: int) -> list[TopToken]:
        """Of `count` padded states that lie one after the other."""
        lens, gain = self._lenses.get(depth, (None, None))
        tops: list[TopToken] = []
        for done in range(0, count, HEAD_ROWS):
            rows = min(HEAD_ROWS, count - done)
            shared = rows * self._packed.nbytes[PREVIEW] >= _SHARED_BYTES
            pool = self._threads.open(rows) if shared else None
            self.kernel.top_tokens(
                self._model, self._head, lens, gain, at, rows, self._tops, self._scratch.structure, pool
            )
            if pool is not None:
                self._threads.back_off()
            tops += [TopToken(top.token, top.log_odds, top.margin) for top in self._tops[:rows]]
            at += rows * self._row_bytes
        return tops

    def top_token_among(self, buffers: Buffers, position: int, depth: int, tokens: np.ndarray) -> TopToken:
        """See `Backend`.

        Raises:
            ValueError: there is no such position or token, or `tokens` has another shape, type or layout.
        """
        own, vocabulary = self._own(buffers), self.config.vocabulary
        at = self._address(own, position, position + 1)
        if tokens.dtype != np.int32 or not tokens.flags.c_contiguous or not 0 < len(tokens) <= vocabulary:
            raise ValueError(f"tokens must be an int32 vector of 1 to {vocabulary}")
        if not 0 <= int(tokens.min()) <= int(tokens.max()) < vocabulary:
            raise ValueError(f"tokens must be of the {vocabulary} that the head has")
        if not self._head.rows:
            return top_token_of(tokens, self.all_logits(own, position, position + 1, depth)[0, tokens])
        lens, gain = self._lenses.get(depth, (None, None))
        self.kernel.top_token_among(
            self._model, self._head, lens, gain, at, tokens.ctypes.data, len(tokens),
            self._scratch.structure,
        )  # fmt: skip
        return top_token_of(tokens, self._scratch.output[: len(tokens)])

    def exit_probability(self, parameters: ExitParameters) -> ExitProbability | None:
        """See `Backend`."""
        return exit_probability_function(self, parameters)

    def synchronise(self) -> None:
        """See `Backend`."""

    def state(self, buffers: Buffers, position: int) -> np.ndarray:
        """See `Backend`: a view."""
        state: np.ndarray = self._own(buffers).rows[position]
        return state

    def states(self, buffers: Buffers, start: int, stop: int) -> np.ndarray:
        """See `Backend`: a view."""
        return self._own(buffers).states[start:stop]

    def lensed_states(self, buffers: Buffers, start: int, stop: int, depth: int) -> np.ndarray:
        """See `Backend`."""
        return self.apply_lens(self.states(buffers, start, stop), depth)

    def all_logits(self, buffers: Buffers, start: int, stop: int, depth: int) -> np.ndarray:
        """See `Backend`."""
        return self.logits(self.lensed_states(buffers, start, stop, depth))

    def state_address(self, buffers: Buffers, position: int) -> int:
        """Where the state of a position lies, for other functions of the kernel."""
        return self._address(self._own(buffers), position, position + 1)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that a token at full depth reads at most: all layers', and the head's or its preview's and candidates'."""
        extras = self._packed.extras
        unread = (*map(lens_name, extras.lenses), *map(kv_projection_name, extras.kv_projections))
        skipped = sum(self._packed.nbytes[name] for name in unread)
        return self._packed.records.nbytes - skipped + (candidate_bytes(self.config) if self._head.rows else 0)

    @property
    def has_svd_head(self) -> bool:
        return bool(self._head.down)

    @property
    def description(self) -> str:
        return f"kernel, {self._bits}, {self.kernel.level}"

    @property
    def build(self) -> str:
        rank = self._head.preview.inputs if self.has_svd_head else 0
        return f"{self.kernel.digest}, {self._bits}, SVD head {rank}, lenses {sorted(self._lenses)}"

    # --- inside -------------------------------------------------------------------------------------------

    @property
    def _bits(self) -> str:
        """Of the weights, as people name them."""
        layers, head = self._matrices["layers.0.qkv"].bits, self._head.preview.bits
        return f"int{layers}" if layers == head else f"int{layers}, head int{head}"

    def _own(self, buffers: Buffers) -> KernelBuffers:
        if not isinstance(buffers, KernelBuffers) or buffers.layout != self._layout:
            raise ValueError("buffers are of another model")
        return buffers

    def _address(self, buffers: KernelBuffers, start: int, stop: int) -> int:
        """The address of the state of position `start`.

        Raises:
            ValueError: there are no positions start … stop−1.
        """
        if not 0 <= start <= stop <= buffers.capacity:
            raise ValueError(f"positions {start} … {stop - 1} of {buffers.capacity}")
        return buffers.addresses[0] + start * self._row_bytes

    def _arguments(self, first: int, last: int, buffers: Buffers, start: int, stop: int) -> tuple[Any, ...]:
        """The kernel's arguments for a span of layers, checked; scratch is large enough for them.

        Raises:
            ValueError: see `run_layers`.
        """
        own = self._own(buffers)
        at = self._address(own, start, stop)
        if not 1 <= first <= last <= self.config.layers:
            raise ValueError(f"layers {first} … {last} of {self.config.layers}")
        if stop > self._positions:
            self._allocate(stop)
        _, keys, values = own.addresses
        return (
            self._model, first - 1, last, at, start, stop - start, keys, values, own.capacity, self._scratch.structure
        )  # fmt: skip

    def _rows(self, x: np.ndarray) -> np.ndarray:
        """(…, C) → (N, C), padded and contiguous."""
        if x.dtype != np.float32 or x.shape[-1] != self.config.width:
            raise ValueError("states must be float32 of the model's width")
        return np.ascontiguousarray(self._padding.pad("states", x.reshape(-1, self.config.width)))

    def _allocate(self, positions: int) -> None:
        """Rotary tables and scratch for so many positions, in powers of two."""
        if positions <= self._positions:
            return
        c, self._positions = self.config, 1 << (positions - 1).bit_length()
        self._tables = {rope: self._angles(rope) for rope in set(c.ropes) if rope is not None}
        self._layers = (CLayer * c.layers)(*(self._layer(i) for i in range(c.layers)))
        self._model = CModel(
            self._layers, c.layers, c.vocabulary, self._padding.width, c.heads, c.kv_heads, self._padding.head_width, self._padding.mlp_width,
            c.width, c.head_width, self._rotary_width, ACTIVATIONS[c.activation], c.row.gated,
            c.norm_eps, c.attention_scale, c.attention_softcap or 0.0, c.logit_softcap or 0.0, self._norm("norm"),
        )  # fmt: skip
        others = [matrix for name, matrix in self._matrices.items() if name != PREVIEW]
        preview = self._matrices[PREVIEW]
        self._scratch = Scratch(others, preview, self._model, self._positions, self._threads.workers)

    def _angles(self, rope: Rope) -> tuple[np.ndarray, np.ndarray]:
        positions = np.arange(self._positions, dtype=np.float32)
        angles = np.outer(positions, inverse_frequencies(rope, self._rotary_width))
        angles = np.pad(angles, ((0, 0), (0, -angles.shape[1] % ROTARY_BLOCK)))
        return np.cos(angles), np.sin(angles)

    @property
    def _rotary_width(self) -> int:
        return self.config.rotary_width or self.config.head_width

    def _vector(self, name: str) -> int | None:
        """The address of a gain or a bias; None where the family has no such one."""
        vector = self._packed.vectors.get(name)
        return None if vector is None else vector.ctypes.data

    def _norm(self, name: str) -> CNorm:
        return CNorm(self._vector(f"{name}.weight"), self._vector(f"{name}.bias"))

    def _layer(self, i: int) -> CLayer:
        layer, rope = f"layers.{i}.", self.config.ropes[i]
        return CLayer(
            *(self._matrices[layer + name] for name in _MATRICES),
            *(self._vector(f"{layer}{name}.bias") for name in _MATRICES),
            *(self._norm(layer + name) for name in _NORMS),
            *(self._vector(f"{layer}{name}.weight") for name in ("q_norm", "k_norm")),
            *((None, None) if rope is None else (table.ctypes.data for table in self._tables[rope])),
            self.config.windows[i] or 0,
            self._matrices.get(kv_projection_name(i + 1), CMatrix()),
        )
