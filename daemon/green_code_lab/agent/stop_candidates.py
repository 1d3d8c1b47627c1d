"""The candidates for the stop agent and for refusal, their choice, and what a bundle gets: stop_agent.safetensors,
value_heads.safetensors, gate.json and the calibration's "suggestions". Learned on records of training projects, chosen on those of held-out
projects (`spans.kept_away` apart)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from green_code.decoding.value_heads import ValueHeads
from green_code.engine.loading import Runtime
from green_code_lab.agent import stop_ppo, stops, values
from green_code_lab.agent.baselines import sigmoid
from green_code_lab.agent.networks import StopModule
from green_code_lab.evaluation.metrics import bootstrap_interval
from green_code_lab.evaluation.parallel import jobs_for, processes
from green_code_lab.replay.compare import Policy, Replays, replay, setting, tune
from green_code_lab.replay.environment import Replayer
from green_code_lab.replay.objective import PRESETS, Prices, figures
from green_code_lab.replay.policies import least_probability, mean_probability, running_product, shown_by
from green_code_lab.replay.service import Arm, serve_span
from green_code_lab.replay.spans import Span
from green_code_lab.replay.typist import Typed

RULE, SUPERVISED, PPO = "running product", "agent, supervised", "agent, PPO"
_STOPS = (0.1, 0.2, 0.3, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8)
_REFUSED = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)  # shares of the requests that a value head may refuse
_BOUNDS = (0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12)
_DRAWS = 2000
MOST_LOST = 0.01
"""Share of the accepted keys that the gate, or value heads that only save joules, may cost."""


@dataclass(frozen=True)
class Trained:
    """Networks by family, the value heads, and the content of gate.json without its bounds."""

    networks: dict[str, StopModule]
    heads: ValueHeads
    gate: dict[str, Any]


def train_all(replayer: Replayer, seed: int, report: Callable[[str], None]) -> Trained:
    """The supervised agent, PPO from it, value heads, and the gate."""
    arguments = stops.Arguments(seed=seed)
    shown = shown_by(replayer, running_product(replayer.records), arguments.stop)
    found = stops.visits(replayer, shown, range(arguments.typings))
    report(f"{len(found.rows)} requests of replayed typing, {found.runs.mean():.0%} of which run a layer at once")
    supervised = _stored(stops.train(replayer, arguments))
    report("supervised agent fitted")
    tuned = stop_ppo.train(replayer, supervised, PRESETS["balanced"], stop_ppo.Arguments(seed=seed), report)
    heads = values.train(replayer, found, shown, report)
    gate = stops.train_gate(found, shown.right, arguments.gate_penalty)
    return Trained({SUPERVISED: supervised, PPO: _stored(tuned)}, heads, gate)


def _stored(network: StopModule) -> StopModule:
    """In the precision of a bundle."""
    return copy.deepcopy(network).half().float().requires_grad_(False).eval()


def estimates(replayer: Replayer, network: StopModule) -> np.ndarray:
    """(M,) of a network."""
    with torch.no_grad():
        log_odds = network(torch.from_numpy(stops.token_inputs(replayer)))[:, 0].numpy()
    return np.asarray(sigmoid(log_odds))


def agent_policy(replayer: Replayer, family: str, network: StopModule) -> Policy:
    """Without bounds; see `tune`."""
    return Policy(family, "", estimates(replayer, network), 0.0)


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
        rules += [whole, Policy(f"{family} + gate", "", whole.estimate, 0.0, gate=trained.gate)]
    return [*rules, Policy("oracle", "", truth, 0.0)]


Found = dict[str, tuple[Policy, list[Typed]]]
"""Each family's best setting under some prices, and its replays."""


def compare(replayer: Replayer, trained: Trained, report: Callable[[str], None]) -> dict[str, Found]:
    """Every family under each preset's prices; by preset."""
    found: dict[str, Found] = {preset: {} for preset in PRESETS}
    for policy in families(replayer, trained):
        replays = Replays(replayer)  # presets share most settings
        for preset, prices in PRESETS.items():
            chosen, typed = found[preset][policy.family] = tune(replays, policy, prices, _STOPS, _BOUNDS[1::2])
            objective = sum(map(prices.objective, typed)) / len(typed)
            report(f"{preset:9}{policy.family:34} {chosen.setting:36} {objective:7.2f}  {_brief(typed)}")
    return found


