"""Ways to choose an exit, replayed over the same typing at the same prices, and compared at equal cost.

Reported beside the agent: the oracle (first exit that is right), every fixed exit, full depth, and confidence (the head's
greatest probability). Agents and confidence pay for the head at each exit where they decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from green_code.decoding.exit_classifier import EXIT
from green_code_lab.agent.environment import ExitEnvironment
from green_code_lab.agent.episodes import Typing
from green_code_lab.agent.networks import Actor
from green_code_lab.agent.prices import TokenPrices
from green_code_lab.agent.rollouts import Rollouts

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
_ERROR_PRICES = (0.5, 1.0, 2.0, 4.0)  # times that of training
_CONFIDENCES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Baseline:
    """A family and its setting; `choose` gives (count,) actions.

    `decision`: the price of a decision. `uses_head`: before each decision. `propagates`: at a prefill exit, if any.
    """

    family: str
    setting: str
    choose: Callable[[ExitEnvironment], Any]
    decision: float = 0.0
    uses_head: bool = False
    propagates: bool = True


@dataclass(frozen=True)
class Score:
    """`cost` of a completion, prompt included, errors not, in full-depth tokens; `objective` with the price of errors.

    `saving`: against full depth over the same typing. `agreement` with the last layer, a token. `whole`: share of greedy
    completions that agree in every token. `accuracy` against the source, of teacher-forced ones.
    """

    family: str
    setting: str
    cost: float
    objective: float
    saving: float
    depth: float
    agreement: float
    whole: float
    accuracy: float


def compare(
    baselines: Iterable[Baseline], rollouts: Rollouts, prices: TokenPrices, typing: Typing, prefill_exit: int | None
) -> list[Score]:
    """Every baseline over the same typing."""
    full = replay(full_depth(), rollouts, prices, typing, prefill_exit, None).cost
    return [replay(baseline, rollouts, prices, typing, prefill_exit, full) for baseline in baselines]


def replay(
    baseline: Baseline,
    rollouts: Rollouts,
    prices: TokenPrices,
    typing: Typing,
    prefill_exit: int | None,
    full_cost: float | None,
) -> Score:
    """Serve every request once; `full_cost`: of a completion at full depth."""
    own_prices = replace(prices, decision=baseline.decision)
    own_exit = prefill_exit if baseline.propagates else None
    environment = ExitEnvironment(rollouts, own_prices, typing, own_exit, baseline.uses_head)
    requests = typing.first.shape[1]
    depths = np.array([*rollouts.exits, rollouts.layers])
    used, tokens, cost = 0, 0, 0.0
    wrong = np.zeros_like(typing.first)  # tokens of a request that are not the last layer's
    right, known, errors = 0, 0, 0.0
    while (busy := environment.served < requests).any():
        action = baseline.choose(environment)
        row, exit, request = environment.row, environment.exit.copy(), environment.request.copy()
        before = environment.cost.copy()
        environment.step(action)
        leave = action == EXIT
        errors += float(rollouts.errors[row, exit][busy & leave].sum())
        done = busy & (leave | (exit == len(rollouts.exits) - 1))
        cost += (environment.cost - before)[busy].sum()
        final = rollouts.final_tokens[row]
        chosen = np.where(leave, rollouts.exit_tokens[row, exit], final)
        np.add.at(wrong, (np.flatnonzero(done), request[done]), (chosen != final)[done])
        used += depths[np.where(leave, exit, len(rollouts.exits))][done].sum()
        tokens += int(done.sum())
        forced = done & ~_greedy(rollouts, row)
        right += int((chosen == rollouts.source_tokens[row])[forced].sum())
        known += int(forced.sum())
    greedy = _greedy(rollouts, typing.first)
    cost /= typing.first.size
    return Score(
        baseline.family,
        baseline.setting,
        float(cost),
        float(cost + prices.error * errors / typing.first.size),
        float(1 - cost / full_cost) if full_cost else 0.0,
        float(used / tokens),
        float(1 - wrong.sum() / tokens),
        float((wrong == 0)[greedy].mean()) if greedy.any() else 0.0,
        right / known if known else 0.0,
    )


def _greedy(rollouts: Rollouts, rows: np.ndarray) -> Any:
    """Which rows are of greedy chunks."""
    return rollouts.greedy[np.searchsorted(rollouts.starts, rows, side="right") - 1]


def agent(family: str, network: Actor, threshold: float, prices: TokenPrices) -> Baseline:
    @torch.no_grad()
    def choose(environment: ExitEnvironment) -> Any:
        probability = network(*environment.observe()).softmax(-1)[:, EXIT].numpy()
        return (probability > max(0.5, threshold)).astype(np.int64)

    return Baseline(family, f"T={threshold}", choose, prices.decision, uses_head=True)


def fixed(rollouts: Rollouts, depth: int) -> Baseline:
    index = rollouts.exits.index(depth)
    return Baseline("fixed", str(depth), lambda environment: (environment.exit == index).astype(np.int64))


def full_depth() -> Baseline:
    return Baseline("full", "", lambda environment: np.zeros(environment.count, np.int64), propagates=False)


def oracle() -> Baseline:
    return Baseline("oracle", "", lambda e: e.rollouts.right[e.row, e.exit].astype(np.int64))


def confidence(threshold: float) -> Baseline:
    def choose(e: ExitEnvironment) -> Any:
        return (sigmoid(e.rollouts.log_odds[e.row, e.exit]) > threshold).astype(np.int64)

    return Baseline("confidence", f"τ={threshold}", choose, uses_head=True)


def sigmoid(log_odds: np.ndarray) -> Any:
    return 1 / (1 + np.exp(-log_odds.astype(np.float64)))


def agents(networks: Mapping[str, Actor], prices: TokenPrices) -> Iterator[Baseline]:
    """Each at each threshold."""
    for name, network in networks.items():
        yield from (agent(name, network, threshold, prices) for threshold in THRESHOLDS)


def all_baselines(networks: Mapping[str, Actor], rollouts: Rollouts, prices: TokenPrices) -> Iterator[Baseline]:
    """Agents at each threshold, and everything they are compared with."""
    yield from agents(networks, prices)
    yield from map(confidence, _CONFIDENCES)
    yield from (fixed(rollouts, depth) for depth in rollouts.exits)
    yield from (full_depth(), oracle())


def best_family(scores: Iterable[Score]) -> str:
    """The family with the least sum of objectives, errors priced at a half to four times their price in training, each time
    at the family's best threshold."""
    curves: dict[str, list[Score]] = {}
    for score in scores:
        curves.setdefault(score.family, []).append(score)

    def total(family: str) -> float:
        return sum(
            min(score.cost + times * (score.objective - score.cost) for score in curves[family])
            for times in _ERROR_PRICES
        )

    return min(curves, key=total)


def at_equal_cost(curve: Sequence[Score], cost: float, name: str) -> float | None:
    """A family's score (by its field's name) at a cost, interpolated between its settings; None beyond them."""
    points = sorted((score.cost, getattr(score, name)) for score in curve)
    if not points[0][0] <= cost <= points[-1][0]:
        return None
    return float(np.interp(cost, [c for c, _ in points], [w for _, w in points]))
