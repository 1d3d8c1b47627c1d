"""The choice among the stop agent's candidates, on figures made by hand."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from green_code.lsp.gate import read_weights
from green_code.settings import STOPS
from green_code_lab.agent import stop_candidates, stop_ppo
from green_code_lab.agent.stop_candidates import PPO, RULE, SUPERVISED, Found, choose, compare, gain, to_ship, train_all
from green_code_lab.replay.compare import Policy
from green_code_lab.replay.objective import PRESETS
from green_code_lab.replay.typist import Typed
from tests.lab.replay.by_hand import SPAN, synthetic

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
        trained = train_all(learn, 0, lambda line: None)
    by_preset = compare(choice, trained, lambda line: None)
    for preset, prices in PRESETS.items():
        objective = {name: sum(map(prices.objective, typed)) for name, (_, typed) in by_preset[preset].items()}
        assert sum(each.rejected for each in by_preset[preset]["oracle"][1]) == 0
        assert objective[SUPERVISED] >= objective[f"{SUPERVISED}, without refusal"]
    for family in (RULE, SUPERVISED):
        gate, suggestions = to_ship(choice, trained, by_preset, family)
        path = tmp_path / "gate.json"
        path.write_text(json.dumps(gate))
        assert set(read_weights(path).bounds) == set(STOPS) == set(suggestions["presets"])
        json.dumps(suggestions)
        for preset in suggestions["presets"].values():
            assert 0 < preset["stop"] < 1 and 0 <= preset.get("refusal", 0.0) < 1
            assert family != RULE or not preset.get("refusal")
        stops = [point["stop"] for point in suggestions["curve"]]
        assert stops == sorted(stops) and suggestions["reference"]["files"] == 6
