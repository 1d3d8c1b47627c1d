"""Weights and states in whole groups, as the kernel computes: what a width lacks is filled with zeros, which change no result.

Heads are padded one by one, then all queries together; so are an MLP's gates, and what they are multiplied with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from green_code.kernels.binding import HEAD_GROUP
from green_code.kernels.quantise import GROUP
from green_code.models.config import ModelConfig


@dataclass(frozen=True)
class _Axis:
    """A dimension of a weight: the model's numbers go to `places` of `size`."""

    places: np.ndarray
    size: int

    @classmethod
    def of_blocks(cls, count: int, size: int, padded: int) -> _Axis:
        """`count` blocks of `size` numbers, each padded, and all of them padded to whole groups."""
        return cls((np.arange(count)[:, None] * padded + np.arange(size)).ravel(), _whole(count * padded))

    def then(self, other: _Axis) -> _Axis:
        return _Axis(np.concatenate((self.places, self.size + other.places)), self.size + other.size)


class Padding:
    """The widths of a model in the kernel. Names are those of `families.Family.names`, "layers.N.kv_projection" and "lens.D"."""

    def __init__(self, config: ModelConfig) -> None:
        heads, kv_heads, d, mlp = config.heads, config.kv_heads, config.head_width, config.mlp_width
        self.width, self.mlp_width, self.head_width = _whole(config.width), _whole(mlp), _whole(d, HEAD_GROUP)
        head, gates = _Axis(np.arange(d), self.head_width), 2 if config.row.gated else 1
        queries = _Axis.of_blocks(heads, d, self.head_width)
        keys_values = _Axis.of_blocks(2 * kv_heads, d, self.head_width)
        self.keys_values = keys_values.size
        self._states = states = _Axis.of_blocks(1, config.width, self.width)
        self._axes: dict[str, tuple[_Axis, ...]] = {
            "qkv": (queries.then(keys_values), states),
            "kv_projection": (keys_values, states),
            "attention_out": (states, queries),
            "mlp_in": (_Axis.of_blocks(gates, mlp, self.mlp_width), states),
            "mlp_out": (states, _Axis.of_blocks(1, mlp, self.mlp_width)),
            "q_norm": (head,),
            "k_norm": (head,),
        }

    def shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What `shape` becomes."""
        return tuple(axis.size if axis else size for axis, size in zip(self._of(name, shape), shape, strict=True))

    def pad(self, name: str, weight: np.ndarray) -> np.ndarray:
        """A matrix (outputs, inputs), a gain or a bias (outputs,), or rows of a table or of a head (N, C); itself where it has whole
        groups."""
        sizes = self.shape(name, weight.shape)
        if sizes == weight.shape:
            return weight
        padded, axes = np.zeros(sizes, weight.dtype), self._of(name, weight.shape)
        padded[np.ix_(*(axis.places if axis else np.arange(n) for axis, n in zip(axes, sizes, strict=True)))] = weight
        return padded

    def _of(self, name: str, shape: tuple[int, ...]) -> tuple[_Axis | None, ...]:
        part = name.removesuffix(".weight").removesuffix(".bias").rpartition(".")[-1]
        if own := self._axes.get(part):
            return own[: len(shape)]
        return (*(None,) * (len(shape) - 1), self._states)  # norms, lenses, tables; the kernel pads no rows of a table


def _whole(size: int, group: int = GROUP) -> int:
    """The size in whole groups."""
    return -(-size // group) * group