def gain(found: Found, family: str, other: str, prices: Prices) -> tuple[float, float, float]:
    """A family's mean objective above another's, with its 95 % interval over files."""
    return _difference(prices.objective, found[family][1], found[other][1])


def _difference(
    figure: Callable[[Typed], float], typed: list[Typed], others: list[Typed]
) -> tuple[float, float, float]:
    """The mean of a figure above another policy's on the same files, with its 95 % interval over files."""
    differences = [figure(mine) - figure(its) for mine, its in zip(typed, others, strict=True)]
    return float(np.mean(differences)), *bootstrap_interval(differences, 0, _DRAWS)


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


def compare_heads(
    replayer: Replayer, heads: ValueHeads, by_preset: dict[str, Found], family: str, report: Callable[[str], None]
) -> dict[str, str]:
    """Add the chosen family with value heads to each preset's policies; returns the family that ships there."""
    ships = dict[str, str]()
    for preset, found in by_preset.items():
        policy, prices = found[family][0], PRESETS[preset]
        visited = stops.visits(replayer, shown_by(replayer, policy.estimate, policy.stop), (0,))
        chosen, typed, pays = with_heads(replayer, heads, visited, policy, prices)
        found[chosen.family] = chosen, typed
        ships[preset] = chosen.family if pays else family
        objective = sum(map(prices.objective, typed)) / len(typed)
        report(f"{preset:9}{chosen.family:34} {chosen.setting:36} {objective:7.2f}  {_brief(typed)}")
    return ships


def with_heads(
    replayer: Replayer, heads: ValueHeads, visited: stops.Visits, policy: Policy, prices: Prices
) -> tuple[Policy, list[Typed], bool]:
    """A policy with value heads, its replays, and whether they ship.

    They ship with the bounds of the greatest objective, if that is greater than without them beyond noise; else with those that save most
    joules of the bounds that lose at most `MOST_LOST` of the accepted keys, if they save any beyond noise.

    Args:
        visited: requests that give the bounds to try.
    """
    replays, named = Replays(replayer), replace(policy, family=f"{policy.family} + value heads", heads=heads)
    without = replays.of(policy)
    least = (1 - MOST_LOST) * sum(typed.accepted for typed in without)

    def objective(tried: Policy) -> float:
        return sum(map(prices.objective, replays.of(tried)))

    def saving(tried: Policy) -> float:
        typed = replays.of(tried)
        allowed = sum(each.accepted for each in typed) >= least
        return -sum(each.joules for each in typed) if allowed else -math.inf

    def best(figure: Callable[[Policy], float]) -> Policy:
        """One head after the other, the deeper first."""
        found = named
        for depth in reversed(heads.depths):
            bounds = _bounds_to_try(replayer, heads, visited, depth)
            tried = (replace(found, refusal={depth: bound, **found.refusal}) for bound in bounds)
            found = max((found, *tried), key=figure)
        return replace(found, setting=setting(found))

    chosen = best(objective)
    pays = _difference(prices.objective, replays.of(chosen), without)[1] > 0
    if not pays:
        chosen = best(saving)
        pays = _difference(lambda typed: -typed.joules, replays.of(chosen), without)[1] > 0
    return chosen, replays.of(chosen), pays


def _bounds_to_try(replayer: Replayer, heads: ValueHeads, visited: stops.Visits, depth: int) -> list[float]:
    """In characters: those with which the head would refuse `_REFUSED` of the requests for which a layer has to run."""
    found = values.characters(replayer, heads, visited, depth)[visited.runs]
    return [round(float(bound), 3) for bound in np.quantile(found, _REFUSED)]


def _brief(typed: list[Typed]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in figures(typed).items())


def point(stop: float, typed: list[Typed]) -> dict[str, float]:
    """A point of the calibration's curve."""
    return {"stop": stop, **{name: round(value, 5) for name, value in figures(typed).items()}}


