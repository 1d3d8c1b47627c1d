"""A decoder whose layers and head run in the kernel; `models.decoder.Decoder` is its reference and its fallback.

Held by: tests/kernels/, test_decoder.py above all, against the torch decoder over the same rounded weights.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from green_code.kernels.binding import (
    BESIDE,
    BLOCK,
    LOOKS,
    UNITS,
    CJudge,
    CLayer,
    CMatrix,
    CModel,
    CScreen,
    CTeam,
    CTop,
    Kernel,
    Scratch,
)
from green_code.kernels.exit_classifier import ExitParameters, ExitProbability
from green_code.kernels.helper_thread import Helper
from green_code.kernels.packing import PREVIEW, head_name, kv_projection_name, lens_name, unpack
from green_code.kernels.quantise import GROUP, RECORD_BYTES, TILE
from green_code.models.backend import CANDIDATES, TopToken
from green_code.models.decoder import inverse_frequencies
from green_code.models.families import ModelConfig, Rope

_FIRST_POSITIONS = 1024
_SHORTEST_PAUSE_SECONDS = 0.005  # without a helper, after a stall
_LONGEST_PAUSE_SECONDS = 0.1  # after several in a row
_MATRICES = ("qkv", "attention_out", "mlp_in", "mlp_out")
_GAINS = ("attention_norm", "q_norm", "k_norm", "attention_out_norm", "mlp_norm", "mlp_out_norm")
_FLOAT_BYTES = 4


def _check(tensor: Tensor, dtype: torch.dtype) -> None:
    """Raises ValueError where the kernel could not point into it."""
    if tensor.dtype != dtype or not tensor.is_contiguous() or tensor.device.type != "cpu":
        raise ValueError("buffers must be contiguous on the CPU: float32 states, keys and values in bytes")


def usable_cores() -> int:
    """Logical cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class KernelDecoder:
    """Matrices, keys and values in int8, hidden states in float32.

    Two threads share each matrix where there are two cores (team.h); a row's result does not depend on who computed it.
    """

    dtype, cache_dtype = torch.float32, torch.uint8
    device = torch.device("cpu")
    rows_at_once, layers_at_once = 256, 1_000  # a call takes a tenth of a second, or two

    def __init__(
        self, kernel: Kernel, config: ModelConfig, records: np.ndarray, rest: Mapping[str, Tensor]
    ) -> None:
        """
        Args:
            records, rest: of `packing.pack`.
        Raises:
            ValueError: they are not of this configuration.
        """
        packed = unpack(config, records, rest)
        self.config, self._kernel = config, kernel
        self.cache_widths = kernel.key_bytes(config.head_width), kernel.value_bytes(config.head_width)
        self._records, self._near = packed.records, packed.near  # matrices point into them
        self._embed, self._gains = packed.embed, packed.gains
        self._norm, self._embed_at = self._gains["norm"].ctypes.data, self._embed.data_ptr()
        self._matrices = packed.matrices
        self._head = self._matrices[head_name(config)]
        self._lenses = {
            depth: (self._matrices[lens_name(depth)], self._gains[lens_name(depth)].ctypes.data)
            for depth in packed.lenses
        }
        self._entries = {layer: self._matrices[kv_projection_name(layer)] for layer in packed.entries}
        down = packed.down
        preview = self._matrices.get(PREVIEW)
        self._svd_head = CScreen(
            None if down is None else down.data_ptr(),
            preview or self._head,
            None if preview is None else self._embed_at,
            config.vocabulary,
        )
        self._down = down  # the screen points into it
        self._helper = Helper()
        self._tops = (CTop * LOOKS)()
        self._team, self._pause, self._alone_until = CTeam(), _SHORTEST_PAUSE_SECONDS, 0.0
        self._positions = 0
        self._make_room(_FIRST_POSITIONS)

    def embed_into(self, states: Tensor, start: int, tokens: Sequence[int]) -> None:
        """See `Backend`.

        Raises:
            ValueError: there is no such token or position, or `states` is not as it must be.
        """
        c, at = self.config, self._pointer(states, start, start + len(tokens))
        if not all(0 <= token < c.vocabulary for token in tokens):
            raise ValueError(f"tokens must be of the {c.vocabulary} that are embedded")
        self._kernel.embed(
            self._model, self._embed_at, (ctypes.c_int32 * len(tokens))(*tokens), len(tokens),
            c.width**0.5 if c.row.scale_embeddings else 1.0, at,
        )  # fmt: skip

    def run_layers(
        self, first: int, last: int, states: Tensor, start: int, stop: int, keys: Tensor, values: Tensor
    ) -> None:
        """Layers `first` … `last` (from 1) over positions start … stop−1, in place.

        Args:
            states: (at least `stop`, C). keys, values: (L, K, S, `cache_widths`), valid before `start` in these layers; the new
                ones are written. They lie in an order of their own (attention.h), in blocks of 32 positions.
        Raises:
            ValueError: a buffer is not as it must be, or a bound is outside of it.
        """
        arguments = self._arguments(first, last, states, start, stop, keys, values)
        team = self._call_helper()
        self._kernel.run_layers(*arguments, team)
        if team is not None:
            self._learn_from(team)

    def project_kv(
        self,
        first: int,
        last: int,
        states: Tensor,
        start: int,
        stop: int,
        keys: Tensor,
        values: Tensor,
        propagated: bool,
    ) -> None:
        """See `Backend`; arguments and errors are those of `run_layers`."""
        self._kernel.project_kv(*self._arguments(first, last, states, start, stop, keys, values), propagated)

    def logits(self, x: Tensor) -> Tensor:
        """Final norm and whole head: (C,) or (N, C), as seen → (V,) or (N, V) float32."""
        rows = self._states(x)
        out = torch.empty(len(rows), self._head.outputs)
        self._kernel.logits(
            self._model, self._norm, self._head, rows.data_ptr(), len(rows), out.data_ptr(),
            self._scratch.structure,
        )  # fmt: skip
        return out[:, : self.config.vocabulary].reshape(*x.shape[:-1], -1)

    def apply_lens(self, x: Tensor, depth: int) -> Tensor:
        """See `Backend`."""
        if depth not in self._lenses:
            return x
        rows = self._states(x)
        out = torch.empty_like(rows)
        self._kernel.apply_lens(
            self._model, *self._lenses[depth], rows.data_ptr(), len(rows), out.data_ptr(), self._scratch.structure
        )  # fmt: skip
        return out

    def top_tokens(self, states: Tensor, start: int, stop: int, depth: int) -> list[TopToken]:
        """See `Backend`: through the screen where there is one, by the whole head elsewhere.

        Raises:
            ValueError: there are no such positions, or `states` is not as it must be.
        """
        at = self._pointer(states, start, stop)
        lens, gain = self._lenses.get(depth, (None, None))
        tops: list[TopToken] = []
        for first in range(start, stop, LOOKS):
            rows = min(LOOKS, stop - first)
            self._kernel.top_tokens(
                self._model, self._norm, self._svd_head, lens, gain, at, rows, self._tops, self._scratch.structure
            )  # fmt: skip
            tops += [TopToken(top.token, top.log_odds, top.margin) for top in self._tops[:rows]]
            at += rows * self.config.width * _FLOAT_BYTES
        return tops

    def top_token_among(self, states: Tensor, position: int, depth: int, tokens: Tensor) -> int:
        """See `Backend`.

        Raises:
            ValueError: there is no such position or token, or a tensor is not as it must be.
        """
        at, vocabulary = self._pointer(states, position, position + 1), self.config.vocabulary
        if tokens.dtype != torch.int32 or not tokens.is_contiguous() or not 0 < len(tokens) <= vocabulary:
            raise ValueError(f"tokens must be an int32 vector of 1 to {vocabulary}")
        found = -1
        if self._svd_head.rows:
            lens, gain = self._lenses.get(depth, (None, None))
            found = self._kernel.top_token_among(
                self._model, self._norm, self._svd_head, lens, gain, at, tokens.data_ptr(), len(tokens),
                self._scratch.structure,
            )  # fmt: skip
        elif 0 <= int(tokens.min()) <= int(tokens.max()) < vocabulary:
            logits = self.logits(self.apply_lens(states[position, None], depth))[0]
            found = int(tokens[int(logits[tokens.long()].argmax())])
        if found < 0:
            raise ValueError(f"tokens must be of the {vocabulary} that the head has")
        return found

    def judge_of(self, parameters: ExitParameters) -> ExitProbability | None:
        """See `Backend`; None where the network's sizes are not those of the kernel's vectors.

        Raises:
            ValueError: the parameters do not fit one another.
        """
        p, (hidden, features) = parameters, parameters.inner.shape
        fits = (
            features == self.config.width + BESIDE
            and p.biases.shape == (len(p.biases), hidden)
            and (p.action.shape, p.action_bias.shape) == ((2, hidden), (2,))
        )
        if not fits:
            raise ValueError("these are not the parameters of an exit classifier for this model")
        if hidden % UNITS:
            return None
        inner = np.ascontiguousarray(p.inner.T, np.float32)
        biases = np.ascontiguousarray(p.biases, np.float32)
        action = np.ascontiguousarray(p.action[1] - p.action[0], np.float32)
        structure = CJudge(
            hidden, inner.ctypes.data, biases.ctypes.data, action.ctypes.data,
            float(p.action_bias[1] - p.action_bias[0]), p.pending_unit, p.log_odds_within,
        )  # fmt: skip
        kernel, exits, dtype, shape = self._kernel, len(biases), self.dtype, (self.config.width,)

        def classify(
            state: Tensor, pending: int, top: TopToken, index: int, _alive: object = (inner, biases, action)
        ) -> float:
            if state.dtype != dtype or state.shape != shape or not state.is_contiguous():
                raise ValueError("the state must be a float32 vector of the model's width")
            if not 0 <= index < exits:
                raise ValueError(f"there is no exit of index {index}")
            found: float = kernel.classify(
                self._model, structure, index, state.data_ptr(), pending, top.log_odds, top.margin
            )
            return found

        return classify

    @property
    def weight_bytes(self) -> int:
        """What a token at full depth reads of weights at most: all layers', and the head's or its screen's and candidates'."""
        unread = [
            *(lens for lens, _ in self._lenses.values()),
            *self._entries.values(),
            *([self._head] if self._svd_head.rows else ()),
        ]
        skipped: int = sum(m.outputs // TILE * (m.inputs // GROUP) * RECORD_BYTES for m in unread)
        candidates = 2 * CANDIDATES * self.config.width if self._svd_head.rows else 0
        return self._records.nbytes - skipped + candidates

    @property
    def description(self) -> str:
        return f"kernel, int8, {self._kernel.level}"

    @property
    def build(self) -> str:
        rank = self._svd_head.preview.inputs if self._svd_head.rows else 0
        return f"{self._kernel.digest}, screen {rank}, lenses {sorted(self._lenses)}"

    # --- inside -------------------------------------------------------------------------------------------

    def _pointer(self, states: Tensor, start: int, stop: int) -> int:
        """Where the state of position `start` lies; those up to `stop` − 1 follow.

        Raises:
            ValueError: they do not, or `states` is not as it must be.
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
        """What the kernel is told of layers, positions and buffers, for which there is room then.

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
        if capacity % BLOCK:
            raise ValueError(f"capacity {capacity} is no multiple of {BLOCK}")
        self._make_room(stop)
        return (
            self._model, first - 1, last, at, start, stop - start, keys.data_ptr(), values.data_ptr(), capacity,
            self._scratch.structure,
        )  # fmt: skip

    def _states(self, x: Tensor) -> Tensor:
        """(N, C) of any leading shape."""
        if x.dtype != self.dtype or x.shape[-1] != self.config.width:
            raise ValueError("states must be float32 of the model's width")
        return x if x.dim() == 2 and x.is_contiguous() else x.reshape(-1, self.config.width).contiguous()

    def _make_room(self, positions: int) -> None:
        """Rotary tables and scratch for so many positions, in powers of two."""
        if positions <= self._positions:
            return
        c, self._positions = self.config, 1 << (positions - 1).bit_length()
        self._tables = {rope: self._angles(rope) for rope in set(c.ropes) if rope is not None}
        self._layers = (CLayer * c.layers)(*(self._layer(i) for i in range(c.layers)))
        self._model = CModel(
            self._layers, c.width, c.heads, c.kv_heads, c.head_width, c.mlp_width,
            int(c.row.activation == "gelu_tanh"), c.norm_eps, c.attention_scale,
        )  # fmt: skip
        inner = [m for name, m in self._matrices.items() if name.startswith("layers.")]
        widest, inputs = max(m.outputs for m in inner), max(m.inputs for m in inner)
        self._scratch = Scratch(
            self._kernel, widest, self._head.outputs, inputs, self._model, self._positions
        )

    def _call_helper(self) -> CTeam | None:
        """The team, its helper on the way; None where one thread had better do it all."""
        if usable_cores() < 2 or time.monotonic() < self._alone_until:
            return None
        self._team.open, self._team.stalls = 1, 0  # the kernel closes it
        if not self._helper.call(self._help):
            self._team.open = 0
            return None
        return self._team

    def _help(self) -> None:
        """The helper's part in a span of layers; where it finds its core, or the first thread's, busy, it comes back later."""
        while self._team.open:
            self._kernel.help(self._team)
            if self._team.open:
                time.sleep(_SHORTEST_PAUSE_SECONDS)

    def _learn_from(self, team: CTeam) -> None:
        """Where cores are busy with something else, two threads wait for one another longer than one takes."""
        if team.stalls:
            self._alone_until = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        else:
            self._pause = _SHORTEST_PAUSE_SECONDS

    def _angles(self, rope: Rope) -> tuple[np.ndarray, np.ndarray]:
        angles = torch.outer(
            torch.arange(self._positions).float(), inverse_frequencies(rope, self.config.head_width)
        )
        return angles.cos().numpy(), angles.sin().numpy()

    def _layer(self, i: int) -> CLayer:
        gains = [self._gains.get(f"layers.{i}.{name}") for name in _GAINS]
        rope = self.config.ropes[i]
        assert rope is not None  # why_not
        return CLayer(
            *(self._matrices[f"layers.{i}.{name}"] for name in _MATRICES),
            *(None if gain is None else gain.ctypes.data for gain in gains),
            *(table.ctypes.data for table in self._tables[rope]),
            self.config.windows[i] or 0,
            self._entries.get(i + 1, CMatrix()),
        )
