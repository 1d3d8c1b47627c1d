"""The candidates for the stop agent, their choice, and what a bundle gets: stop_agent.safetensors, gate.json and the calibration's
"suggestions". Learned on records of training projects, chosen on those of held-out projects (`spans.FINAL_PROJECTS` apart)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from green_code.engine.loading import Runtime
from green_code_lab.agent import stop_ppo, stops
from green_code_lab.agent.baselines import sigmoid
from green_code_lab.agent.networks import StopModule
from green_code_lab.evaluation.metrics import bootstrap_interval
from green_code_lab.replay.compare import Policy, Replays, replay, tune
from green_code_lab.replay.environment import Replayer
from green_code_lab.replay.objective import PRESETS, Prices, figures
from green_code_lab.replay.policies import least_probability, mean_probability, running_product, shown_by
from green_code_lab.replay.service import Arm, serve_span
from green_code_lab.replay.typist import Typed

RULE, SUPERVISED, PPO = "running product", "agent, supervised", "agent, PPO"
_STOPS = (0.1, 0.2, 0.3, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8)
_REFUSALS = (0.06, 0.08, 0.1)
_BOUNDS = (0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12)
_DRAWS = 2000
GATE_LOSS = 0.01
"""Share of the accepted keys that the gate may cost."""


@dataclass(frozen=True)
class Trained:
    """Networks by family, and the content of gate.json without its bounds."""

    networks: dict[str, StopModule]
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


def _stored(network: StopModule) -> StopModule:
    """In the precision of a bundle."""
    return copy.deepcopy(network).half().float().requires_grad_(False).eval()


def estimates(replayer: Replayer, network: StopModule) -> np.ndarray:
    """(M,) of the network's token part."""
    with torch.no_grad():
        log_odds = network.token(torch.from_numpy(stops.token_inputs(replayer)))[:, 0].numpy()
    return np.asarray(sigmoid(log_odds))


def agent_policy(replayer: Replayer, family: str, network: StopModule) -> Policy:
    """Without bounds; see `tune`."""
    return Policy(family, "", estimates(replayer, network), 0.0, network.frozen())


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
            Policy(f"{family} + gate", "", whole.estimate, 0.0, whole.network, gate=trained.gate),
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
            chosen, typed = found[preset][policy.family] = tune(
                replays, policy, prices, _STOPS, _REFUSALS, _BOUNDS[1::2]
            )
            objective = sum(map(prices.objective, typed)) / len(typed)
            report(f"{preset:9}{policy.family:34} {chosen.setting:36} {objective:7.2f}  {_brief(typed)}")
    return found


def gain(found: Found, family: str, other: str, prices: Prices, seed: int = 0) -> tuple[float, float, float]:
    """A family's mean objective above another's, with its 95 % interval over files."""
    pairs = zip(found[family][1], found[other][1], strict=True)
    differences = [prices.objective(mine) - prices.objective(its) for mine, its in pairs]
    return float(np.mean(differences)), *bootstrap_interval(differences, seed, _DRAWS)


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


def gate_bound(replayer: Replayer, policy: Policy, gate: dict[str, Any]) -> tuple[float, list[Typed]]:
    """The highest bound of the gate at which at most `GATE_LOSS` of the policy's accepted keys are lost; and the replays with it.

    The objective hardly changes with it: asking costs little while the cache is warm. It spares requests and rejections.
    """
    found = 0.0, replay(replayer, policy)
    least = (1 - GATE_LOSS) * sum(typed.accepted for typed in found[1])
    for bound in _BOUNDS:
        typed = replay(replayer, replace(policy, gate=gate, bound=bound))
        if sum(each.accepted for each in typed) < least:
            break
        found = bound, typed
    return found


def to_ship(
    replayer: Replayer, trained: Trained, by_preset: dict[str, Found], family: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Content of gate.json, and the calibration's "suggestions" without "always" (see `experiments/sessions.py`)."""
    bounds, presets = dict[str, float](), dict[str, Any]()
    for preset, found in by_preset.items():
        policy = replace(found[family][0], gate=None, bound=0.0)
        bounds[preset], typed = gate_bound(replayer, policy, trained.gate)
        presets[preset] = {**point(policy.stop, typed), **({"refusal": policy.refusal} if policy.refusal else {})}
    usual = replace(by_preset["balanced"][family][0], gate=trained.gate, bound=bounds["balanced"])
    keys = sum(span.keys for span in replayer.records.spans)
    reference = {"files": len(replayer.records.spans), "characters": keys}
    return {**trained.gate, "bounds": bounds}, {
        "reference": reference,
        "curve": curve(replayer, usual),
        "presets": presets,
    }


def records_of(by_preset: dict[str, Found], family: str) -> list[dict[str, Any]]:
    """One row a preset and family for the experiment `stops`: the setting, figures, and the objective above the rule's with its interval."""
    return [
        {
            "preset": preset, "family": name, "setting": policy.setting, "ships": name == family,
            "objective": float(np.mean(list(map(PRESETS[preset].objective, typed)))),
            "gain": list(gain(found, name, RULE, PRESETS[preset])),
            "requests_per_100": 100 * sum(each.requests for each in typed) / sum(each.keys for each in typed), **figures(typed),
        }
        for preset, found in by_preset.items()
        for name, (policy, typed) in found.items()
    ]  # fmt: skip


def asking_always(runtime: Runtime, replayer: Replayer) -> dict[str, float]:
    """The calibration's "always": `exact` without a stop, served by the engine on the same spans."""
    arm = Arm("", "exact", "agent" if runtime.agent is not None else "full")
    served = [serve_span(runtime, span, arm, 0) for span in replayer.records.spans]
    return {name: round(value, 5) for name, value in figures(served).items()}
