"""The choice among the stop agent's candidates, on figures made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from green_code_lab.agent.stop_candidates import PPO, RULE, SUPERVISED, Found, choose, gain
from green_code_lab.replay.compare import Policy
from green_code_lab.replay.objective import PRESETS
from green_code_lab.replay.typist import Typed
from tests.lab.replay.by_hand import SPAN

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
