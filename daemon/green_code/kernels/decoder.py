"""A decoder whose layers and head run in the kernel; `models.decoder.Decoder` is its reference and its fallback.

Held by: tests/kernels/test_decoder.py, against the torch decoder over the same rounded weights.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from green_code.kernels.binding import (
    BESIDE,
    KEYS,
    LANES,
    UNITS,
    CJudge,
    CLayer,
    CMatrix,
    CModel,
    Kernel,
    Scratch,
)
from green_code.kernels.quantise import GROUP, RECORD_BYTES, TILE, gather, quantise
from green_code.kernels.quantise import records as count
from green_code.models.decoder import inverse_frequencies
from green_code.models.families import ModelConfig, Rope
from green_code.models.serving import ExitParameters, Judge

_FIRST_POSITIONS = 1024
_WORTH_SHARING = 128  # positions of a prompt from which on a second thread takes half the layers
_MATRICES = ("qkv", "attention_out", "mlp_in", "mlp_out")
_GAINS = ("attention_norm", "q_norm", "k_norm", "attention_out_norm", "mlp_norm", "mlp_out_norm")


def why_not(config: ModelConfig) -> str | None:
    """What keeps the kernel from serving a model; None: nothing."""
    row = config.row
    if row.norm != "rms" or row.positions != "rope" or not row.gated or row.bias:
        return f"family {config.family} has other parts than the kernel computes"
    if row.activation not in ("silu", "gelu_tanh"):
        return f"activation {row.activation} is not in the kernel"
    inputs = (config.width, config.mlp_width, config.heads * config.head_width)
    if any(size % GROUP for size in inputs) or config.head_width % (2 * LANES):
        return f"widths {inputs} and heads of {config.head_width} are no multiples of {GROUP}"
    return None


def matrices(config: ModelConfig) -> Iterator[tuple[str, int, int]]:
    """(name, N, K) of all matrices, in the order in which a token reads them; the head is the last."""
    query = config.heads * config.head_width
    for i in range(config.layers):
        yield f"layers.{i}.qkv", query + 2 * config.kv_heads * config.head_width, config.width
        yield f"layers.{i}.attention_out", config.width, query
        yield f"layers.{i}.mlp_in", 2 * config.mlp_width, config.width
        yield f"layers.{i}.mlp_out", config.width, config.mlp_width
    yield "embed" if config.tied_head else "head", config.vocabulary, config.width


def gains(config: ModelConfig) -> Iterator[tuple[str, int]]:
    """(name, width) of all norms' gains."""
    norms = {"attention_norm": config.width, "mlp_norm": config.width}
    if config.row.qk_norm:
        norms |= {"q_norm": config.head_width, "k_norm": config.head_width}
    if config.row.sandwich_norms:
        norms |= {"attention_out_norm": config.width, "mlp_out_norm": config.width}
    for i in range(config.layers):
        yield from ((f"layers.{i}.{name}", width) for name, width in norms.items())
    yield "norm", config.width


def pack(config: ModelConfig, weights: Mapping[str, Tensor]) -> tuple[np.ndarray, dict[str, Tensor]]:
    """What `KernelDecoder` is made of: (records, RECORD_BYTES) of all matrices; the embedding (bfloat16) and gains.

    Args:
        weights: under `Decoder`'s names; each is let go of as soon as it is packed.
    Raises:
        ValueError: the kernel does not serve this model, or weights are missing, unknown or of another shape.
    """
    if reason := why_not(config):
        raise ValueError(reason)
    expected = {f"{name}.weight": shape for name, *shape in (*matrices(config), *gains(config))}
    expected["embed.weight"] = [config.vocabulary, config.width]
    if {name: list(weight.shape) for name, weight in weights.items()} != expected:
        raise ValueError(f"these are not the weights of a {config.family} of this configuration")
    packed = [quantise(weights[f"{name}.weight"].float().numpy()) for name, _, _ in matrices(config)]
    rest = {name: weight.float() for name, weight in weights.items() if weight.dim() == 1}
    rest["embed.weight"] = weights["embed.weight"].bfloat16()
    return np.concatenate(packed), rest


