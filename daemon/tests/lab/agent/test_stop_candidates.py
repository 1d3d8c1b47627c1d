"""The choice among the stop agent's candidates, on figures made by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from green_code.decoding.value_heads import MOST_CHARACTERS, ValueHeads
from green_code.lsp.gate import read_weights
from green_code.lsp.gate_features import NAMES
from green_code.settings import STOPS
from green_code_lab.agent import stop_candidates, stop_ppo, values
from green_code_lab.agent.stop_candidates import (
    PPO,
    RULE,
    SUPERVISED,
    Found,
    choose,
    compare,
    compare_heads,
    gain,
    to_ship,
    train_all,
    with_heads,
)
from green_code_lab.agent.stops import visits
from green_code_lab.agent.values import never_past
from green_code_lab.replay.compare import Policy, replay
from green_code_lab.replay.objective import PRESETS
from green_code_lab.replay.policies import running_product, shown_by
from green_code_lab.replay.typist import Typed
from tests.decoding.networks import value_heads
from tests.lab.replay.by_hand import SPAN, WIDTH, synthetic

FILES = 20


def found(**accepted: float) -> dict[str, Found]:
    """The same in all presets: accepted keys of each file, with some spread."""
    spread = np.random.default_rng(0).normal(size=FILES)
    names = {"rule": RULE, "supervised": SUPERVISED, "ppo": PPO, "other": "oracle"}

    def typed(mean: float, seed: int) -> list[Typed]:
        own = np.random.default_rng(seed).normal(size=FILES)
        return [Typed(SPAN, 200, accepted=round(100 * mean + 10 * a + 3 * b)) for a, b in zip(spread, own, strict=True)]

    by_family = {
        names[name]: (Policy(names[name], "", np.zeros(0), 0.5), typed(mean, seed))
        for seed, (name, mean) in enumerate(accepted.items())
    }
    return dict.fromkeys(PRESETS, by_family)


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ({"rule": 1.0, "supervised": 1.2, "ppo": 1.1}, SUPERVISED),
        ({"rule": 1.0, "supervised": 1.1, "ppo": 1.2}, PPO),
        ({"rule": 1.0, "supervised": 0.9, "ppo": 0.8}, RULE),
        ({"rule": 1.0, "supervised": 1.0, "ppo": 1.0}, RULE),
        ({"rule": 1.0, "supervised": 1.0, "ppo": 0.9, "other": 3.0}, RULE),
    ],
)
def test_an_agent_is_chosen_only_where_it_beats_the_rule_beyond_noise(accepted: dict[str, float], chosen: str) -> None:
    assert choose(found(**accepted)) == chosen


def test_a_gain_is_that_of_the_same_files() -> None:
    by_family = found(rule=1.0, supervised=1.2)["balanced"]
    mean, low, high = gain(by_family, SUPERVISED, RULE, PRESETS["balanced"])
    assert low < mean < high and mean == pytest.approx(20, abs=3) and high - low < 5
    assert gain(by_family, RULE, RULE, PRESETS["balanced"]) == (0, 0, 0)


def test_what_ships_is_read_by_engine_and_front(tmp_path: Path) -> None:
    """From synthetic records to the bundle's files."""
    learn, choice = synthetic(12, 0.4), synthetic(6, 0.4, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stop_candidates.stop_ppo, "Arguments", partial(stop_ppo.Arguments, updates=2, spans=4))
        patch.setattr(values, "STATE_PENALTIES", (1e-3, 1e6))
        patch.setattr(values, "FOLDS", 2)
        trained = train_all(learn, 0, lambda line: None)
    by_preset = compare(choice, trained, lambda line: None)
    for preset in PRESETS:
        assert sum(each.rejected for each in by_preset[preset]["oracle"][1]) == 0
    for family in (RULE, SUPERVISED):
        ships = compare_heads(choice, trained.heads, by_preset, family, lambda line: None)
        assert set(ships) == set(STOPS) and any(name != family for name in ships.values()), "the state tells all"
        gate, suggestions = to_ship(choice, trained.gate, by_preset, family, ships)
        path = tmp_path / "gate.json"
        path.write_text(json.dumps(gate))
        assert set(read_weights(path).bounds) == set(STOPS) == set(suggestions["presets"])
        json.dumps(suggestions)
        for name, preset in suggestions["presets"].items():
            assert 0 < preset["stop"] < 1 and ("refusal" in preset) == (ships[name] != family)
            if "refusal" in preset:
                assert set(preset["refusal"]) <= {"5", "9"} and 0 < min(preset["refusal"].values()) < 40
                assert 0 < max(preset["never_past"]["cold"].values()) < 1
        stops = [point["stop"] for point in suggestions["curve"]]
        assert stops == sorted(stops) and suggestions["reference"]["files"] == 6


def heads_for(good: float, bad: float) -> ValueHeads:
    """They see in the first number of a state whether a request is good (see `synthetic`), and expect so many characters then."""
    own = value_heads(WIDTH, (5, 9), len(NAMES))
    for depth in own.depths:
        own.parameters[f"{depth}.weight"][:] = 0
        own.parameters[f"{depth}.weight"][0] = (_log_odds(good) - _log_odds(bad)) / 4
        own.parameters[f"{depth}.bias"][:] = (_log_odds(good) + _log_odds(bad)) / 2
    return own


def _log_odds(characters: float) -> float:
    return math.log(characters / (MOST_CHARACTERS - characters))


@pytest.mark.parametrize(("good", "bad", "pays"), [(10.0, 0.1, True), (0.1, 10.0, False)])
def test_value_heads_ship_where_they_save_joules_or_raise_the_objective(good: float, bad: float, pays: bool) -> None:
    of, prices = synthetic(8, 0.5, seed=4), PRESETS["balanced"]
    policy = replace(Policy(RULE, "", running_product(of.records), 0.2))
    visited = visits(of, shown_by(of, policy.estimate, policy.stop), (0,))
    chosen, typed, ships = with_heads(of, heads_for(good, bad), visited, policy, prices)
    assert ships == pays == bool(chosen.refusal)
    without = replay(of, policy)
    if pays:
        assert sum(each.joules for each in typed) < sum(each.joules for each in without)
        shares = never_past(of, chosen, visited)
        assert all(list(own.values()) == sorted(own.values()) for own in shares.values()), (
            "by half, a quarter is counted"
        )
    else:
        assert typed == without
