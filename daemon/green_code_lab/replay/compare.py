"""Policies over the same replayed typing, and the choice among their settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from green_code.decoding.value_heads import ValueHeads
from green_code.lsp.gate_features import Place, features
from green_code_lab.replay.environment import NEVER, Refuses, Replayer
from green_code_lab.replay.objective import Prices
from green_code_lab.replay.policies import shown_by
from green_code_lab.replay.typist import Gate, Typed, always, type_span


@dataclass(frozen=True)
class Policy:
    """A family and its setting.

    Attributes:
        estimate: (M,) of the records' tokens, see `policies.py`. stop: its bound.
        heads, refusal: by depth the least characters that a value head must expect; where it expects fewer, the request is refused.
        gate, bound: content of gate.json, and the least probability with which a request is made.
    """

    family: str
    setting: str
    estimate: np.ndarray
    stop: float
    heads: ValueHeads | None = None
    refusal: Mapping[int, float] = field(default_factory=dict)
    gate: Mapping[str, Any] | None = None
    bound: float = 0.0


def replay(replayer: Replayer, policy: Policy, seed: int = 0) -> list[Typed]:
    """Type every span once."""
    shown, refuses = shown_by(replayer, policy.estimate, policy.stop), refusals(replayer, policy)
    gate = gate_of(policy.gate, policy.bound) if policy.gate and policy.bound else always
    return [
        type_span(span, replayer.suggester(i, shown, refuses), gate, seed=seed)
        for i, span in enumerate(replayer.records.spans)
    ]


def gate_of(content: Mapping[str, Any], bound: float) -> Gate:
    """A gate without exploration, which adapts to nobody."""
    weights, bias = np.array(content["weights"]), float(content["bias"])
    least = np.log(bound / (1 - bound))

    def asks(place: Place) -> tuple[bool, list[float]]:
        found = features(place)
        return bool(weights @ found + bias >= least), found

    return asks


def refusals(replayer: Replayer, policy: Policy) -> Refuses:
    """Of a policy's value heads."""
    heads, bounds, states = policy.heads, policy.refusal, replayer.records.low_states
    if heads is None or not bounds:
        return NEVER
    depths = heads.depths
    return Refuses(
        tuple(sorted(bounds)),
        lambda row, place, depth: heads.characters(depth, states[row, depths.index(depth)], place) < bounds[depth],
    )


class Replays:
    """Replays by setting of one family; each is made once."""

    def __init__(self, replayer: Replayer) -> None:
        self._replayer, self._made = replayer, dict[tuple[Any, ...], list[Typed]]()

    def of(self, policy: Policy) -> list[Typed]:
        key = policy.stop, *sorted(policy.refusal.items()), policy.bound
        if key not in self._made:
            self._made[key] = replay(self._replayer, policy)
        return self._made[key]

    def best(self, policies: Iterable[Policy], prices: Prices) -> Policy:
        """The policy with the greatest objective."""
        return max(policies, key=lambda policy: sum(map(prices.objective, self.of(policy))))


def tune(
    replays: Replays, policy: Policy, prices: Prices, stops: Sequence[float], bounds: Sequence[float]
) -> tuple[Policy, list[Typed]]:  # fmt: skip
    """The best setting, one bound after the other: stop, then gate; and its replays."""
    found = replays.best([replace(policy, stop=stop) for stop in stops], prices)
    if policy.gate is not None:
        found = replays.best([replace(found, bound=bound) for bound in (0.0, *bounds)], prices)
    return replace(found, setting=setting(found)), replays.of(found)


def setting(policy: Policy) -> str:
    """A policy's bounds, as reports show them."""
    refusal = {f"layer {depth}": bound for depth, bound in policy.refusal.items()}
    parts = {"stop": policy.stop, **refusal, "gate": policy.bound}
    return ", ".join(f"{name} {value:g}" for name, value in parts.items() if value)
