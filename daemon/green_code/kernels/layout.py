"""Where the kernel keeps a model's numbers: in whole groups. What is no whole group is filled with zeros, which change no result.

Heads are filled one by one, then all queries together; so are an MLP's gates, and what they are multiplied with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from green_code.kernels.binding import HEAD_GROUP
from green_code.kernels.quantise import GROUP
from green_code.models.families import ModelConfig


@dataclass(frozen=True)
class Axis:
    """A dimension of a weight: the model's numbers lie at `places` of the kernel's `size`."""

    places: np.ndarray
    size: int

    @classmethod
    def of_blocks(cls, count: int, size: int, each: int) -> Axis:
        """`count` blocks of `size` numbers, each filled to `each`, and all of them to whole groups."""
        return cls((np.arange(count)[:, None] * each + np.arange(size)).ravel(), _whole(count * each))

    def then(self, other: Axis) -> Axis:
        return Axis(np.concatenate((self.places, self.size + other.places)), self.size + other.size)


class Layout:
    """The sizes and weights of a model as the kernel has them. Names are `Decoder`'s, and "kv_projection" and "lens.D" of adapters."""

    def __init__(self, config: ModelConfig) -> None:
        heads, kv_heads, d, mlp = config.heads, config.kv_heads, config.head_width, config.mlp_width
        self.head_width = _whole(d, HEAD_GROUP)
        states, queries = Axis.of_blocks(1, config.width, _whole(config.width)), Axis.of_blocks(heads, d, self.head_width)
        keys_values = Axis.of_blocks(2 * kv_heads, d, self.head_width)
        inner = Axis.of_blocks(1, mlp, _whole(mlp))
        head, gates = Axis(np.arange(d), self.head_width), 2 if config.row.gated else 1
        self.width, self.mlp_width = states.size, inner.size
        self._states = states
        self._axes: dict[str, tuple[Axis, ...]] = {
            "qkv": (queries.then(keys_values), states),
            "kv_projection": (keys_values, states),
            "attention_out": (states, queries),
            "mlp_in": (Axis.of_blocks(gates, mlp, inner.size), states),
            "mlp_out": (states, inner),
            "q_norm": (head,),
            "k_norm": (head,),
        }

    def shape(self, name: str) -> tuple[int, ...]:
        """(outputs, inputs) of a layer's matrix."""
        return tuple(axis.size for axis in self._axes[name.rpartition(".")[-1]])

    def fill(self, name: str, weight: np.ndarray) -> np.ndarray:
        """A matrix (outputs, inputs), a table or a head (rows, C), a gain or a bias, in whole groups; itself where it has them already."""
        own = self._axes.get(name.rpartition(".")[-1])
        if own is None:  # of states: norms, lenses, and tables, whose rows are not filled
            axes: tuple[Axis | None, ...] = (None,) * (weight.ndim - 1) + (self._states,)
        else:
            axes = own[: weight.ndim]
        return _fill(weight, axes)


def _whole(size: int, group: int = GROUP) -> int:
    """The size in whole groups."""
    return -(-size // group) * group


def _fill(array: np.ndarray, axes: tuple[Axis | None, ...]) -> np.ndarray:
    sizes = tuple(axis.size if axis else size for axis, size in zip(axes, array.shape, strict=True))
    if sizes == array.shape:
        return array
    filled = np.zeros(sizes, array.dtype)
    filled[np.ix_(*(axis.places if axis else np.arange(n) for axis, n in zip(axes, array.shape, strict=True)))] = array
    return filled
