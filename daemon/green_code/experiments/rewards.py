"""What an agent learns from each reward: the paper's, with each constant changed in turn, and joules, by the price of an error.

Agents are trained on the rollouts of `green-code train rollouts` and replayed on those of held-out projects, over the
same typing, at the measured prices. A training run that a monitor ends is reported with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from green_code.agent import ppo, supervised
from green_code.agent.candidates import train_by_paper
from green_code.agent.environment import ExitEnvironment
from green_code.agent.paper_environment import Rewards
from green_code.agent.prices import Prices, prices_of
from green_code.agent.rivals import Score, agent, fixed, full_depth, oracle, replay
from green_code.agent.rollouts import Rollouts, open_rollouts
from green_code.agent.stretches import draw_typing
from green_code.decoding.exit_network import ExitNetwork
from green_code.engine.runtime import load_runtime
from green_code.experiments.provenance import provenance
from green_code.folders import bundles_dir
from green_code.models.bundle import load_bundle
from green_code.problems import Problem

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
    full = replay(full_depth(), held, prices, typing, bundle.plateau, None).cost
    arms = []
    for reward, setting, train in _runs(
        rollouts, prices, bundle.plateau, replace(ppo.Arguments(), updates=updates, seed=seed), work
    ):
        arm: dict[str, Any] = {"reward": reward, "setting": setting}
        try:
            network = train()
        except Problem as problem:
            arm["failed"] = str(problem)
        else:
            rival = agent(reward, network, _THRESHOLD, prices)
            arm.update(_scores(replay(rival, held, prices, typing, bundle.plateau, full)))
        report(f"{reward:20} {setting:12} {arm.get('failed') or round(arm['depth'], 2)}")
        arms.append(arm)
    for rule in (*(fixed(held, depth) for depth in held.exits), full_depth(), oracle()):
        score = replay(rule, held, prices, typing, bundle.plateau, full)
        arms.append({"reward": RULES, "setting": f"{rule.family} {rule.setting}".strip(), **_scores(score)})
    return {
        **provenance(runtime, "rewards", {"model": Path(model), "updates": [updates], "seed": [seed]}),
        "seed": seed,
        "updates": updates,
        "positions": len(rollouts.final_tokens),
        "held_out_positions": len(held.final_tokens),
        "exits": list(held.exits),
        "layers": held.layers,
        "plateau": bundle.plateau,
        "energy_source": runtime.energy_source,
        "arms": arms,
    }


def _runs(
    rollouts: Rollouts, prices: Prices, plateau: int | None, arguments: ppo.Arguments, work: Path
) -> Iterator[tuple[str, str, Callable[[], ExitNetwork]]]:
    """Reward, setting, and how to train on it."""
    quiet: Callable[[str], None] = lambda _: None  # noqa: E731

    def by_paper(rewards: Rewards) -> Callable[[], ExitNetwork]:
        return lambda: train_by_paper(rollouts, rewards, arguments, work / "rewards.jsonl", quiet)

    def by_joules(priced: Prices) -> Callable[[], ExitNetwork]:
        typing = draw_typing(rollouts, arguments.environments, _STRETCHES, arguments.seed)
        environment = ExitEnvironment(rollouts, priced, typing, plateau)
        return lambda: ppo.train(environment, arguments, work / "rewards.jsonl", None, quiet).actor

    def by_supervision(priced: Prices) -> Callable[[], ExitNetwork]:
        usual = supervised.Arguments()
        steps = max(1, usual.steps * arguments.updates // ppo.Arguments.updates)
        chosen = replace(usual, steps=steps, seed=arguments.seed)
        return lambda: supervised.train(rollouts, priced, plateau, chosen, quiet)

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
