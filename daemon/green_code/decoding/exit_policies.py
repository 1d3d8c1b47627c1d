"""Exit policies: at each exit, decide whether to decode the token there or to go deeper.

A policy names its exits and decides from an `ExitView`. `full` never exits, `fixed(E)` always at E, `confidence(τ)` where the
top token has more than τ of the probability (LITE, arXiv 2310.18581), `agent(T)` where the exit classifier's P(exit) is above
T and EXIT its likeliest action (GREEN-CODE, arXiv 2501.11006).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import numpy as np

from green_code.decoding.exit_classifier import ExitClassifier
from green_code.decoding.kv_cache import KVCache
from green_code.models.backend import Backend, ExitProbability, ExitQuestion, TopToken
from green_code.problems import Problem, shown

LIKELIEST: Final = 0.5
"""The agent's threshold at which its likeliest action is taken; a lower one changes nothing."""


@dataclass
class ExitView:
    """What is known about a position at one exit, while the cache keeps it there.

    Args:
        pending: layer × position evaluations that going on to full depth would cost.
        read_top: gives the top token where it is computed together with other positions'; by default it is computed alone.
        question: what the policy will ask of the exit classifier, set before the top token is read.
    """

    cache: KVCache
    position: int
    depth: int
    pending: int
    read_top: Callable[[ExitQuestion | None], TopToken] | None = None
    question: ExitQuestion | None = None
    _top: TopToken | None = field(default=None, init=False, repr=False)

    @property
    def state(self) -> np.ndarray:
        """(C,)."""
        return self.cache.state(self.position)

    @property
    def top(self) -> TopToken:
        """Computed when first read, so that a policy which does not need the head does not pay for it."""
        if self._top is None:
            self._top = self._read_top()
        return self._top

    def _read_top(self) -> TopToken:
        if self.read_top is not None:
            return self.read_top(self.question)
        question = self.question and replace(self.question, pending=(self.pending,))
        return self.cache.top_tokens((self.position,), self.depth, question)[0]

    @property
    def has_top(self) -> bool:
        """Whether the head has run."""
        return self._top is not None

    def top_among(self, tokens: np.ndarray) -> TopToken:
        """The top token among these (K,) int32."""
        return self.cache.top_token_among(self.position, self.depth, tokens)


class Policy(Protocol):
    @property
    def exits(self) -> tuple[int, ...]:
        """Depths at which it decides, ascending, all below L."""

    @property
    def classifier_runs(self) -> int:
        """How often a decision runs the exit classifier: 1 for the agent, 0 for rules."""

    def should_exit(self, view: ExitView) -> bool: ...


@dataclass(frozen=True)
class Full:
    exits: tuple[int, ...] = ()
    classifier_runs: int = 0

    def should_exit(self, view: ExitView) -> bool:
        return False


@dataclass(frozen=True)
class Fixed:
    exits: tuple[int, ...]
    classifier_runs: int = 0

    def should_exit(self, view: ExitView) -> bool:
        return True


@dataclass(frozen=True)
class Confidence:
    exits: tuple[int, ...]
    threshold: float
    classifier_runs: int = 0

    def should_exit(self, view: ExitView) -> bool:
        return view.top.probability > self.threshold


@dataclass(frozen=True)
class Agent:
    """
    Args:
        in_decoder: the classifier as the decoder computes it, where it does.
    """

    classifier: ExitClassifier
    in_decoder: ExitProbability | None = None
    threshold: float = 1.0
    classifier_runs: int = 1

    @property
    def exits(self) -> tuple[int, ...]:
        return self.classifier.exits

    def should_exit(self, view: ExitView) -> bool:
        index, bound = self.exits.index(view.depth), max(LIKELIEST, self.threshold)
        if self.in_decoder is not None:
            view.question = ExitQuestion(self.in_decoder, index, bound)
            found = self.in_decoder(view.cache.buffers, view.position, view.pending, view.top, index)
        else:
            found = self.classifier.exit_probability(view.state, view.pending, view.top, index)
        return found > bound


def agent_for(classifier: ExitClassifier, decoder: Backend) -> Agent:
    """The agent of a classifier, computed by the decoder where it can."""
    return Agent(classifier, decoder.exit_probability(classifier.parameters_for_decoder()))


def parse_policy(text: str, exits: Sequence[int], layers: int, agent: Agent | None, threshold: float) -> Policy:
    """`full`, `fixed:E`, `confidence:τ` or `agent`, as the command line and the link write them.

    Raises:
        Problem: unknown policy, a depth that is no layer, τ outside 0…1, or an agent that the bundle lacks.
    """
    kind, _, value = text.partition(":")
    try:
        if kind == "full" and not value:
            return Full()
        if kind == "fixed":
            depth = int(value)
            if not 1 <= depth <= layers:
                raise Problem("bad_request", f"fixed:{depth} is no layer of this model; give 1 to {layers}.")
            return Fixed((depth,)) if depth < layers else Full()
        if kind == "confidence":
            if not 0 <= float(value) <= 1:
                raise ValueError(value)
            # No probability is greater than 1, so no exit would ever be taken.
            return Confidence(tuple(exits), float(value)) if float(value) < 1 else Full()
        if kind == "agent" and not value:
            if agent is None:
                raise Problem(
                    "bundle_invalid",
                    "this model's bundle has no agent; use --policy full, fixed:E or confidence:τ, or train one with `green-code train`.",
                )
            return replace(agent, threshold=threshold)
    except ValueError as error:
        raise Problem("bad_request", f"policy {shown(text)}: {shown(value)} is not a number in range.") from error
    raise Problem("bad_request", f"policy {shown(text)} is unknown; use full, fixed:E, confidence:τ or agent.")
