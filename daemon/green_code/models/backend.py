"""What serves a model, whatever computes it: the torch decoder or the CPU kernel.

`Backend` is what a cache and an exit need of a decoder. `WeightFormat` is how one kind keeps its weights in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from green_code.models.adapters import Adapters
from green_code.models.families import ModelConfig

SMALL_BATCH = 4
"""Positions that go through a layer together for little more than one: reading its weights takes as long."""


CANDIDATES = 256
"""Tokens, the likeliest, among which a top token's probability is reckoned."""
LOGIT_RANGE = 8.0
"""Logits below the greatest at which a token is no candidate; a margin counts no further either."""
MAX_LOG_ODDS = 20.0
"""Log-odds that stand for all the probability there is."""


@dataclass(frozen=True, slots=True)
class TopToken:
    """What the head says of a position: the likeliest token, and how sure of it.

    `log_odds` are log(p/(1 − p)), p its share of the probability of the candidates; `margin` its logit less the second's.
    """

    token: int
    log_odds: float
    margin: float

    @property
    def probability(self) -> float:
        return 1 / (1 + math.exp(-self.log_odds))


def top_tokens_of(logits: Tensor) -> list[TopToken]:
    """The tops of (N, V) logits."""
    found, tokens = logits.float().topk(min(CANDIDATES, logits.shape[-1]), -1)
    behind = found[:, :1] - found
    others = torch.where(behind < LOGIT_RANGE, (-behind).exp(), 0)[:, 1:].sum(-1)
    log_odds = (-others.log()).clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS)
    margins = (
        behind[:, 1].clamp(max=LOGIT_RANGE) if behind.shape[1] > 1 else torch.full_like(log_odds, LOGIT_RANGE)
    )
    return [
        TopToken(*each)
        for each in zip(tokens[:, 0].tolist(), log_odds.tolist(), margins.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class ExitParameters:
    """Of the exit classifier (decoding/exit_network.py), float32: H hidden units over C + B features, E exits, two actions.
    The features beside the state are made of its debt, of odds and of margin."""

    inner: np.ndarray  # (H, C + B)
    biases: np.ndarray  # (E, H): of the units, an exit's own included
    action: np.ndarray  # (2, H): CONTINUE's and EXIT's
    action_bias: np.ndarray  # (2,)
    pending_unit: float  # what the logarithm of a debt is divided by
    log_odds_within: float  # odds enter within so many to either side


Classify = Callable[[Tensor, int, TopToken, int], float]
"""A state (C,), its debt, what the head says, the exit's index → P(EXIT)."""


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
        """How many numbers of `cache_dtype` are kept of a position's key and of its value, in each head."""

    @property
    def description(self) -> str:
        """What computes, and in which numbers, for people."""

    @property
    def build(self) -> str:
        """Which edition of it computes: what was measured with another does not hold."""

    @property
    def rows_at_once(self) -> int:
        """Positions that are best taken through layers together."""

    @property
    def layers_at_once(self) -> int:
        """Layers after which a caller should be able to interrupt."""

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
        """Write keys and values alone of positions start … stop−1 in layers `first` … `last`, made of the states as they stand.

        The states stay: to each of these layers they stand for those that the layer before would give (state copying, as
        in CALM, arXiv 2207.07061).

        Args:
            settled: a layer for which entries were learned (`adapters.py`) projects them by these. Otherwise each does so as
                in `run_layers`: in the layer above their depth, keys and values are the very same then.
        """

    def apply_lens(self, x: Tensor, depth: int) -> Tensor:
        """States (N, C) at `depth` as the head is to read them: through the lens of that exit, where there is one."""

    def logits(self, x: Tensor) -> Tensor:
        """The shared final norm and the whole head: (…, C), as seen → (…, V)."""

    def top_tokens(self, states: Tensor, start: int, stop: int, depth: int) -> list[TopToken]:
        """What the head says of positions start … stop−1 of `states`, (S, C), which stand at `depth`: through the lens of that
        exit, where there is one (see `seen`). As cheaply as it can be had."""

    def top_token_among(self, states: Tensor, position: int, depth: int, tokens: Tensor) -> int:
        """The likeliest of these tokens (K,) int32 alone behind a position of `states`, (S, C), which stands at `depth`; see `look`."""

    def judge_of(self, parameters: ExitParameters) -> Classify | None:
        """The exit classifier in one call; None where this decoder has no such."""


class WeightFormat(Protocol):
    """Weights as one kind of decoder keeps them."""

    @property
    def name(self) -> str:
        """Part of the key under which converted weights are cached."""

    def unsupported_reason(self, config: ModelConfig) -> str | None:
        """Why this form cannot serve a model; None: it can."""

    def save(
        self, config: ModelConfig, weights: Mapping[str, Tensor], adapters: Adapters, folder: Path
    ) -> None:
        """Write float32 weights in this form."""

    def open(self, config: ModelConfig, folder: Path) -> Backend:
        """A decoder over saved weights.

        Raises:
            OSError, ValueError, KeyError, RuntimeError, SafetensorError: they are damaged.
        """

    def build(self, config: ModelConfig, weights: Mapping[str, Tensor], adapters: Adapters) -> Backend:
        """A decoder over float32 weights in memory."""


def first_supporting(weight_formats: Sequence[WeightFormat], config: ModelConfig) -> WeightFormat:
    """Raises ValueError where none does; torch serves every family."""
    reasons = []
    for weight_format in weight_formats:
        if (reason := weight_format.unsupported_reason(config)) is None:
            return weight_format
        reasons.append(f"{weight_format.name}: {reason}")
    raise ValueError("; ".join(reasons))
