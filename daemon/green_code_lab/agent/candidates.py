"""The agents that are trained, and their table beside the baselines."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from green_code.kernels.binding import EXTRA_FEATURES
from green_code.problems import Problem
from green_code_lab.agent import ppo, supervised
from green_code_lab.agent.baselines import Score, at_equal_cost
from green_code_lab.agent.environment import ExitEnvironment
from green_code_lab.agent.episodes import draw_typing
from green_code_lab.agent.networks import Actor, ExitModule
from green_code_lab.agent.paper_environment import PaperEnvironment, Rewards
from green_code_lab.agent.prices import TokenPrices
from green_code_lab.agent.rollouts import Rollouts

REWARDS = ("energy", "paper")
SUPERVISED, PPO, BOTH = "supervised", "PPO", "supervised + PPO"
_COMPARED = ("agreement", "whole", "accuracy")  # at equal cost
_EPISODES = 64  # of each document that PPO replays, before it starts again
_FINE_RATE, _FINE_ENTROPY = 3e-4, 0.1  # of fine-tuning


@dataclass(frozen=True)
class Candidate:
    """A trained network, and the arguments of its training."""

    network: ExitModule
    arguments: dict[str, Any]


def train_candidates(
    rollouts: Rollouts,
    prices: TokenPrices,
    prefill_exit: int | None,
    arguments: ppo.Arguments,
    logs: Path,
    reward: str,
    rewards: Rewards,
    report: Callable[[str], None] = print,
) -> dict[str, Candidate]:
    """By supervision, by PPO with `arguments`, and by PPO from the supervised one; with the paper's rewards by PPO alone.

    A run that a monitor stops is reported and left out.

    Raises Problem where the only run was stopped.
    """
    seed = arguments.seed
    if reward == "paper":
        actor = train_by_paper(rollouts, rewards, arguments, logs / f"{PPO}.jsonl", report)
        return {PPO: _candidate(actor, arguments)}
    fit = replace(supervised.Arguments(), seed=seed)
    fitted = supervised.train(rollouts, prices, prefill_exit, fit, report)
    found = {SUPERVISED: Candidate(fitted, asdict(fit))}
    typing = draw_typing(rollouts, arguments.environments, _EPISODES, seed)
    fine = replace(arguments, learning_rate=_FINE_RATE, entropy=_FINE_ENTROPY)
    for name, chosen, start in ((PPO, arguments, None), (BOTH, fine, fitted)):
        environment = ExitEnvironment(rollouts, prices, typing, prefill_exit)
        log = logs / f"{name.replace(' ', '-')}.jsonl"
        try:
            actor = ppo.train(environment, chosen, log, start, report).actor
        except Problem as problem:
            report(f"{name} is left out: {problem}")
        else:
            found[name] = _candidate(actor, chosen)
    return found


def _candidate(actor: Actor, arguments: ppo.Arguments) -> Candidate:
    assert isinstance(actor, ExitModule)  # what bundles have
    return Candidate(actor, asdict(arguments))


def train_by_paper(
    rollouts: Rollouts,
    rewards: Rewards,
    arguments: ppo.Arguments,
    log: Path,
    report: Callable[[str], None],
    network: type[Actor] = ExitModule,
) -> Actor:
    """PPO on the paper's rewards; the hidden state is the only input.

    Raises Problem where a monitor stopped the run.
    """
    environment = PaperEnvironment(rollouts, rewards, arguments.environments, arguments.seed)
    actor = ppo.train(environment, arguments, log, None, report, network).actor
    if isinstance(actor, ExitModule):
        actor.inner.weight[:, -EXTRA_FEATURES:] = 0  # their input was 0 in training
    return actor


def as_stored(network: ExitModule) -> ExitModule:
    """In the precision of a bundle."""
    return copy.deepcopy(network).half().float()


def table(scores: Sequence[Score], family: str) -> Iterator[str]:
    """Lines of all scores, each beside what `family` has at the same cost."""
    curve = [score for score in scores if score.family == family]
    yield f"{'':32}  cost  objective  saving  depth  agreement  whole  accuracy   at this cost, {family}"
    for score in scores:
        line = (
            f"{score.family + ' ' + score.setting:32} {score.cost:5.2f}  {score.objective:9.2f}  {score.saving:6.1%}"
            f"  {score.depth:5.2f}  {score.agreement:9.3f}  {score.whole:5.3f}  {score.accuracy:8.3f}"
        )
        at = {name: at_equal_cost(curve, score.cost, name) for name in _COMPARED}
        if score.family != family and None not in at.values():
            line += "   " + "  ".join(f"{value:.3f} {name}" for name, value in at.items())
        yield line
