"""Policies: who decides at an exit whether to stop there.

A policy names the depths at which it wants to be asked and answers from what is known there. `full` never stops,
`fixed(E)` always at E, `confidence(τ)` where the head's top token has more than τ of the probability (LITE),
`agent(T)` where the exit classifier's most likely action is EXIT and P(EXIT) > T (GREEN-CODE).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Protocol

from torch import Tensor

from green_code.decoding.exit_classifier import ExitClassifier
from green_code.decoding.kv_cache import KVCache
from green_code.models.backend import Backend, Classify, TopToken
from green_code.problems import Problem

LIKELIEST: Final = 0.5
"""The agent's threshold where its most likely action is taken; a lower one changes nothing."""


@dataclass
class View:
    """What is known about a position at one exit, as long as the cache keeps it there.

    `pending` are the evaluations that going on to full depth would cost if all before it was decided. `top`, what the head says, is
    found when it is first asked for, so that a policy which does not look at it does not pay; `look` finds it where it comes
    with others'.
    """

    cache: KVCache
    position: int
    depth: int
    pending: int
    look: Callable[[], TopToken] | None = None
    scored: bool = field(init=False, default=False)
    """Whether the head was run over some tokens."""

    @property
    def state(self) -> Tensor:
        """(C,)."""
        return self.cache.state(self.position)

    @cached_property
    def top(self) -> TopToken:
        return self.look() if self.look else self.cache.top_tokens((self.position,), self.depth)[0]

    @property
    def looked(self) -> bool:
        """Whether the head was run."""
        return "top" in vars(self)

    def top_token_among(self, tokens: Tensor) -> int:
        """The likeliest of these tokens (K,) int32 alone."""
        self.scored = True
        return self.cache.top_token_among(self.position, self.depth, tokens)


class Policy(Protocol):
    @property
    def exits(self) -> tuple[int, ...]:
        """Depths at which to ask, ascending, all below L."""

    @property
    def network_runs(self) -> int:
        """How often an answer runs the exit classifier: 1 for the agent, 0 for rules."""

    def stop(self, view: View) -> bool: ...


@dataclass(frozen=True)
class Full:
    exits: tuple[int, ...] = ()
    network_runs: int = 0

    def stop(self, view: View) -> bool:
        return False


@dataclass(frozen=True)
class Fixed:
    exits: tuple[int, ...]
    network_runs: int = 0

    def stop(self, view: View) -> bool:
        return True


@dataclass(frozen=True)
class Confidence:
    exits: tuple[int, ...]
    threshold: float
    network_runs: int = 0

    def stop(self, view: View) -> bool:
        return view.top.probability > self.threshold


@dataclass(frozen=True)
class Agent:
    """
    Args:
        judge: the network in one call, where the decoder has such.
    """

    network: ExitClassifier
    classify: Classify | None = None
    threshold: float = 1.0
    network_runs: int = 1

    @property
    def exits(self) -> tuple[int, ...]:
        return self.network.exits

    def stop(self, view: View) -> bool:
        index = self.exits.index(view.depth)
        if self.classify is not None:
            probability = self.classify(view.state, view.pending, view.top, index)
        else:
            probability = self.network.exit_probability(view.state, view.pending, view.top, index)
        return probability > max(LIKELIEST, self.threshold)


def agent_on(network: ExitClassifier, decoder: Backend) -> Agent:
    """The agent of a network, as fast as the decoder lets it be."""
    return Agent(network, decoder.judge_of(network.for_service()))


def parse_exits(text: str, layers: int) -> tuple[int, ...]:
    """Depths below L, ascending, as the command line writes them: `7,9,13`.

    Raises:
        Problem: they are not that.
    """
    try:
        exits = tuple(int(each) for each in text.split(","))
    except ValueError:
        exits = ()
    if not exits or exits != tuple(sorted(set(exits))) or not 0 < exits[0] <= exits[-1] < layers:
        raise Problem(
            "bad_request", f"--exits {text}: give layers from 1 to {layers - 1}, ascending, such as 5,7,13."
        )
    return exits


def parse_policy(
    text: str, exits: Sequence[int], layers: int, agent: Agent | None, threshold: float
) -> Policy:
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
            # No probability is greater than 1: there is nothing to ask.
            return Confidence(tuple(exits), float(value)) if float(value) < 1 else Full()
        if kind == "agent" and not value:
            if agent is None:
                raise Problem(
                    "bundle_invalid",
                    "this model's bundle has no agent; use --policy full, fixed:E or confidence:τ, or train one with `green-code train`.",
                )
            return replace(agent, threshold=threshold)
    except ValueError as error:
        raise Problem("bad_request", f"policy {text!r}: {value!r} is not a number in range.") from error
    raise Problem("bad_request", f"policy {text!r} is unknown; use full, fixed:E, confidence:τ or agent.")
