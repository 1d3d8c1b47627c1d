"""What a KV cache and the head need of a decoder (`Backend`), and how a decoder stores its weights (`WeightFormat`).

Two kinds implement them: the torch decoder and the CPU kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from green_code.models.adapters import Adapters
from green_code.models.families import ModelConfig

SMALL_BATCH = 4
"""Positions that run through a layer together for little more than one: reading its weights takes as long."""
CANDIDATES = 256
"""The likeliest tokens, over which a top token's probability is computed."""
LOGIT_RANGE = 8.0
"""A token this far below the greatest logit is no candidate; margins are cut there, too."""
MAX_LOG_ODDS = 20.0
"""Bound of log-odds."""


@dataclass(frozen=True, slots=True)
class TopToken:
    """The likeliest token behind a position.

    `log_odds` are log(p/(1 − p)), with p its share of the candidates' probability; `margin` is its logit minus the second's.
    """

    token: int
    log_odds: float
    margin: float

    @property
    def probability(self) -> float:
        return probability_of(self.log_odds)


def probability_of(log_odds: float) -> float:
    """The logistic function."""
    return 1 / (1 + math.exp(-log_odds))


def top_token_of(tokens: Tensor, logits: Tensor) -> TopToken:
    """The top token of these tokens (K,) by their logits (K,), the first of equals; its log-odds are among them."""
    best, others = int(logits.argmax()), logits.float()
    greatest = float(others[best])
    others = others.index_fill(0, torch.tensor(best, device=others.device), -math.inf)
    log_odds = min(max(greatest - float(others.logsumexp(0)), -MAX_LOG_ODDS), MAX_LOG_ODDS)
    return TopToken(int(tokens[best]), log_odds, min(greatest - float(others.max()), LOGIT_RANGE))


def top_tokens_of(logits: Tensor) -> list[TopToken]:
    """The top tokens of (N, V) logits."""
    found, tokens = logits.float().topk(min(CANDIDATES, logits.shape[-1]), -1)
    behind = found[:, :1] - found
    others = torch.where(behind < LOGIT_RANGE, (-behind).exp(), 0)[:, 1:].sum(-1)
    log_odds = (-others.log()).clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS)
    margins = behind[:, 1].clamp(max=LOGIT_RANGE) if behind.shape[1] > 1 else torch.full_like(log_odds, LOGIT_RANGE)
    return [TopToken(*each) for each in zip(tokens[:, 0].tolist(), log_odds.tolist(), margins.tolist(), strict=True)]


class Backend(Protocol):
    """A decoder over buffers that the caller owns: states (S, C), keys and values (L, K, S, `cache_widths`)."""

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
    def cache_widths(self) -> tuple[int, int]:
        """Numbers of `cache_dtype` per position and head: of a key, of a value."""

    @property
    def description(self) -> str:
        """What computes, and in which data type, for people."""

    @property
    def build(self) -> str:
        """Which build computes; measurements of another one do not hold."""

    @property
    def has_svd_head(self) -> bool:
        """Whether top tokens come from the SVD head, not from the whole one."""

    @property
    def rows_at_once(self) -> int:
        """The most positions that one call should run."""

    @property
    def layers_at_once(self) -> int:
        """The most layers that one call should run, so that the caller can interrupt."""

    def embed_into(self, states: Tensor, start: int, tokens: Sequence[int]) -> None:
        """Write the hidden states at depth 0 of `tokens` into `states`, (S, C), from position `start` on."""

    def run_layers(
        self, first: int, last: int, states: Tensor, start: int, stop: int, keys: Tensor, values: Tensor
    ) -> None:
        """Layers `first` … `last` (from 1) over positions start … stop−1 of `states`, (S, C), in place.

        Keys and values must be valid before `start` in these layers, in an order that is the decoder's own within
        blocks of 32 positions; those of the positions are written.
        """

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
        """Write only keys and values of positions start … stop−1 in layers `first` … `last`, computed from the states as they are.

        The states do not change: each of these layers takes them for its input (CALM, arXiv 2207.07061).

        Args:
            propagated: use a layer's learned KV projection, where it has one (`adapters.py`); otherwise its own, as in
                `run_layers`, which is exact in the layer above the positions' depth.
        """

    def apply_lens(self, x: Tensor, depth: int) -> Tensor:
        """States (N, C) at `depth` as the head reads them: through the exit's lens, where it has one."""

    def logits(self, x: Tensor) -> Tensor:
        """The shared final norm and the whole head: (…, C), through the lens → (…, V)."""

    def top_tokens(self, states: Tensor, start: int, stop: int, depth: int) -> list[TopToken]:
        """The head's top token of positions start … stop−1 of `states`, (S, C), all at `depth`; through the exit's lens and, where
        there is one, the SVD head."""

    def top_token_among(self, states: Tensor, position: int, depth: int, tokens: Tensor) -> TopToken:
        """The top token among these (K,) int32 behind a position of `states`, (S, C), at `depth`."""


Report = Callable[[float], None]


@dataclass(frozen=True)
class Sizes:
    """Bytes of converted weights: on the disk, and of those that a process holds that serves them."""

    disk: int
    memory: int


class WeightFormat(Protocol):
    """Weights as one kind of decoder stores them."""

    @property
    def name(self) -> str:
        """Part of the key under which converted weights are cached."""

    def unsupported_reason(self, config: ModelConfig) -> str | None:
        """Why this format does not support a model; None: it does."""

    def sizes(self, config: ModelConfig, adapters: Adapters) -> Sizes:
        """What weights of a configuration take in this format, to a few megabytes."""

    def save(
        self,
        config: ModelConfig,
        weights: Iterable[tuple[str, np.ndarray]],
        adapters: Adapters,
        folder: Path,
        report: Report = lambda _: None,
    ) -> None:
        """Write float32 weights in this format, each when it comes. `report` gets the share that is done."""

    def open(self, config: ModelConfig, folder: Path) -> Backend:
        """A decoder over saved weights.

        Raises:
            OSError, ValueError, KeyError, RuntimeError, SafetensorError: they are damaged.
            MemoryError: they do not fit into memory.
        """

    def build(self, config: ModelConfig, weights: Mapping[str, np.ndarray], adapters: Adapters) -> Backend:
        """A decoder over float32 weights in memory."""


def first_supporting(weight_formats: Iterable[WeightFormat], config: ModelConfig) -> WeightFormat:
    """Raises ValueError where none does; torch supports every family."""
    reasons = []
    for weight_format in weight_formats:
        if (reason := weight_format.unsupported_reason(config)) is None:
            return weight_format
        reasons.append(f"{weight_format.name}: {reason}")
    raise ValueError("; ".join(reasons))
