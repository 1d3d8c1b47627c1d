"""What an agent learns from each reward: the paper's, with each constant changed in turn, and joules, by the price of an error.

Agents are trained on the rollouts of `green-code train rollouts` and replayed on those of held-out projects, over the
same typing, at the measured prices. A training run that a monitor ends is reported with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from green_code.decoding.exit_classifier import ExitClassifier
from green_code.engine.runtime import load_runtime
from green_code.folders import bundles_dir
from green_code.models.bundle import load_bundle
from green_code.problems import Problem
from green_code_lab.agent import ppo, supervised
from green_code_lab.agent.baselines import Score, agent, fixed, full_depth, oracle, replay
from green_code_lab.agent.candidates import train_by_paper
from green_code_lab.agent.environment import ExitEnvironment
from green_code_lab.agent.episodes import draw_typing
from green_code_lab.agent.paper_environment import Rewards
from green_code_lab.agent.prices import Prices, prices_of
from green_code_lab.agent.rollouts import Rollouts, open_rollouts
from green_code_lab.experiments.provenance import provenance

PAPER, ENERGY, SUPERVISED, RULES = "paper's reward, PPO", "joules, PPO", "joules, supervised", "rules"
_CONSTANTS = {"alpha": (0.0, 4.0), "beta": (0.0, 4.0), "gamma": (0.25, 4.0)}  # beside the default, 1
_ERROR_PRICES = (0.0, 0.5, 1.0, 3.0)
_THRESHOLD = 0.5
_DOCUMENTS = 256  # held-out stretches
_STRETCHES = 32  # of each document that PPO replays


def run(model: str, work: Path, updates: int, seed: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Measure; returns what goes into rewards.json.

    Raises:
        Problem: the bundle or its rollouts are missing, or the rollouts are of another bundle.
    """
    runtime = load_runtime(model)
    bundle = load_bundle(bundles_dir() / Path(model).name)
    rollouts, held = (
        open_rollouts(work / "rollouts" / part, bundle.weights_key) for part in ("train", "heldout")
    )
    rollouts.check_like(held)
    prices = prices_of(runtime.costs, rollouts.layers, 1.0)
    typing = draw_typing(held, _DOCUMENTS, 1, seed)
    full = replay(full_depth(), held, prices, typing, bundle.prefill_exit, None).cost
    arms = []
    for reward, setting, train in _runs(
        rollouts, prices, bundle.prefill_exit, replace(ppo.Arguments(), updates=updates, seed=seed), work
    ):
        arm: dict[str, Any] = {"reward": reward, "setting": setting}
        try:
            network = train()
        except Problem as problem:
            arm["failed"] = str(problem)
        else:
            baseline = agent(reward, network, _THRESHOLD, prices)
            arm.update(_scores(replay(baseline, held, prices, typing, bundle.prefill_exit, full)))
        report(f"{reward:20} {setting:12} {arm.get('failed') or round(arm['depth'], 2)}")
        arms.append(arm)
    for rule in (*(fixed(held, depth) for depth in held.exits), full_depth(), oracle()):
        score = replay(rule, held, prices, typing, bundle.prefill_exit, full)
        arms.append({"reward": RULES, "setting": f"{rule.family} {rule.setting}".strip(), **_scores(score)})
    return {
        **provenance(runtime, "rewards", {"model": Path(model), "updates": [updates], "seed": [seed]}),
        "seed": seed,
        "updates": updates,
        "positions": len(rollouts.final_tokens),
        "held_out_positions": len(held.final_tokens),
        "exits": list(held.exits),
        "layers": held.layers,
        "prefill_exit": bundle.prefill_exit,
        "energy_source": runtime.energy_source,
        "arms": arms,
    }


def _runs(
    rollouts: Rollouts, prices: Prices, prefill_exit: int | None, arguments: ppo.Arguments, work: Path
) -> Iterator[tuple[str, str, Callable[[], ExitClassifier]]]:
    """Reward, setting, and how to train on it."""
    quiet: Callable[[str], None] = lambda _: None  # noqa: E731

    def by_paper(rewards: Rewards) -> Callable[[], ExitClassifier]:
        return lambda: train_by_paper(rollouts, rewards, arguments, work / "rewards.jsonl", quiet)

    def by_joules(priced: Prices) -> Callable[[], ExitClassifier]:
        typing = draw_typing(rollouts, arguments.environments, _STRETCHES, arguments.seed)
        environment = ExitEnvironment(rollouts, priced, typing, prefill_exit)
        return lambda: ppo.train(environment, arguments, work / "rewards.jsonl", None, quiet).actor

    def by_supervision(priced: Prices) -> Callable[[], ExitClassifier]:
        usual = supervised.Arguments()
        steps = max(1, usual.steps * arguments.updates // ppo.Arguments.updates)
        chosen = replace(usual, steps=steps, seed=arguments.seed)
        return lambda: supervised.train(rollouts, priced, prefill_exit, chosen, quiet)

    yield PAPER, "α = β = γ = 1", by_paper(Rewards())
    for name, values in _CONSTANTS.items():
        letter = {"alpha": "α", "beta": "β", "gamma": "γ"}[name]
        for value in values:
            yield PAPER, f"{letter} = {value:g}", by_paper(Rewards(**{**asdict(Rewards()), name: value}))
    for reward, train in ((ENERGY, by_joules), (SUPERVISED, by_supervision)):
        for price in _ERROR_PRICES:
            yield reward, f"error {price:g}", train(replace(prices, error=price))


def _scores(score: Score) -> dict[str, float]:
    return {k: v for k, v in asdict(score).items() if k not in ("family", "setting", "objective")}
