"""A decoder whose layers and head run in the kernel. `models.decoder.Decoder` is its reference and its fallback."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from green_code.kernels.binding import (
    HEAD_ROWS,
    VALUE_BLOCK,
    CLayer,
    CMatrix,
    CModel,
    CSvdHead,
    CTopToken,
    Kernel,
    Scratch,
)
from green_code.kernels.packing import PREVIEW, head_name, kv_projection_name, lens_name, unpack
from green_code.kernels.thread_pool import ThreadPool
from green_code.models.backend import CANDIDATES, TopToken, top_token_of
from green_code.models.decoder import inverse_frequencies
from green_code.models.families import ModelConfig, Rope

_FIRST_POSITIONS = 1024
_MATRICES = ("qkv", "attention_out", "mlp_in", "mlp_out")
_GAINS = ("attention_norm", "q_norm", "k_norm", "attention_out_norm", "mlp_norm", "mlp_out_norm")
_FLOAT_BYTES = 4


class KernelDecoder:
    """Weights in 8 or 4 bits, keys and values in int8, hidden states in float32; on as many threads as pay (thread_pool.py).

    A row's result depends on the row alone, not on the thread that computes it.

    Args:
        records, rows, rest: of `packing.pack`.
    Raises:
        ValueError: they are not of this configuration.
    """

    dtype, cache_dtype = torch.float32, torch.uint8
    device = torch.device("cpu")
    rows_at_once, layers_at_once = 256, 1_000  # a call takes a tenth of a second, or two

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
        self.cache_widths = kernel.key_bytes(config.head_width), kernel.value_bytes(config.head_width)
        self._packed, self._matrices, self._gains = packed, packed.matrices, packed.gains
        self._norm, self._embed = packed.gains["norm"].ctypes.data, packed.embed.ctypes.data
        self._head = self._matrices[head_name(config)]
        self._lenses = {
            depth: (self._matrices[lens_name(depth)], self._gains[lens_name(depth)].ctypes.data)
            for depth in packed.extras.lenses
        }
        preview = self._matrices.get(PREVIEW)
        self._svd_head = CSvdHead(
            None if packed.down is None else packed.down.ctypes.data,
            preview or self._head,
            None if preview is None else packed.head_rows.ctypes.data,
            config.vocabulary,
        )
        self._tops = (CTopToken * HEAD_ROWS)()
        self._threads = ThreadPool(kernel.run_helper)
        self._positions = 0
        self._allocate(_FIRST_POSITIONS)

    def embed_into(self, states: Tensor, start: int, tokens: Sequence[int]) -> None:
        """See `Backend`.

        Raises:
            ValueError: there is no such token or position, or `states` is not (S, C) float32.
        """
        c, at = self.config, self._pointer(states, start, start + len(tokens))
        if not all(0 <= token < c.vocabulary for token in tokens):
            raise ValueError(f"tokens must be of the {c.vocabulary} that are embedded")
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        self.kernel.embed(self._model, self._embed, ids, len(tokens), c.embedding_scale, at)

    def run_layers(
        self, first: int, last: int, states: Tensor, start: int, stop: int, keys: Tensor, values: Tensor
    ) -> None:
        """Layers `first` … `last` (from 1) over positions start … stop−1, in place.

        Args:
            states: (S, C), S ≥ stop. keys, values: (L, K, S, `cache_widths`), valid before `start` in these layers; the new ones
                are written. Blocks of 32 positions are interleaved (attention.h).
        Raises:
            ValueError: a buffer has another shape, type or layout, or a bound is outside of it.
        """
        arguments = self._arguments(first, last, states, start, stop, keys, values)
        pool = self._threads.open(stop - start)
        self.kernel.run_layers(*arguments, pool)
        if pool is not None:
            self._threads.back_off()

    def project_kv(
        self, first: int, last: int, states: Tensor, start: int, stop: int, keys: Tensor, values: Tensor, propagated: bool
    ) -> None:  # fmt: skip
        """See `Backend`; arguments and errors are those of `run_layers`."""
        self.kernel.project_kv(*self._arguments(first, last, states, start, stop, keys, values), propagated)

    def logits(self, x: Tensor) -> Tensor:
        """Final norm and whole head: (C,) or (N, C) → (V,) or (N, V) float32."""
        rows = self._rows(x)
        out = torch.empty(len(rows), self._head.outputs)
        self.kernel.logits(
            self._model, self._norm, self._head, rows.data_ptr(), len(rows), out.data_ptr(),
            self._scratch.structure,
        )  # fmt: skip
        return out[:, : self.config.vocabulary].reshape(*x.shape[:-1], -1)

    def apply_lens(self, x: Tensor, depth: int) -> Tensor:
        """See `Backend`."""
        if depth not in self._lenses:
            return x
        rows = self._rows(x)
        out = torch.empty_like(rows)
        self.kernel.apply_lens(
            self._model, *self._lenses[depth], rows.data_ptr(), len(rows), out.data_ptr(), self._scratch.structure
        )  # fmt: skip
        return out

    def top_tokens(self, states: Tensor, start: int, stop: int, depth: int) -> list[TopToken]:
        """See `Backend`; by the SVD head where there is one, by the whole head otherwise.

        Raises:
            ValueError: there are no such positions, or `states` is not (S, C) float32.
        """
        at = self._pointer(states, start, stop)
        lens, gain = self._lenses.get(depth, (None, None))
        tops: list[TopToken] = []
        for first in range(start, stop, HEAD_ROWS):
            rows = min(HEAD_ROWS, stop - first)
            self.kernel.top_tokens(
                self._model, self._norm, self._svd_head, lens, gain, at, rows, self._tops, self._scratch.structure
            )  # fmt: skip
            tops += [TopToken(top.token, top.log_odds, top.margin) for top in self._tops[:rows]]
            at += rows * self.config.width * _FLOAT_BYTES
        return tops

    def top_token_among(self, states: Tensor, position: int, depth: int, tokens: Tensor) -> TopToken:
        """See `Backend`.

        Raises:
            ValueError: there is no such position or token, or a tensor has another shape, type or layout.
        """
        at, vocabulary = self._pointer(states, position, position + 1), self.config.vocabulary
        if tokens.dtype != torch.int32 or not tokens.is_contiguous() or not 0 < len(tokens) <= vocabulary:
            raise ValueError(f"tokens must be an int32 vector of 1 to {vocabulary}")
        if not 0 <= int(tokens.min()) <= int(tokens.max()) < vocabulary:
            raise ValueError(f"tokens must be of the {vocabulary} that the head has")
        if not self._svd_head.rows:
            return top_token_of(tokens, self.logits(self.apply_lens(states[position, None], depth))[0, tokens.long()])
        lens, gain = self._lenses.get(depth, (None, None))
        self.kernel.top_token_among(
            self._model, self._norm, self._svd_head, lens, gain, at, tokens.data_ptr(), len(tokens),
            self._scratch.structure,
        )  # fmt: skip
        return top_token_of(tokens, torch.from_numpy(self._scratch.output[: len(tokens)]))

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that a token at full depth reads at most: all layers', and the head's or its preview's and candidates'."""
        unread = [
            *map(lens_name, self._packed.extras.lenses),
            *map(kv_projection_name, self._packed.extras.kv_projections),
            *([head_name(self.config)] if self.has_svd_head else ()),
        ]
        skipped = sum(self._packed.nbytes[name] for name in unread)
        candidates = 2 * CANDIDATES * self.config.width if self.has_svd_head else 0
        return self._packed.records.nbytes - skipped + candidates

    @property
    def has_svd_head(self) -> bool:
        return bool(self._svd_head.rows)

    @property
    def description(self) -> str:
        return f"kernel, int8, {self.kernel.level}"

    @property
    def build(self) -> str:
        rank = self._svd_head.preview.inputs if self.has_svd_head else 0
        return f"{self.kernel.digest}, SVD head {rank}, lenses {sorted(self._lenses)}"

    # --- inside -------------------------------------------------------------------------------------------

    def _pointer(self, states: Tensor, start: int, stop: int) -> int:
        """The address of the state of position `start`.

        Raises:
            ValueError: positions start … stop−1 are not in `states`, or it is not (S, C) float32.
        """
        _check(states, self.dtype)
        positions, width = states.shape
        if width != self.config.width:
            raise ValueError("buffers are of another model")
        if not 0 <= start <= stop <= positions:
            raise ValueError(f"positions {start} … {stop - 1} of {positions}")
        at: int = states.data_ptr() + start * width * _FLOAT_BYTES
        return at

    def _arguments(
        self, first: int, last: int, states: Tensor, start: int, stop: int, keys: Tensor, values: Tensor
    ) -> tuple[Any, ...]:
        """The kernel's arguments for a span of layers, checked; scratch is large enough for them.

        Raises:
            ValueError: see `run_layers`.
        """
        c, at = self.config, self._pointer(states, start, stop)
        for tensor in (keys, values):
            _check(tensor, self.cache_dtype)
        if keys.dim() != 4 or keys.shape[:-1] != values.shape[:-1]:
            raise ValueError(f"keys {tuple(keys.shape)} and values {tuple(values.shape)} differ")
        layers, kv_heads, capacity, _ = keys.shape
        widths = keys.shape[-1], values.shape[-1]
        if (layers, kv_heads, widths) != (c.layers, c.kv_heads, self.cache_widths):
            raise ValueError("buffers are of another model")
        if not (1 <= first <= last <= c.layers and stop <= capacity):
            raise ValueError(f"layers {first} … {last}, positions {start} … {stop - 1} of {capacity}")
        if capacity % VALUE_BLOCK:
            raise ValueError(f"capacity {capacity} is no multiple of {VALUE_BLOCK}")
        self._allocate(stop)
        return (
            self._model, first - 1, last, at, start, stop - start, keys.data_ptr(), values.data_ptr(), capacity,
            self._scratch.structure,
        )  # fmt: skip

    def _rows(self, x: Tensor) -> Tensor:
        """(…, C) → (N, C), contiguous."""
        if x.dtype != self.dtype or x.shape[-1] != self.config.width:
            raise ValueError("states must be float32 of the model's width")
        return x if x.dim() == 2 and x.is_contiguous() else x.reshape(-1, self.config.width).contiguous()

    def _allocate(self, positions: int) -> None:
        """Rotary tables and scratch for so many positions, in powers of two."""
        if positions <= self._positions:
            return
        c, self._positions = self.config, 1 << (positions - 1).bit_length()
        self._tables = {rope: self._angles(rope) for rope in set(c.ropes) if rope is not None}
        self._layers = (CLayer * c.layers)(*(self._layer(i) for i in range(c.layers)))
        self._model = CModel(
            self._layers, c.width, c.heads, c.kv_heads, c.head_width, c.mlp_width,
            int(c.activation == "gelu_tanh"), c.norm_eps, c.attention_scale,
        )  # fmt: skip
        inner = [m for name, m in self._matrices.items() if name.startswith("layers.")]
        widest, inputs = max(m.outputs for m in inner), max(m.inputs for m in inner)
        self._scratch = Scratch(widest, inputs, self._head.outputs, self._model, self._positions, self._threads.workers)

    def _angles(self, rope: Rope) -> tuple[np.ndarray, np.ndarray]:
        positions = torch.arange(self._positions).float()
        angles = torch.outer(positions, inverse_frequencies(rope, self.config.head_width))
        return angles.cos().numpy(), angles.sin().numpy()

    def _layer(self, i: int) -> CLayer:
        gains = [self._gains.get(f"layers.{i}.{name}") for name in _GAINS]
        rope = self.config.ropes[i]
        assert rope is not None  # unsupported_reason
        return CLayer(
            *(self._matrices[f"layers.{i}.{name}"] for name in _MATRICES),
            *(None if gain is None else gain.ctypes.data for gain in gains),
            *(table.ctypes.data for table in self._tables[rope]),
            self.config.windows[i] or 0,
            self._matrices.get(kv_projection_name(i + 1), CMatrix()),
        )


def _check(tensor: Tensor, dtype: torch.dtype) -> None:
    """Raises ValueError where the kernel could not point into a tensor."""
    if tensor.dtype != dtype or not tensor.is_contiguous() or tensor.device.type != "cpu":
        raise ValueError("buffers must be contiguous on the CPU: float32 states, keys and values in bytes")