def curve(replayer: Replayer, policy: Policy) -> list[dict[str, float]]:
    """Of a policy over stops, at its own refusal and gate."""
    return [point(stop, replay(replayer, replace(policy, stop=stop))) for stop in _STOPS]


def gate_bound(replayer: Replayer, policy: Policy, gate: dict[str, Any]) -> tuple[float, list[Typed]]:
    """The highest bound of the gate at which at most `MOST_LOST` of the policy's accepted keys are lost; and the replays with it.

    The objective hardly changes with it: asking costs little while the cache is warm. It spares requests and rejections.
    """
    found = 0.0, replay(replayer, policy)
    least = (1 - MOST_LOST) * sum(typed.accepted for typed in found[1])
    for bound in _BOUNDS:
        typed = replay(replayer, replace(policy, gate=gate, bound=bound))
        if sum(each.accepted for each in typed) < least:
            break
        found = bound, typed
    return found


def to_ship(
    replayer: Replayer, gate: dict[str, Any], by_preset: dict[str, Found], family: str, ships: dict[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Content of gate.json, and the calibration's "suggestions" without "always" (see `experiments/sessions.py`).

    Args:
        gate: without bounds. family: of the tokens. ships: by preset, with or without value heads.
    """
    bounds, presets = dict[str, float](), dict[str, Any]()
    for preset, found in by_preset.items():
        policy = found[ships[preset]][0]
        bounds[preset], typed = gate_bound(replayer, policy, gate)
        presets[preset] = {**point(policy.stop, typed), **_refusal(replayer, found, family, ships[preset])}
    usual = replace(by_preset["balanced"][ships["balanced"]][0], gate=gate, bound=bounds["balanced"])
    keys = sum(span.keys for span in replayer.records.spans)
    reference = {"files": len(replayer.records.spans), "characters": keys}
    return {**gate, "bounds": bounds}, {"reference": reference, "curve": curve(replayer, usual), "presets": presets}


def _refusal(replayer: Replayer, found: Found, family: str, ships: str) -> dict[str, Any]:
    """What a preset has of its value heads: the bounds by depth, what never goes past a depth, and the share of the accepted keys that is
    lost. Nothing where they do not ship."""
    if ships == family:
        return {}
    (policy, typed), (without, others) = found[ships], found[family]
    visited = stops.visits(replayer, shown_by(replayer, without.estimate, without.stop), (0,))
    kept = sum(each.accepted for each in typed) / max(1, sum(each.accepted for each in others))
    bounds = {str(depth): bound for depth, bound in sorted(policy.refusal.items())}
    return {"refusal": bounds, "never_past": values.never_past(replayer, policy, visited), "lost": round(1 - kept, 4)}


def records_of(by_preset: dict[str, Found], ships: dict[str, str]) -> list[dict[str, Any]]:
    """One row a preset and family for the experiment `stops`: the setting, figures, and the objective above the rule's with its interval."""
    return [
        {
            "preset": preset, "family": name, "setting": policy.setting, "ships": name == ships[preset],
            "objective": float(np.mean(list(map(PRESETS[preset].objective, typed)))),
            "gain": list(gain(found, name, RULE, PRESETS[preset])),
            "requests_per_100": 100 * sum(each.requests for each in typed) / sum(each.keys for each in typed), **figures(typed),
        }
        for preset, found in by_preset.items()
        for name, (policy, typed) in found.items()
    ]  # fmt: skip


def asking_always(runtime: Runtime, replayer: Replayer) -> dict[str, float]:
    """The calibration's "always": `exact` without a stop, served by the engine on the same spans, a process a core."""
    spans = replayer.records.spans
    with processes(runtime, min(jobs_for(runtime), len(spans)), _always) as serve:
        return {name: round(value, 5) for name, value in figures(list(serve(spans))).items()}


def _always(runtime: Runtime, span: Span) -> Typed:
    return serve_span(runtime, span, Arm("", "exact", "agent" if runtime.agent is not None else "full"), 0)
