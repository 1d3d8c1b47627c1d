"""The sizes and options of one model, which decoders, conversion and costs depend on."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from green_code.models.families import FAMILIES, Activation, Family
from green_code.problems import Problem

_LARGEST = {
    "layers": 512, "width": 1 << 16, "heads": 1024, "kv_heads": 1024, "head_width": 1024, "mlp_width": 1 << 20,
    "vocabulary": 1 << 22, "max_positions": 1 << 24,
}  # fmt: skip
_LARGEST_MATRIX = (1 << 31) - 1  # the kernel counts in 32 bits
_LARGEST_NUMBER = 1e12
_SCALINGS = Literal["none", "linear", "llama3"]


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding of one layer: its base, and its scaling for long contexts.

    Raises:
        Problem: a number is not one that a model can have.
    """

    base: float
    scaling: _SCALINGS = "none"
    factor: float = 1.0
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_positions: int = 8192

    def __post_init__(self) -> None:
        _check("rotary scaling", self.scaling, self.scaling in get_args(_SCALINGS), ", ".join(get_args(_SCALINGS)))
        for name in ("base", "factor", "low_frequency_factor", "high_frequency_factor", "original_positions"):
            _check(f"rotary {name}", getattr(self, name), _is_number(getattr(self, name)), "a number above 0")
        ordered = self.low_frequency_factor < self.high_frequency_factor
        _check("rotary high_frequency_factor", self.high_frequency_factor, ordered, "above low_frequency_factor")


def inverse_frequencies(rope: Rope, head_width: int) -> np.ndarray:
    """(D/2,) float32. "llama3" scales long wavelengths only (transformers, modeling_rope_utils.py)."""
    exponents = np.arange(0, head_width, 2, dtype=np.float32) / np.float32(head_width)
    frequencies: np.ndarray = np.float32(rope.base) ** -exponents
    if rope.scaling == "none":
        return frequencies
    if rope.scaling == "linear":
        return np.asarray(frequencies / np.float32(rope.factor))
    turns = rope.original_positions * frequencies / np.float32(2 * math.pi)
    low, high = rope.low_frequency_factor, rope.high_frequency_factor
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return np.asarray(frequencies * (smooth + (1 - smooth) / rope.factor), np.float32)


@dataclass(frozen=True)
class ModelConfig:
    """What differs between the checkpoints of a family. Written to model.json, next to the converted weights.

    Raises:
        Problem: the family is unknown, or a value is not one that a model can have.
    """

    family: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    mlp_width: int
    vocabulary: int
    norm_eps: float
    max_positions: int
    attention_scale: float
    tied_head: bool
    windows: tuple[int | None, ...]  # per layer: positions attended to, the own included; None: all
    ropes: tuple[Rope | None, ...]  # per layer; None: nothing is rotated
    rotary_width: int | None = None  # of each head, how many numbers are rotated; None: all
    other_activation: Activation | None = None  # None: the family's
    qkv_bias: bool = False
    attention_out_bias: bool = False
    mlp_bias: bool = False
    embedding_scale: float = 1.0  # embeddings × this
    residual_scale: float = 1.0  # the output of attention and of the MLP × this, before it is added
    logit_scale: float = 1.0  # logits × this
    attention_softcap: float | None = None  # scores s become c · tanh(s / c)
    logit_softcap: float | None = None  # the same for logits

    def __post_init__(self) -> None:
        check_family(self.family)
        for name, largest in _LARGEST.items():
            _check(name, getattr(self, name), _is_size(getattr(self, name), largest), f"1 to {largest:,}")
        _check("max_positions", self.max_positions, self.max_positions > 1, "2 or more: half of them are the prompt's")
        for name in ("tied_head", "qkv_bias", "attention_out_bias", "mlp_bias"):
            _check(name, getattr(self, name), isinstance(getattr(self, name), bool), "true or false")
        for name in ("norm_eps", "attention_scale", "embedding_scale", "residual_scale", "logit_scale"):
            _check(name, getattr(self, name), _is_number(getattr(self, name)), "a number above 0")
        for name in ("attention_softcap", "logit_softcap"):
            value = getattr(self, name)
            _check(name, value, value is None or _is_number(value), "a number above 0, or none")
        known = ", ".join(get_args(Activation))
        _check("activation", self.activation, self.activation in get_args(Activation), f"one of {known}")
        _check("kv_heads", self.kv_heads, self.heads % self.kv_heads == 0, f"a divisor of {self.heads} heads")
        self._check_positions()
        query, inner = self.heads * self.head_width, self.mlp_width * (2 if self.row.gated else 1)
        outputs = max(query + 2 * self.kv_heads * self.head_width, inner, self.vocabulary)
        learned = self.max_positions * self.width if self.row.positions == "learned" else 0
        largest = max(outputs * self.width, query * self.width, learned)
        _check("largest matrix", largest, largest <= _LARGEST_MATRIX, f"of at most {_LARGEST_MATRIX:,} weights")

    def _check_positions(self) -> None:
        for name, per_layer in (("windows", self.windows), ("ropes", self.ropes)):
            _check(f"number of {name}", len(per_layer), len(per_layer) == self.layers, f"{self.layers}, one a layer")
        for window in self.windows:
            fits = window is None or _is_size(window, _LARGEST_MATRIX)
            _check("window", window, fits, "a positive number of positions, or none")
        if any(self.ropes):
            rotated = self.head_width if self.rotary_width is None else self.rotary_width
            fits = _is_size(rotated, self.head_width) and rotated % 2 == 0
            _check("rotary width", rotated, fits, f"even, 2 to {self.head_width}")

    @property
    def row(self) -> Family:
        return FAMILIES[self.family]

    @property
    def activation(self) -> Activation:
        return self.other_activation or self.row.activation

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check_family(family: Any) -> str:
    """The same family. Raises Problem if no row describes it."""
    if not isinstance(family, str) or family not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise Problem(
            "model_damaged", f"the model's family, {repr(family)[:40]}, is not supported; these are: {known}."
        )
    return family


def _is_size(value: Any, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= largest


def _is_number(value: Any) -> bool:
    """Whether it is finite, above 0 and of a size that a model can have."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and 0 < value < _LARGEST_NUMBER
    )


def _check(name: str, value: Any, fits: bool, allowed: str) -> None:
    if not fits:
        shown = repr(value)[:40]
        raise Problem(
            "model_damaged",
            f"the model's {name} is {shown}, but it must be {allowed}: download the model again, or choose another one.",
        )
