"""The launches of a layer, of the head and of a decision, in their order.

A layer is eight launches for every family: norm, QKV product, rotary embedding into the cache, attention, output product, norm, first and
second product of the MLP. What an output norm adds to the residual stream (Gemma 2 and 3) is added by the next norm; at the end of a
span of layers that is a launch of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
import triton.language as tl
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

from green_code.gpu.control import ROWS_AT_MOST, WORDS
from green_code.gpu.graphs import Launcher
from green_code.gpu.kernels_attention import attend, rope_cache
from green_code.gpu.kernels_head import BINS, BLOCK_V, count_candidates, decide_rows, score_candidates, top_rows
from green_code.gpu.kernels_linear import linear
from green_code.gpu.kernels_norm import norm_rows
from green_code.gpu.packing import DOWN, HEAD, padded
from green_code.gpu.weights import DeviceMatrix, Weights
from green_code.kernels.packing import head_weight, kv_projection_name, lens_name
from green_code.models.config import ModelConfig, Rope, inverse_frequencies
from green_code.models.shapes import EMBEDDING

SPLIT: Final = 256
"""Positions of a cache that one program attends to."""
_WHOLE = 1 << 30  # no splits
_PREFILL_ROWS = 64  # that share a reading of the weights
_STAGES = 6
"""Readings that a product has begun before it computes with the first: a program reads a kilobyte at a time, and memory answers late."""
_HEAD_BLOCK = 64  # outputs of the head, of which one maximum is kept
_TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16}


@dataclass(frozen=True)
class DeviceClassifier:
    """The exit classifier (decoding/exit_classifier.py) on a device: H hidden units, a power of two."""

    inner: DeviceMatrix
    extra: Tensor  # (3, H)
    biases: Tensor  # (exits, H)
    action: Tensor  # (H,)
    action_bias: float
    pending_unit: float
    log_odds_within: float


def power_of_two(least: int, at_least: int = 1) -> int:
    return max(at_least, 1 << (least - 1).bit_length())


class Scratch:
    """What launches over so many rows hand to one another; zeros at first, so that padding stays zero."""

    def __init__(self, config: ModelConfig, rows: int, like: Tensor, splits: int) -> None:
        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=like.device)

        c, query, dtype = config, config.heads * config.head_width, like.dtype
        self.rows = rows
        self.normed = zeros(rows, padded(c.width), dtype=dtype)
        self.qkv = zeros(rows, query + 2 * c.kv_heads * c.head_width)
        self.queries = zeros(rows, c.heads, c.head_width, dtype=dtype)
        self.attended = zeros(rows, padded(query), dtype=dtype)
        self.projected = zeros(rows, c.width)
        self.inner = zeros(rows, padded(c.mlp_width), dtype=dtype)
        group = power_of_two(c.heads // c.kv_heads, 16)
        parts = (rows, c.kv_heads, splits, group)
        self.partial = zeros(*parts, power_of_two(c.head_width, 16))
        self.greatest, self.sums = zeros(*parts), zeros(*parts)
        self.arrived = zeros(rows, c.kv_heads, dtype=torch.int32)


class HeadScratch:
    """The same for the head and the decision."""

    def __init__(self, config: ModelConfig, rank: int, hidden: int, like: Tensor) -> None:
        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(ROWS_AT_MOST, *shape, dtype=dtype, device=like.device)

        width, tokens = padded(config.width), config.vocabulary
        self.unit, self.products = zeros(width), zeros(hidden)
        self.lens_in, self.lens_unit, self.lensed = (
            zeros(width, dtype=like.dtype), zeros(config.width), zeros(config.width)
        )  # fmt: skip
        self.normed, self.down = zeros(width, dtype=like.dtype), zeros(padded(rank or 1), dtype=like.dtype)
        self.preview, self.maxima = zeros(tokens), zeros(-(-tokens // _HEAD_BLOCK))
        self.counts, self.scores = zeros(BINS.value, dtype=torch.int32), zeros(-(-tokens // BLOCK_V.value), 4)
        self.results = zeros(4)


class Plan:
    """Launches of one decoder.

    Args:
        dtype: of activations, keys and values: bfloat16, or float32 to compare with.
        block: outputs of a product that one program computes; few, so that there are programs for all of a GPU.
    """

    def __init__(self, weights: Weights, dtype: torch.dtype, device: torch.device, block: int = 16) -> None:
        self.weights, self.config, self.dtype, self._block = weights, weights.config, dtype, block
        self.control = torch.zeros(2, WORDS, dtype=torch.int64, device=device)  # of a span of layers, and of the head
        self._span, self._head = self.control
        self._none = torch.zeros(1, device=device)
        ropes = {rope for rope in self.config.ropes if rope is not None}
        self._frequencies = {rope: self._frequencies_of(rope).to(device) for rope in ropes}

    def like(self) -> Tensor:
        """Of the activations' type, on their device."""
        return self._none.to(self.dtype)

    # --- layers -------------------------------------------------------------------------------------------

    def layers(self, launch: Launcher, first: int, last: int, scratch: Scratch, splits: int) -> None:
        """Layers first … last (from 1) over the rows that the control block names, at most `scratch.rows`, within a cache of at most
        splits · SPLIT positions."""
        for layer in range(first, last + 1):
            self._attention_in(launch, layer, scratch, after=layer > first)
            self._attend(launch, layer, scratch, splits)
            self._rest(launch, layer, scratch)
        self._end(launch, last, scratch)

    def prefill(self, launch: Launcher, first: int, last: int, scratch: Scratch, start: int, cache: Any) -> None:
        """The same for many rows, start … start + scratch.rows − 1, not recorded. `cache`: its keys and values (L, K, S, D)."""
        stop, c = start + scratch.rows, self.config
        keys, values = cache
        for layer in range(first, last + 1):
            self._attention_in(launch, layer, scratch, after=layer > first)
            window = c.windows[layer - 1]
            if c.attention_softcap is not None or (window is not None and window < stop):
                self._attend(launch, layer, scratch, 1, _WHOLE)
            else:
                found = F.scaled_dot_product_attention(
                    scratch.queries.transpose(0, 1)[None],
                    keys[layer - 1, None, :, :stop],
                    values[layer - 1, None, :, :stop],
                    attn_mask=causal_lower_right(scratch.rows, stop),
                    scale=c.attention_scale,
                    enable_gqa=c.heads != c.kv_heads,
                )
                scratch.attended[:, : c.heads * c.head_width] = found[0].transpose(0, 1).flatten(1)
            self._rest(launch, layer, scratch)
        self._end(launch, last, scratch)

    def keys_values(self, launch: Launcher, layer: int, scratch: Scratch, propagated: bool) -> None:
        """Keys and values of the rows alone; `propagated`: by the layer's KV projection, where it has one."""
        matrices, first = self.weights.matrices, self.config.heads * self.config.head_width
        name = f"layers.{layer - 1}.qkv"
        matrix = matrices.get(kv_projection_name(layer)) if propagated else None
        bias = self.weights.vectors.get(f"{name}.bias")
        self._norm(launch, f"layers.{layer - 1}.attention_norm", scratch, scratch.normed)
        self._linear(
            launch, matrices[name].rows(first) if matrix is None else matrix, scratch.normed, scratch.qkv,
            out_width=2 * self.config.kv_heads * self.config.head_width, bias=None if bias is None else bias[first:], rows=scratch.rows,
        )  # fmt: skip
        self._rope(launch, layer, scratch, keys_values_alone=True)

    def _attention_in(self, launch: Launcher, layer: int, scratch: Scratch, after: bool) -> None:
        name = f"layers.{layer - 1}."
        added = f"layers.{layer - 2}.mlp_out_norm" if after and self.config.row.sandwich_norms else None
        self._norm(launch, f"{name}attention_norm", scratch, scratch.normed, added)
        self._matrix(launch, f"{name}qkv", scratch.normed, scratch.qkv, scratch.rows)
        self._rope(launch, layer, scratch)

    def _rest(self, launch: Launcher, layer: int, scratch: Scratch) -> None:
        name, row, c = f"layers.{layer - 1}.", self.config.row, self.config
        out: dict[str, Any] = (
            {"target": "out"} if row.sandwich_norms else {"target": "state", "scale": c.residual_scale}
        )
        self._matrix(launch, f"{name}attention_out", scratch.attended, scratch.projected, scratch.rows, **out)
        added = f"{name}attention_out_norm" if row.sandwich_norms else None
        self._norm(launch, f"{name}mlp_norm", scratch, scratch.normed, added)
        self._matrix(
            launch,
            f"{name}mlp_in",
            scratch.normed,
            scratch.inner,
            scratch.rows,
            gated=row.gated,
            activation=c.activation,
        )
        self._matrix(launch, f"{name}mlp_out", scratch.inner, scratch.projected, scratch.rows, **out)

    def _end(self, launch: Launcher, layer: int, scratch: Scratch) -> None:
        if self.config.row.sandwich_norms:
            self._norm(launch, None, scratch, scratch.normed, f"layers.{layer - 1}.mlp_out_norm")

    def _rope(self, launch: Launcher, layer: int, scratch: Scratch, keys_values_alone: bool = False) -> None:
        c, rope, vectors = self.config, self.config.ropes[layer - 1], self.weights.vectors
        first = c.heads if keys_values_alone else 0
        gains = [vectors.get(f"layers.{layer - 1}.{part}_norm.weight", self._none) for part in "qk"]
        launch(
            rope_cache, (scratch.rows, c.heads + 2 * c.kv_heads - first),
            self._span, scratch.qkv, *gains, self._none if rope is None else self._frequencies[rope], scratch.queries,
            layer - 1, c.heads, c.kv_heads, c.head_width, self._rotated, c.norm_eps,
            FIRST=first, QK_NORM=c.row.qk_norm, ROPE=rope is not None, DTYPE=_TYPES[self.dtype], BLOCK_D=power_of_two(c.head_width, 16),
        )  # fmt: skip

    def _attend(self, launch: Launcher, layer: int, scratch: Scratch, splits: int, split: int = SPLIT) -> None:
        c, window, cap = self.config, self.config.windows[layer - 1], self.config.attention_softcap
        launch(
            attend, (scratch.rows, c.kv_heads, splits),
            self._span, scratch.queries, scratch.partial, scratch.greatest, scratch.sums, scratch.arrived, scratch.attended,
            layer - 1, c.heads, c.kv_heads, c.head_width, scratch.attended.shape[1], window or 0, c.attention_scale, cap or 1.0,
            WINDOWED=window is not None, CAPPED=cap is not None, SPLITS=splits, SPLIT=split, DTYPE=_TYPES[self.dtype],
            BLOCK_G=power_of_two(c.heads // c.kv_heads, 16), BLOCK_D=power_of_two(c.head_width, 16),
        )  # fmt: skip

    # --- the head -----------------------------------------------------------------------------------------

    def head(
        self, launch: Launcher, depth: int, rows: int, scratch: HeadScratch, classifier: DeviceClassifier | None
    ) -> None:
        """Top tokens behind the positions that the control block names, all at `depth`, and the classifier's decision."""
        c, matrices, head = self.config, self.weights.matrices, head_weight(self.config)
        if classifier is not None:
            self._norm_of(launch, None, "positions", rows, scratch.unit, eps=1e-6)
            self._linear(launch, classifier.inner, scratch.unit, scratch.products, rows=rows, head=True)
        self._final_norm(launch, depth, rows, scratch)
        source, exact = scratch.normed, self.weights.extras.rank > 0
        if exact:
            self._linear(launch, matrices[DOWN], source, scratch.down, rows=rows, head=True)
            source = scratch.down
        self._linear(
            launch, matrices[HEAD], source, scratch.preview, rows=rows, head=True, target="maxima", maxima=scratch.maxima, block=_HEAD_BLOCK, scale=c.logit_scale,
            cap=c.logit_softcap
        )  # fmt: skip
        blocks, tokens = scratch.maxima.shape[1], c.vocabulary
        grid, block = (rows, -(-tokens // BLOCK_V.value)), power_of_two(blocks)
        launch(
            count_candidates,
            grid,
            self._head,
            scratch.preview,
            scratch.maxima,
            scratch.counts,
            tokens,
            blocks,
            BLOCK_B=block,
        )
        launch(
            score_candidates, grid,
            self._head, scratch.preview, scratch.maxima, scratch.counts, scratch.normed, self.weights.tables[head] if exact else self._none,
            scratch.scores, tokens, blocks, c.width, scratch.normed.shape[1], c.logit_scale, c.logit_softcap or 1.0,
            EXACT=exact, CAPPED=c.logit_softcap is not None, BLOCK_B=block, BLOCK_C=power_of_two(c.width),
        )  # fmt: skip
        launch(
            top_rows, (rows,), self._head, scratch.scores, scratch.counts, scratch.results, grid[1], BLOCK=power_of_two(grid[1])
        )  # fmt: skip
        if classifier is not None:
            launch(
                decide_rows, (1,),
                self._head, scratch.products, classifier.extra, classifier.biases, classifier.action, scratch.results,
                classifier.action_bias, classifier.pending_unit, classifier.log_odds_within, HIDDEN=classifier.inner.outputs,
            )  # fmt: skip

    def _final_norm(self, launch: Launcher, depth: int, rows: int, scratch: HeadScratch) -> None:
        """Through the exit's lens, where it has one."""
        lens = self.weights.matrices.get(lens_name(depth))
        if lens is None:
            self._norm_of(launch, "norm", "positions", rows, scratch.normed)
            return
        gain = self.weights.vectors[lens_name(depth)]
        self._norm_of(launch, None, "positions", rows, scratch.lens_in, unit=scratch.lens_unit, gain=gain)
        self._linear(
            launch, lens, scratch.lens_in, scratch.lensed, rows=rows, head=True, target="plus", plus=scratch.lens_unit
        )
        self._norm_of(launch, "norm", "rows", rows, scratch.normed, x=scratch.lensed)

    # --- single launches ----------------------------------------------------------------------------------

    def _norm(
        self, launch: Launcher, name: str | None, scratch: Scratch, out: Tensor, added: str | None = None
    ) -> None:
        """The norm `name` of the states of a span, after the norm `added` of what was projected; None: only that is added."""
        more = None if added is None else self.weights.vectors[f"{added}.weight"]
        self._norm_of(
            launch, name, "start", scratch.rows, out, added=scratch.projected, added_gain=more, only_add=name is None
        )

    def _norm_of(
        self, launch: Launcher, name: str | None, source: str, rows: int, out: Tensor, *, x: Tensor | None = None, added: Tensor | None = None,
        added_gain: Tensor | None = None, only_add: bool = False, unit: Tensor | None = None, gain: Tensor | None = None, eps: float | None = None,
    ) -> None:  # fmt: skip
        c, vectors, none = self.config, self.weights.vectors, self._none
        gain = vectors[f"{name}.weight"] if name is not None else gain
        bias = vectors.get(f"{name}.bias")
        launch(
            norm_rows, (rows,),
            self._span if source == "start" else self._head, none if x is None else x, none if added is None else added, none if added_gain is None else added_gain,
            none if gain is None else gain, none if bias is None else bias, out, none if unit is None else unit,
            c.width, out.shape[1], c.norm_eps if eps is None else eps, c.residual_scale,
            SOURCE=source, ADD=added_gain is not None, NORM=not only_add, LAYER=name is not None and c.row.norm == "layer",
            GAIN=gain is not None, BIAS=bias is not None, UNIT=unit is not None, BLOCK=power_of_two(c.width),
        )  # fmt: skip

    def _matrix(self, launch: Launcher, name: str, x: Tensor, out: Tensor, rows: int, **options: Any) -> None:
        bias = self.weights.vectors.get(f"{name}.bias")
        self._linear(launch, self.weights.matrices[name], x, out, rows=rows, bias=bias, **options)

    def _linear(
        self, launch: Launcher, matrix: DeviceMatrix, x: Tensor, out: Tensor, *, rows: int, bias: Tensor | None = None, plus: Tensor | None = None,
        maxima: Tensor | None = None, target: str = "out", scale: float = 1.0, cap: float | None = None, gated: bool = False,
        activation: str = "", block: int | None = None, out_width: int | None = None, head: bool = False,
    ) -> None:  # fmt: skip
        none, outputs, few = self._none, matrix.outputs // (2 if gated else 1), rows <= ROWS_AT_MOST
        block_m = ROWS_AT_MOST if few else _PREFILL_ROWS
        block_n = block or (self._block if few else 64)
        launch(
            linear, (-(-outputs // block_n), -(-rows // block_m)),
            self._head if head else self._span, x, matrix.codes, matrix.scales, matrix.minima, none if bias is None else bias, out, none if plus is None else plus,
            none if maxima is None else maxima, outputs, matrix.inputs, out_width or out.shape[1], scale, cap or 1.0,
            BITS=matrix.bits, GATED=gated, ACTIVATION=activation, TARGET=target, BIAS=bias is not None, CAPPED=cap is not None,
            BLOCK_M=block_m, BLOCK_N=block_n, num_stages=_STAGES if few else 3,
        )  # fmt: skip

    @property
    def _rotated(self) -> int:
        return self.config.rotary_width or self.config.head_width

    def _frequencies_of(self, rope: Rope) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(inverse_frequencies(rope, self._rotated)))

    @property
    def embedding(self) -> Tensor:
        return self.weights.tables[EMBEDDING]
