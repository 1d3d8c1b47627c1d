"""What a KV cache and the head need of a decoder (`Backend`), and how a decoder stores its weights (`WeightFormat`).

Three kinds implement them: the torch decoder, the CPU kernel and the GPU's kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from green_code.models.adapters import Adapters
from green_code.models.config import ModelConfig

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
    `exit_probability`: the answer to an `ExitQuestion`, where the decoder has computed it in the same call.
    """

    token: int
    log_odds: float
    margin: float
    exit_probability: float | None = None

    @property
    def probability(self) -> float:
        return probability_of(self.log_odds)


def probability_of(log_odds: float) -> float:
    """The logistic function."""
    return 1 / (1 + math.exp(-log_odds))


def top_token_of(tokens: np.ndarray, logits: np.ndarray) -> TopToken:
    """The top token of these tokens (K,) by their logits (K,), the first of equals; its log-odds are among them."""
    best = int(logits.argmax())
    greatest, others = float(logits[best]), np.delete(logits, best)
    if not len(others):
        return TopToken(int(tokens[best]), MAX_LOG_ODDS, LOGIT_RANGE)
    second = float(others.max())
    behind = greatest - second
    log_odds = behind - math.log(float(np.exp(others - second).sum()))
    return TopToken(int(tokens[best]), min(max(log_odds, -MAX_LOG_ODDS), MAX_LOG_ODDS), min(behind, LOGIT_RANGE))


@dataclass(frozen=True)
class ExitParameters:
    """Of the exit classifier, float32: H hidden units over C + B features, E exits, two actions (CONTINUE, EXIT)."""

    inner: np.ndarray  # (H, C + B)
    biases: np.ndarray  # (E, H): of the hidden units, the exit's own included
    action: np.ndarray  # (2, H)
    action_bias: np.ndarray  # (2,)
    pending_unit: float  # divides the logarithm of the pending evaluations
    log_odds_within: float  # log-odds are clipped to ± this


@dataclass(frozen=True, slots=True)
class ExitQuestion:
    """What an exit classifier will be asked about each position of which top tokens are read, in this order.

    `classifier` is of `Backend.exit_probability`, `index` that of the exit. `pending`: the evaluations that are left behind each position.
    Where P(exit) of one is at most `bound`, it goes on, and pays for what is pending behind later ones, all but their last layer.
    """

    classifier: ExitProbability
    index: int
    bound: float
    pending: tuple[int, ...] = ()


class Buffers(Protocol):
    """Hidden states, keys and values of one cache, in its decoder's own layout; zeros at first."""

    @property
    def capacity(self) -> int:
        """Positions that there is room for."""

    @property
    def nbytes(self) -> int: ...

    def grow(self, capacity: int) -> None:
        """Room for at least `capacity` positions; the content is kept."""


ExitProbability = Callable[["Buffers", int, int, TopToken, int], float]
"""(a cache's buffers, position, its pending evaluations, its top token, index of the exit) → P(EXIT)."""


class Backend(Protocol):
    """A decoder over buffers that the caller owns.

    Raises:
        ValueError: of each method that takes buffers: they are another decoder's, or have no such positions.
    """

    @property
    def config(self) -> ModelConfig: ...

    @property
    def gpu(self) -> str | None:
        """UUID of the GPU that computes, as in NVML; None: the processor computes."""

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

    def layers_at_once(self, rows: int) -> int:
        """The most layers that one call should run over so many positions, so that the caller can interrupt."""

    def serve(self) -> None:
        """Settings of the process for requests, called once before the first."""

    def close(self) -> None:
        """Give back memory that only the decoder can; it is not used any more."""

    def new_buffers(self, capacity: int) -> Buffers:
        """Room for at least `capacity` positions."""

    def embed_into(self, buffers: Buffers, start: int, tokens: Sequence[int]) -> None:
        """Write the hidden states at depth 0 of `tokens`, from position `start` on."""

    def run_layers(self, first: int, last: int, buffers: Buffers, start: int, stop: int) -> None:
        """Layers `first` … `last` (from 1) over the states of positions start … stop−1, in place.

        Keys and values must be valid before `start` in these layers; those of the positions are written.
        """

    def project_kv(self, first: int, last: int, buffers: Buffers, start: int, stop: int, propagated: bool) -> None:
        """Write only keys and values of positions start … stop−1 in layers `first` … `last`, computed from the states as they are.

        The states do not change: each of these layers takes them for its input (CALM, arXiv 2207.07061).

        Args:
            propagated: use a layer's learned KV projection, where it has one (`adapters.py`); otherwise its own, as in
                `run_layers`, which is exact in the layer above the positions' depth.
        """

    def top_tokens(
        self, buffers: Buffers, positions: Sequence[int], depth: int, question: ExitQuestion | None = None
    ) -> list[TopToken]:
        """The head's top token of these ascending positions, all at `depth`; through the exit's lens and, where there is one, the
        SVD head.

        Args:
            question: what the exit classifier will be asked about them; a decoder for which a call takes long answers with the tokens.
        """

    def top_token_among(self, buffers: Buffers, position: int, depth: int, tokens: np.ndarray) -> TopToken:
        """The top token among these (K,) int32 behind a position at `depth`."""

    def exit_probability(self, parameters: ExitParameters) -> ExitProbability | None:
        """The exit classifier as a function of this decoder; None: it has none, and `state` must do.

        Raises:
            ValueError: the parameters do not fit one another or this model.
        """

    def synchronise(self) -> None:
        """Wait for all that was asked of the device."""

    def state(self, buffers: Buffers, position: int) -> np.ndarray:
        """The hidden state of a position, (C,) float32, perhaps a view that the next operation overwrites."""

    def states(self, buffers: Buffers, start: int, stop: int) -> np.ndarray:
        """The hidden states of positions start … stop−1, (N, C) float32, perhaps a view as well."""

    def lensed_states(self, buffers: Buffers, start: int, stop: int, depth: int) -> np.ndarray:
        """These states as the head reads them at `depth`, (N, C) float32: through the exit's lens, where it has one."""

    def all_logits(self, buffers: Buffers, start: int, stop: int, depth: int) -> np.ndarray:
        """The whole head's logits of these states at `depth`, (N, V) float32."""


Report = Callable[[float], None]


def nothing_to_check(size: int) -> None:
    """For a `make_room` that always finds it."""


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

    @property
    def device(self) -> str:
        """Where its decoders compute: "cpu", "cuda" or "mps"."""

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
