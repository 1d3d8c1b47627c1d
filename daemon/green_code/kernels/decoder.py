"""A decoder whose layers and head run in the kernel; `models.decoder.Decoder` is its reference and its fallback.

Held by: tests/kernels/test_decoder.py, against the torch decoder over the same rounded weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from green_code.kernels.binding import LANES, CLayer, CMatrix, CModel, Kernel, Scratch
from green_code.kernels.quantise import quantise
from green_code.models.decoder import Decoder, inverse_frequencies
from green_code.models.families import ModelConfig

_MATRICES = ("qkv", "attention_out", "mlp_in", "mlp_out")
_GAINS = ("attention_norm", "q_norm", "k_norm", "attention_out_norm", "mlp_norm", "mlp_out_norm")


def why_not(config: ModelConfig, block: int) -> str | None:
    """What keeps the kernel from serving a model; None: nothing."""
    row = config.row
    if row.norm != "rms" or row.positions != "rope" or not row.gated or row.bias:
        return f"family {config.family} has other parts than the kernel computes"
    if row.activation not in ("silu", "gelu_tanh"):
        return f"activation {row.activation} is not in the kernel"
    inputs = (config.width, config.mlp_width, config.heads * config.head_width)
    if any(size % block for size in inputs) or config.head_width % (2 * LANES):
        return f"widths {inputs} and heads of {config.head_width} are no multiples of {block}"
    return None


class KernelDecoder:
    """Weights in int8 beside the embedding's rows in bfloat16; hidden states, keys and values in float32."""

    dtype = torch.float32
    device = torch.device("cpu")

    def __init__(
        self, kernel: Kernel, config: ModelConfig, weights: Mapping[str, Tensor], positions: int
    ) -> None:
        """
        Args:
            weights: float32, under `Decoder`'s names. positions: the most that a staircase may hold.
        Raises:
            ValueError: the kernel does not serve this model, or weights are missing, unknown or of another shape.
        """
        if reason := why_not(config, kernel.block):
            raise ValueError(reason)
        with torch.device("meta"):
            expected = {name: like.shape for name, like in Decoder(config).state_dict().items()}
        if {name: weight.shape for name, weight in weights.items()} != expected:
            raise ValueError(f"these are not the weights of a {config.family} of this configuration")
        self.config, self.positions, self._kernel = config, positions, kernel
        self._kept: list[np.ndarray] = []  # what the structures point at
        self._embed = weights["embed.weight"].bfloat16()
        self._layers = (CLayer * config.layers)(*(self._layer(i, weights) for i in range(config.layers)))
        head = weights["embed.weight"] if config.tied_head else weights["head.weight"]
        self._norm = self._keep(weights["norm.weight"].float())
        self._head = self._matrix(head)
        self._model = CModel(
            self._layers, config.width, config.heads, config.kv_heads, config.head_width, config.mlp_width,
            int(config.row.activation == "gelu_tanh"), config.norm_eps, config.attention_scale,
        )  # fmt: skip
        matrices = [getattr(layer, name) for layer in self._layers for name in _MATRICES]
        widest = max(matrix.outputs for matrix in matrices)
        inputs = max(matrix.inputs for matrix in matrices)
        self._scratch = Scratch(kernel, widest, inputs, self._model, positions)

    def embed_tokens(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Token ids (B, N) → hidden states (B, N, C) at depth 0."""
        x = self._embed[tokens].float()
        return x * self.config.width**0.5 if self.config.row.scale_embeddings else x

    def run_layers(self, first: int, last: int, x: Tensor, start: int, keys: Tensor, values: Tensor) -> None:
        """Layers `first` … `last` (from 1) over positions start … start+N−1, in place.

        Args:
            x: (N, C). keys, values: (L, K, S, D), valid before `start` in these layers; the new rows are written.
        Raises:
            ValueError: a buffer is not as it must be, or a bound is outside of it.
        """
        c, (rows, width) = self.config, x.shape
        for tensor in (x, keys, values):
            if tensor.dtype != torch.float32 or not tensor.is_contiguous() or tensor.device != self.device:
                raise ValueError("buffers must be contiguous float32 on the CPU")
        if keys.shape != values.shape or keys.dim() != 4:
            raise ValueError(f"keys {tuple(keys.shape)} and values {tuple(values.shape)} differ")
        layers, kv_heads, capacity, head_width = keys.shape
        if (layers, kv_heads, head_width, width) != (c.layers, c.kv_heads, c.head_width, c.width):
            raise ValueError("buffers are of another model")
        if not (
            1 <= first <= last <= c.layers and 0 <= start <= start + rows <= min(capacity, self.positions)
        ):
            raise ValueError(f"layers {first} … {last}, positions {start} … {start + rows - 1} of {capacity}")
        self._kernel.run_layers(
            self._model, first - 1, last, x.data_ptr(), start, rows, keys.data_ptr(), values.data_ptr(), capacity,
            self._scratch.structure,
        )  # fmt: skip

    def logits(self, x: Tensor) -> Tensor:
        """Final norm and head: (C,) or (N, C) at any depth → (V,) or (N, V) float32."""
        if x.dtype != torch.float32 or x.shape[-1] != self.config.width:
            raise ValueError("states must be float32 of the model's width")
        rows = x.reshape(-1, self.config.width).contiguous()
        out = torch.empty(len(rows), self._head.outputs)
        for at in range(0, len(rows), self._kernel.chunk):
            some = rows[at : at + self._kernel.chunk]
            self._kernel.logits(
                self._model, self._norm, self._head, some.data_ptr(), len(some), out[at:].data_ptr(),
                self._scratch.structure,
            )  # fmt: skip
        return out[:, : self.config.vocabulary].reshape(*x.shape[:-1], -1)

    # --- inside -------------------------------------------------------------------------------------------

    def _keep(self, tensor: Tensor | np.ndarray) -> int:
        """Address of an array that stays as long as this decoder."""
        array = tensor.numpy() if isinstance(tensor, Tensor) else tensor
        self._kept.append(np.ascontiguousarray(array))
        return self._kept[-1].ctypes.data

    def _matrix(self, weight: Tensor) -> CMatrix:
        tiles, scales = quantise(weight.float().numpy())
        return CMatrix(self._keep(tiles), self._keep(scales), len(scales), weight.shape[1])

    def _layer(self, i: int, weights: Mapping[str, Tensor]) -> CLayer:
        matrices = [self._matrix(weights[f"layers.{i}.{name}.weight"]) for name in _MATRICES]
        gains = [
            self._keep(gain.float())
            if (gain := weights.get(f"layers.{i}.{name}.weight")) is not None
            else None
            for name in _GAINS
        ]
        rope = self.config.ropes[i]
        assert rope is not None  # why_not
        angles = torch.outer(
            torch.arange(self.positions).float(), inverse_frequencies(rope, self.config.head_width)
        )
        tables = [self._keep(table) for table in (angles.cos(), angles.sin())]
        return CLayer(*matrices, *gains, *tables, self.config.windows[i] or 0)