def usable_cores() -> int:
    """Logical cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class KernelDecoder:
    """Matrices in int8, keys and values in bfloat16, hidden states in float32.

    One thread computes; long prompts take a second one, whose work is as much as the first would have had.
    """

    dtype, cache_dtype = torch.float32, torch.bfloat16
    device = torch.device("cpu")
    rows_at_once, layers_at_once = 256, 1_000  # a call takes a tenth of a second, or two

    def __init__(
        self, kernel: Kernel, config: ModelConfig, records: np.ndarray, rest: Mapping[str, Tensor]
    ) -> None:
        """
        Args:
            records, rest: of `pack`.
        Raises:
            ValueError: they are not of this configuration.
        """
        if reason := why_not(config):
            raise ValueError(reason)
        counts = {name: count(outputs, inputs) for name, outputs, inputs in matrices(config)}
        if records.shape != (sum(counts.values()), RECORD_BYTES) or not records.flags.c_contiguous:
            raise ValueError(f"records {records.shape} are not of a {config.family} of this configuration")
        like = {f"{name}.weight": [width] for name, width in gains(config)}
        like["embed.weight"] = [config.vocabulary, config.width]
        if {name: list(weight.shape) for name, weight in rest.items()} != like:
            raise ValueError(f"these are not the gains of a {config.family} of this configuration")
        self.config, self._kernel = config, kernel
        self._records, self._embed = records, rest["embed.weight"].bfloat16()
        self._gains = {
            name.removesuffix(".weight"): np.ascontiguousarray(weight.float().numpy())
            for name, weight in rest.items()
            if weight.dim() == 1
        }
        firsts = dict(zip(counts, itertools.accumulate(counts.values(), initial=0), strict=False))
        self._matrices = {
            name: CMatrix(
                records.ctypes.data + firsts[name] * RECORD_BYTES, -(-outputs // TILE) * TILE, inputs
            )
            for name, outputs, inputs in matrices(config)
        }
        self._head = list(self._matrices.values())[-1]
        self._second = ThreadPoolExecutor(1, "green-code-kernel")  # its thread starts when it is first needed
        self._positions = 0
        self._make_room(_FIRST_POSITIONS)

    def embed_tokens(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Token ids (N,) → hidden states (N, C) at depth 0."""
        x = self._embed[tokens].float()
        return x * self.config.width**0.5 if self.config.row.scale_embeddings else x

    def run_layers(self, first: int, last: int, x: Tensor, start: int, keys: Tensor, values: Tensor) -> None:
        """Layers `first` … `last` (from 1) over positions start … start+N−1, in place.

        Args:
            x: (N, C). keys, values: (L, K, S, D), valid before `start` in these layers; the new rows are written. Keys
                lie in an order of their own (attention.h), in blocks of 16 positions.
        Raises:
            ValueError: a buffer is not as it must be, or a bound is outside of it.
        """
        c, (rows, width) = self.config, x.shape
        for tensor, dtype in ((x, self.dtype), (keys, self.cache_dtype), (values, self.cache_dtype)):
            if tensor.dtype != dtype or not tensor.is_contiguous() or tensor.device != self.device:
                raise ValueError(
                    "buffers must be contiguous on the CPU: float32 states, bfloat16 keys and values"
                )
        if keys.shape != values.shape or keys.dim() != 4:
            raise ValueError(f"keys {tuple(keys.shape)} and values {tuple(values.shape)} differ")
        layers, kv_heads, capacity, head_width = keys.shape
        if (layers, kv_heads, head_width, width) != (c.layers, c.kv_heads, c.head_width, c.width):
            raise ValueError("buffers are of another model")
        if not (1 <= first <= last <= c.layers and 0 <= start <= start + rows <= capacity):
            raise ValueError(f"layers {first} … {last}, positions {start} … {start + rows - 1} of {capacity}")
        if capacity % KEYS:
            raise ValueError(f"capacity {capacity} is no multiple of {KEYS}")
        self._make_room(start + rows)
        buffers = keys.data_ptr(), values.data_ptr(), capacity
        if rows < _WORTH_SHARING or first == last or usable_cores() < 2:
            self._run(first - 1, last, x, start, buffers, self._scratches[0])
            return
        # The upper layers of one part of the rows run beside the lower layers of the next part.
        middle, upper = (first - 1 + last) // 2, []
        for at in range(0, rows, self._kernel.chunk):
            part = x[at : at + self._kernel.chunk]
            self._run(first - 1, middle, part, start + at, buffers, self._scratches[0])
            upper.append(
                self._second.submit(self._run, middle, last, part, start + at, buffers, self._scratches[1])
            )
        for done in upper:
            done.result()

    def logits(self, x: Tensor) -> Tensor:
        """Final norm and head: (C,) or (N, C) at any depth → (V,) or (N, V) float32."""
        return self._product(x, self._head, self.config.vocabulary)

    def head_of(self, tokens: Sequence[int]) -> Callable[[Tensor], Tensor]:
        """See `Served`. The numbers are those that `logits` gives for these tokens."""
        if not all(0 <= token < self.config.vocabulary for token in tokens):
            raise ValueError(f"tokens must be of the {self.config.vocabulary} that the head has")
        head = self._records[-count(self._head.outputs, self._head.inputs) :]
        rows = gather(head, self._head.inputs, np.asarray(tokens))
        matrix = CMatrix(rows.ctypes.data, -(-len(tokens) // TILE) * TILE, self._head.inputs)

        def logits(x: Tensor, _alive: np.ndarray = rows) -> Tensor:  # the matrix points into the rows
            return self._product(x, matrix, len(tokens))

        return logits

    def judge_of(self, parameters: ExitParameters) -> Judge | None:
        """See `Served`; None where the network's sizes are not those of the kernel's vectors.

        Raises:
            ValueError: the parameters do not fit one another, or the head's tokens.
        """
        p, (hidden, features) = parameters, parameters.inner.shape
        fits = (
            features == self.config.width + BESIDE
            and p.biases.shape == (len(p.biases), hidden)
            and (p.action.shape, p.action_bias.shape) == ((2, hidden), (2,))
        )
        if not fits or not all(0 <= token < self.config.vocabulary for token in p.tokens) or not p.tokens:
            raise ValueError("these are not the parameters of an exit network for this model")
        outputs = -(-len(p.tokens) // TILE) * TILE
        if hidden % UNITS or outputs > self._kernel.chunk * self._widest:
            return None
        head = self._records[-count(self._head.outputs, self._head.inputs) :]
        rows = gather(head, self._head.inputs, np.asarray(p.tokens))
        inner = np.ascontiguousarray(p.inner.T, np.float32)
        biases = np.ascontiguousarray(p.biases, np.float32)
        action = np.ascontiguousarray(p.action[1] - p.action[0], np.float32)
        structure = CJudge(
            CMatrix(rows.ctypes.data, outputs, self._head.inputs),
            len(p.tokens), hidden, inner.ctypes.data, biases.ctypes.data, action.ctypes.data,
            float(p.action_bias[1] - p.action_bias[0]),
        )  # fmt: skip
        kernel, norm, exits = self._kernel, self._gains["norm"].ctypes.data, len(biases)

        def judge(
            state: Tensor, owed: float, index: int, _alive: object = (rows, inner, biases, action)
        ) -> float:
            if state.dtype != self.dtype or state.shape != (self.config.width,) or not state.is_contiguous():
                raise ValueError("the state must be a float32 vector of the model's width")
            if not 0 <= index < exits:
                raise ValueError(f"there is no exit of index {index}")
            found: float = kernel.judge(
                self._model, norm, structure, index, state.data_ptr(), owed, self._scratches[0].structure
            )
            return found

        return judge

    @property
    def weight_bytes(self) -> int:
        """Bytes of all matrices, the head's included: what a token at full depth reads."""
        return self._records.nbytes

    @property
    def description(self) -> str:
        return f"kernel, int8, {self._kernel.level}"

    # --- inside -------------------------------------------------------------------------------------------

    def _product(self, x: Tensor, head: CMatrix, outputs: int) -> Tensor:
        """The final norm and a matrix: (C,) or (N, C) → (outputs,) or (N, outputs)."""
        if x.dtype != self.dtype or x.shape[-1] != self.config.width:
            raise ValueError("states must be float32 of the model's width")
        rows = x.reshape(-1, self.config.width).contiguous()
        out = torch.empty(len(rows), head.outputs)
        for at in range(0, len(rows), self._kernel.chunk):
            some = rows[at : at + self._kernel.chunk]
            self._kernel.logits(
                self._model, self._gains["norm"].ctypes.data, head, some.data_ptr(), len(some),
                out[at:].data_ptr(), self._scratches[0].structure,
            )  # fmt: skip
        return out[:, :outputs].reshape(*x.shape[:-1], -1)

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
        inner = [matrix for name, matrix in self._matrices.items() if name.startswith("layers.")]
        self._widest, inputs = max(m.outputs for m in inner), max(m.inputs for m in inner)
        self._scratches = [
            Scratch(self._kernel, self._widest, inputs, self._model, self._positions) for _ in range(2)
        ]

    def _run(
        self, first: int, last: int, x: Tensor, start: int, buffers: tuple[int, int, int], scratch: Scratch
    ) -> None:
        """Layers `first` … `last`−1, counted from 0, within bounds that were checked."""
        keys, values, capacity = buffers
        self._kernel.run_layers(
            self._model, first, last, x.data_ptr(), start, len(x), keys, values, capacity, scratch.structure
        )

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
        )
