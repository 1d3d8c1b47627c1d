"""The agents that are trained, and the table in which they stand beside their rivals."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from green_code.decoding.exit_classifier import BESIDE, ExitClassifier
from green_code.problems import Problem
from green_code_lab.agent import ppo, supervised
from green_code_lab.agent.baselines import Score, at_equal_cost
from green_code_lab.agent.environment import ExitEnvironment
from green_code_lab.agent.episodes import draw_typing
from green_code_lab.agent.paper_environment import PaperEnvironment, Rewards
from green_code_lab.agent.prices import Prices
from green_code_lab.agent.rollouts import Rollouts

REWARDS = ("energy", "paper")
SUPERVISED, PPO, BOTH = "supervised", "PPO", "supervised + PPO"
_COMPARED = ("agreement", "whole", "accuracy")  # at equal cost
_STRETCHES = 64  # of each document that PPO replays, before it begins anew
_FINE_RATE, _FINE_ENTROPY = 3e-4, 0.1  # of fine-tuning


@dataclass(frozen=True)
class Candidate:
    """A trained network, and what shaped its training."""

    network: ExitClassifier
    arguments: dict[str, Any]


def train_candidates(
    rollouts: Rollouts,
    prices: Prices,
    prefill_exit: int | None,
    seed: int,
    logs: Path,
    reward: str,
    rewards: Rewards,
    report: Callable[[str], None] = print,
) -> dict[str, Candidate]:
    """By supervision, by PPO, and by PPO from the supervised one; with the paper's rewards by PPO alone.

    A run that a monitor ends is reported, and left out where others are left.

    Raises:
        Problem: the only run was ended.
    """
    arguments = replace(ppo.Arguments(), seed=seed)
    found: dict[str, Candidate] = {}

    def by_ppo(
        name: str, environment: ppo.Environment, chosen: ppo.Arguments, begin: ExitClassifier | None
    ) -> None:
        log = logs / f"{name.replace(' ', '-')}.jsonl"
        try:
            actor = ppo.train(environment, chosen, log, begin, report).actor
        except Problem as problem:
            report(f"{name} is left out: {problem}")
        else:
            found[name] = Candidate(actor, asdict(chosen))

    if reward == "paper":
        actor = train_by_paper(rollouts, rewards, arguments, logs / f"{PPO}.jsonl", report)
        return {PPO: Candidate(actor, asdict(arguments))}
    fit = replace(supervised.Arguments(), seed=seed)
    fitted = supervised.train(rollouts, prices, prefill_exit, fit, report)
    found[SUPERVISED] = Candidate(fitted, asdict(fit))
    typing = draw_typing(rollouts, arguments.environments, _STRETCHES, seed)
    by_ppo(PPO, ExitEnvironment(rollouts, prices, typing, prefill_exit), arguments, None)
    fine = replace(arguments, learning_rate=_FINE_RATE, entropy=_FINE_ENTROPY)
    by_ppo(BOTH, ExitEnvironment(rollouts, prices, typing, prefill_exit), fine, fitted)
    return found


def train_by_paper(
    rollouts: Rollouts, rewards: Rewards, arguments: ppo.Arguments, log: Path, report: Callable[[str], None]
) -> ExitClassifier:
    """PPO on the paper's rewards; the agent looks at the hidden state alone.

    Raises:
        Problem: a monitor ended the run.
    """
    environment = PaperEnvironment(rollouts, rewards, arguments.environments, arguments.seed)
    actor = ppo.train(environment, arguments, log, None, report).actor
    actor.inner.weight[:, -BESIDE:] = 0  # it never saw them
    return actor


def shipped(network: ExitClassifier) -> ExitClassifier:
    """In the numbers that a bundle keeps."""
    return copy.deepcopy(network).half().float()


def table(scores: Sequence[Score], family: str) -> Iterator[str]:
    """Lines of all scores, each rival's beside what `family` gives at the same cost."""
    curve = [score for score in scores if score.family == family]
    yield f"{'':32}  cost  objective  saving  depth  agreement  whole  accuracy   at this cost, {family}"
    for score in scores:
        line = (
            f"{score.family + ' ' + score.setting:32} {score.cost:5.2f}  {score.objective:9.2f}  {score.saving:6.1%}"
            f"  {score.depth:5.2f}  {score.agreement:9.3f}  {score.whole:5.3f}  {score.accuracy:8.3f}"
        )
        at = [at_equal_cost(curve, score.cost, name) for name in _COMPARED]
        if score.family != family and None not in at:
            line += "   " + "  ".join(
                f"{value:.3f} {name}" for value, name in zip(at, _COMPARED, strict=True)
            )
        yield line
