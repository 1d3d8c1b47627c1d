"""The candidates for the stop agent, their choice, and what a bundle gets: stop_agent.safetensors, gate.json and the calibration's
"suggestions". Learned on records of training projects, chosen on those of held-out projects (`spans.FINAL_PROJECTS` apart)."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from green_code.decoding.stop_network import StopNetwork
from green_code_lab.agent import stop_ppo, stops
from green_code_lab.replay.compare import Policy, Replays, replay, tune
from green_code_lab.replay.environment import Replayer
from green_code_lab.replay.objective import PRESETS, Prices, figures
from green_code_lab.replay.policies import least_probability, mean_probability, running_product, shown_by
from green_code_lab.replay.typist import Typed

RULE, SUPERVISED, PPO = "running product", "agent, supervised", "agent, PPO"
_STOPS = (0.1, 0.2, 0.3, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8)
_REFUSALS = (0.06, 0.08, 0.1)
_BOUNDS = (0.06, 0.08, 0.1)
_DRAWS = 2000


@dataclass(frozen=True)
class Trained:
    """Networks by family, and the content of gate.json without its bounds."""

    networks: dict[str, StopNetwork]
    gate: dict[str, Any]


def train_all(replayer: Replayer, seed: int, report: Callable[[str], None]) -> Trained:
    """The supervised agent, PPO from it, and the gate."""
    arguments = stops.Arguments(seed=seed)
    shown = shown_by(replayer, running_product(replayer.records), arguments.stop)
    found = stops.visits(replayer, shown, range(arguments.typings))
    report(f"{len(found.rows)} requests of replayed typing, {found.runs.mean():.0%} of which run a layer at once")
    supervised = _stored(stops.train(replayer, found, shown, arguments))
    report("supervised agent fitted")
    tuned = stop_ppo.train(replayer, supervised, PRESETS["balanced"], stop_ppo.Arguments(seed=seed), report)
    gate = stops.train_gate(found, shown.right, arguments.gate_penalty)
    return Trained({SUPERVISED: supervised, PPO: _stored(tuned)}, gate)


def _stored(network: StopNetwork) -> StopNetwork:
    """In the precision of a bundle."""
    return copy.deepcopy(network).half().float().requires_grad_(False).eval()


def estimates(replayer: Replayer, network: StopNetwork) -> np.ndarray:
    """(M,) of the network's token part."""
    with torch.no_grad():
        log_odds = network.token(torch.from_numpy(stops.token_inputs(replayer)))[:, 0].numpy().astype(np.float64)
    return np.asarray(1 / (1 + np.exp(-log_odds)))


def agent_policy(replayer: Replayer, family: str, network: StopNetwork) -> Policy:
    """Without bounds; see `tune`."""
    return Policy(family, "", estimates(replayer, network), 0.0, network)


def families(replayer: Replayer, trained: Trained) -> list[Policy]:
    """Every rule and agent, alone and with the gate, without bounds."""
    product, truth = running_product(replayer.records), np.where(replayer.token_right, 1.0, 0.0)
    rules = [
        Policy(RULE, "", product, 0.0), Policy("least probability", "", least_probability(replayer.records), 0.0),
        Policy("mean probability", "", mean_probability(replayer.records), 0.0),
        Policy(f"{RULE} + gate", "", product, 0.0, gate=trained.gate),
    ]  # fmt: skip
    for family, network in trained.networks.items():
        whole = agent_policy(replayer, family, network)
        rules += [
            Policy(f"{family}, without refusal", "", whole.estimate, 0.0), whole,
            Policy(f"{family} + gate", "", whole.estimate, 0.0, network, gate=trained.gate),
        ]  # fmt: skip
    return [*rules, Policy("oracle", "", truth, 0.0)]


Found = dict[str, tuple[Policy, list[Typed]]]
"""Each family's best setting under some prices, and its replays."""


def compare(replayer: Replayer, trained: Trained, report: Callable[[str], None]) -> dict[str, Found]:
    """Every family under each preset's prices; by preset."""
    found: dict[str, Found] = {preset: {} for preset in PRESETS}
    for policy in families(replayer, trained):
        replays = Replays(replayer)  # presets share most settings
        for preset, prices in PRESETS.items():
            chosen, typed = found[preset][policy.family] = tune(replays, policy, prices, _STOPS, _REFUSALS, _BOUNDS)
            objective = sum(map(prices.objective, typed)) / len(typed)
            report(f"{preset:9}{policy.family:34} {chosen.setting:36} {objective:7.2f}  {_brief(typed)}")
    return found


def gain(found: Found, family: str, other: str, prices: Prices, seed: int = 0) -> tuple[float, float, float]:
    """A family's mean objective above another's, with its 95 % interval over files."""
    pairs = zip(found[family][1], found[other][1], strict=True)
    differences = [prices.objective(mine) - prices.objective(its) for mine, its in pairs]
    generator = random.Random(seed)
    drawn = sorted(float(np.mean(generator.choices(differences, k=len(differences)))) for _ in range(_DRAWS))
    return float(np.mean(differences)), drawn[int(0.025 * _DRAWS)], drawn[int(0.975 * _DRAWS)]


def choose(by_preset: dict[str, Found]) -> str:
    """The family to ship: the candidate with the greatest sum of objectives, each in units of the rule's, if it beats the rule beyond
    noise at the default preset; else the rule."""

    def total(family: str) -> float:
        return sum(
            sum(map(PRESETS[preset].objective, found[family][1]))
            / abs(sum(map(PRESETS[preset].objective, found[RULE][1])))
            for preset, found in by_preset.items()
        )

    candidates = [family for family in by_preset["balanced"] if family in (SUPERVISED, PPO)]
    winner = max(candidates, key=total)
    _, low, _ = gain(by_preset["balanced"], winner, RULE, PRESETS["balanced"])
    return winner if low > 0 else RULE


def _brief(typed: list[Typed]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in figures(typed).items())


def point(stop: float, typed: list[Typed]) -> dict[str, float]:
    """A point of the calibration's curve."""
    return {"stop": stop, **{name: round(value, 5) for name, value in figures(typed).items()}}


def curve(replayer: Replayer, policy: Policy) -> list[dict[str, float]]:
    """Of a policy over stops, at its own refusal and gate."""
    return [point(stop, replay(replayer, replace(policy, stop=stop))) for stop in _STOPS]
