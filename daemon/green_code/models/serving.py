"""What serves a model, whatever computes it: the torch decoder or the CPU kernel.

`Served` is what a staircase and an exit need of a decoder. `Form` is how one kind keeps its weights in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from green_code.models.families import ModelConfig

FEW = 4
"""Positions that go through a layer together for little more than one: reading its weights takes as long."""


@dataclass(frozen=True)
class ExitParameters:
    """Of the exit network (decoding/exit_network.py), float32: H hidden units over C + B features, E exits, two actions.

    `tokens` are those of its small head; of the B features the last is their confidence, the one before it the debt.
    """

    tokens: Sequence[int]
    inner: np.ndarray  # (H, C + B)
    biases: np.ndarray  # (E, H): of the units, an exit's own included
    action: np.ndarray  # (2, H): CONTINUE's and EXIT's
    action_bias: np.ndarray  # (2,)


Judge = Callable[[Tensor, float, int], float]
"""A state (C,), the debt as a feature, the exit's index → P(EXIT)."""


class Served(Protocol):
    """A decoder over buffers that the caller owns: states (S, C), keys and values (L, K, S, D)."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype:
        """Of hidden states."""

    @property
    def cache_dtype(self) -> torch.dtype:
        """Of keys and values."""

    @property
    def description(self) -> str:
        """What computes, and in which numbers: costs are kept under it."""

    @property
    def rows_at_once(self) -> int:
        """Positions that are best taken through layers together."""

    @property
    def layers_at_once(self) -> int:
        """Layers after which a caller should be able to interrupt."""

    def embed_tokens(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Token ids (N,) at positions start … → hidden states (N, C) at depth 0."""

    def run_layers(self, first: int, last: int, x: Tensor, start: int, keys: Tensor, values: Tensor) -> None:
        """Layers `first` … `last` (from 1) over x (N, C) at positions start …, in place.

        Keys and values must be valid before `start` in these layers, in an order that is the decoder's own within
        blocks of 16 positions; those of the N positions are written.
        """

    def logits(self, x: Tensor) -> Tensor:
        """The shared final norm and head: (…, C) at any depth → (…, V)."""

    def head_of(self, tokens: Sequence[int]) -> Callable[[Tensor], Tensor]:
        """A small head, of K tokens alone: (…, C) → (…, K)."""

    def judge_of(self, parameters: ExitParameters) -> Judge | None:
        """The exit network with its small head in one call; None where this decoder has no such."""


class Form(Protocol):
    """Weights as one kind of decoder keeps them."""

    @property
    def name(self) -> str:
        """Part of the key under which converted weights are cached."""

    def refuses(self, config: ModelConfig) -> str | None:
        """Why this form cannot serve a model; None: it can."""

    def save(self, config: ModelConfig, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write float32 weights in this form."""

    def open(self, config: ModelConfig, folder: Path) -> Served:
        """A decoder over saved weights, memory-mapped.

        Raises:
            OSError, ValueError, KeyError, RuntimeError, SafetensorError: they are damaged.
        """

    def build(self, config: ModelConfig, weights: Mapping[str, Tensor]) -> Served:
        """A decoder over float32 weights in memory."""


def first_that_serves(forms: Sequence[Form], config: ModelConfig) -> Form:
    """Raises ValueError where none does; torch serves every family."""
    reasons = []
    for form in forms:
        if (reason := form.refuses(config)) is None:
            return form
        reasons.append(f"{form.name}: {reason}")
    raise ValueError("; ".join(reasons))
