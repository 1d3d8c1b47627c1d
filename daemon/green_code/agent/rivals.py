"""Other ways to choose an exit, replayed on the same rollouts and prices as the agent.

Always reported beside it: the oracle (first exit that is right), every fixed exit, full depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from green_code.agent.environment import ExitEnvironment
from green_code.agent.rollouts import Rollouts
from green_code.decoding.exit_network import EXIT, ExitNetwork

Chooser = Callable[[ExitEnvironment], Any]


@dataclass(frozen=True)
class Score:
    """Per token: mean cost beyond the first exit in full-depth tokens (errors not counted), mean depth, agreement, accuracy."""

    name: str
    cost: float
    depth: float
    agreement: float
    accuracy: float


def replay(name: str, environment: ExitEnvironment, choose: Chooser, steps: int) -> Score:
    """Let `choose` act for `steps` steps in every environment."""
    rollouts, depths = (
        environment.rollouts,
        np.array([*environment.rollouts.exits, environment.rollouts.layers]),
    )
    cost, taken, agreed, correct, tokens = 0.0, 0.0, 0, 0, 0
    last = len(rollouts.exits) - 1
    for _ in range(steps):
        action = choose(environment)
        row, exit = environment.row.copy(), environment.exit.copy()
        reward, _ = environment.step(action)
        leave, full = action == EXIT, (action != EXIT) & (exit == last)
        wrong = leave & ~environment.right[row, exit]
        cost -= reward.sum() + environment.prices.error * wrong.sum()
        final, source = rollouts.final_tokens[row], rollouts.source_tokens[row]
        given = np.where(leave, rollouts.exit_tokens[row, exit], final)
        done = leave | full
        taken += depths[np.where(leave, exit, last + 1)][done].sum()
        agreed += int((given == final)[done].sum())
        correct += int((given == source)[done].sum())
        tokens += int(done.sum())
    return Score(name, cost / tokens, taken / tokens, agreed / tokens, correct / tokens)


def agent(network: ExitNetwork, threshold: float) -> Chooser:
    @torch.no_grad()
    def choose(environment: ExitEnvironment) -> Any:
        probability = network(*environment.observe()).softmax(-1)[:, EXIT].numpy()
        return (probability > max(0.5, threshold)).astype(np.int64)

    return choose


def fixed(rollouts: Rollouts, depth: int) -> Chooser:
    index = rollouts.exits.index(depth) if depth in rollouts.exits else len(rollouts.exits)
    return lambda environment: (environment.exit == index).astype(np.int64)


def oracle(environment: ExitEnvironment) -> Any:
    return environment.right[environment.row, environment.exit].astype(np.int64)


def compare(
    network: ExitNetwork, environment: ExitEnvironment, thresholds: tuple[float, ...], steps: int = 400
) -> list[Score]:
    """Agent at each threshold, oracle, every fixed exit, full depth; only the agent pays for decisions."""
    rollouts = environment.rollouts
    scores = [replay(f"agent T={t}", environment, agent(network, t), steps) for t in thresholds]
    environment.prices = replace(environment.prices, decision=0.0)
    scores.append(replay("oracle", environment, oracle, steps))
    for depth in (*rollouts.exits, rollouts.layers):
        scores.append(replay(f"fixed {depth}", environment, fixed(rollouts, depth), steps))
    return scores
