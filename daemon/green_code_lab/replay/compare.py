"""Policies over the same replayed typing, and the choice among their settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from green_code.decoding.stop_network import StopNetwork
from green_code.decoding.value_heads import value_depths
from green_code.lsp.gate_features import Place, features
from green_code_lab.replay.environment import Replayer
from green_code_lab.replay.objective import Prices
from green_code_lab.replay.policies import shown_by
from green_code_lab.replay.typist import Gate, Typed, always, type_span


@dataclass(frozen=True)
class Policy:
    """A family and its setting.

    Attributes:
        estimate: (M,) of the records' tokens, see `policies.py`. stop: its bound.
        network, refusal: refuses behind a prompt where the network promises less.
        gate, bound: content of gate.json, and the least probability with which a request is made.
    """

    family: str
    setting: str
    estimate: np.ndarray
    stop: float
    network: StopNetwork | None = None
    refusal: float = 0.0
    gate: Mapping[str, Any] | None = None
    bound: float = 0.0


def replay(replayer: Replayer, policy: Policy, seed: int = 0) -> list[Typed]:
    """Type every span once."""
    shown = shown_by(replayer, policy.estimate, policy.stop)
    refuses = _refusals(replayer, policy.network, policy.refusal) if policy.network and policy.refusal else None
    depth = policy.network.depth if policy.network and policy.refusal else 0
    gate = gate_of(policy.gate, policy.bound) if policy.gate and policy.bound else always
    return [
        type_span(span, replayer.suggester(i, shown, refuses, depth), gate, seed=seed)
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


def _refusals(replayer: Replayer, network: StopNetwork, bound: float) -> Callable[[int, Sequence[float]], bool]:
    states, depth = replayer.records.low_states, value_depths(replayer.layers).index(network.depth)
    return lambda row, place: network.promise(states[row, depth], place) < bound


class Replays:
    """Replays by setting of one family; each is made once."""

    def __init__(self, replayer: Replayer) -> None:
        self._replayer, self._made = replayer, dict[tuple[float, float, float], list[Typed]]()

    def of(self, policy: Policy) -> list[Typed]:
        key = policy.stop, policy.refusal, policy.bound
        if key not in self._made:
            self._made[key] = replay(self._replayer, policy)
        return self._made[key]

    def best(self, policies: Iterable[Policy], prices: Prices) -> Policy:
        """The policy with the greatest objective."""
        return max(policies, key=lambda policy: sum(map(prices.objective, self.of(policy))))


def tune(
    replays: Replays, policy: Policy, prices: Prices, stops: Sequence[float], refusals: Sequence[float], bounds: Sequence[float]
) -> tuple[Policy, list[Typed]]:  # fmt: skip
    """The best setting, one bound after the other: stop, refusal, gate; and its replays."""
    found = replays.best([replace(policy, stop=stop) for stop in stops], prices)
    if policy.network is not None:
        found = replays.best([replace(found, refusal=refusal) for refusal in (0.0, *refusals)], prices)
    if policy.gate is not None:
        found = replays.best([replace(found, bound=bound) for bound in (0.0, *bounds)], prices)
    return replace(found, setting=_setting(found)), replays.of(found)


def _setting(policy: Policy) -> str:
    parts = (("stop", policy.stop), ("refusal", policy.refusal), ("gate", policy.bound))
    return ", ".join(f"{name} {value:g}" for name, value in parts if value)
