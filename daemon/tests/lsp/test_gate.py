"""The gate refuses, explores, unlearns and never falls silent; what it learned survives damage and two windows."""

from __future__ import annotations

import json
import logging
import os
import random
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from green_code.lock import ProcessLock
from green_code.lsp.gate import REFUSALS_IN_A_ROW, Decision, Gate, read_weights
from green_code.lsp.gate_adaptation import OUTCOMES_PER_SAVE, Adaptation
from green_code.lsp.gate_features import NAMES, Place, features
from green_code.settings import Settings, default_settings

MODEL = "gated"
PLACE = Place("python", "def f(self):\n    self.", "\n", 1, 40, 0.2)
ELSEWHERE = Place("java", "int count = ", ";\n}", 30, 40, 5.0)


@dataclass
class World:
    """Folders of a bundle and of a user, and the windows' clock."""

    bundles: Path
    data: Path
    now: float = 0.0

    def write_gate(self, bias: float = -3.0, **changes: Any) -> Path:
        bounds = {"eager": 0.1, "balanced": 0.2, "sure": 0.4}
        gate = {
            "schema": 2,
            "features": NAMES,
            "weights": [0.0] * len(NAMES),
            "bias": bias,
            "bounds": bounds,
            **changes,
        }
        path = self.bundles / MODEL / "gate.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(gate))
        return path

    def window(self, seed: int = 1, **settings: Any) -> Window:
        return Window(self, seed, replace(default_settings(), model=MODEL, **settings))

    @property
    def state(self) -> Path:
        [path] = self.data.glob("gate-*.json")
        return path


class Window:
    """A gate and what it said to the user."""

    def __init__(self, world: World, seed: int, settings: Settings) -> None:
        self.said: list[str] = []
        self.gate = Gate(random.Random(seed), self.said.append, lambda: world.now)
        self.gate.configure(settings)

    def type(self, requests: int, takes: bool, place: Place = PLACE) -> int:
        """A user who takes every suggestion, or none; returns how many requests were asked."""
        asked = 0
        for _ in range(requests):
            decision = self.gate.decide(place)
            if decision.ask:
                asked += 1
                self.gate.asked()
                self.gate.learn(decision.inputs, takes)
        return asked

    def probability(self, place: Place = PLACE) -> float:
        probability = self.gate.decide(place, automatic=False).probability
        assert probability is not None
        return probability


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path / "bundles"))
    monkeypatch.setenv("GREEN_CODE_DATA_DIR", str(tmp_path / "data"))
    return World(tmp_path / "bundles", tmp_path / "data")


def test_the_probability_is_the_regressions_and_the_stop_has_its_bound(world: World) -> None:
    weights = [0.0] * len(NAMES)
    weights[NAMES.index("last_dot")] = 2.0
    world.write_gate(bias=-3.0, weights=weights)
    at_dot = world.window().gate.decide(PLACE)
    assert at_dot.probability == pytest.approx(0.2689414) and at_dot.ask
    assert not world.window(suggestions="sure").gate.decide(PLACE).ask
    elsewhere = world.window().gate.decide(ELSEWHERE)
    assert elsewhere.probability == pytest.approx(0.0474259) and not elsewhere.ask and elsewhere.bound == 0.2


def test_a_request_by_hand_is_always_asked(world: World) -> None:
    world.write_gate(bias=-30.0)
    window = world.window()
    assert all(window.gate.decide(PLACE, automatic=False).ask for _ in range(100))


def test_one_refusal_in_a_hundred_is_asked_and_it_is_random(world: World) -> None:
    world.write_gate(bias=-30.0)
    decisions = list[bool]()
    gate = world.window(seed=3).gate
    for _ in range(20_000):
        decision = gate.decide(PLACE)
        decisions.append(decision.explored)
        gate.asked()  # so that there is no floor
    assert 140 < sum(decisions) < 260
    again = world.window(seed=3).gate
    assert [again.decide(PLACE).explored for _ in range(20)] == decisions[:20], "the seed decides"


def test_there_is_a_floor_which_only_a_request_that_is_sent_resets(world: World) -> None:
    world.write_gate(bias=-30.0)
    gate = world.window().gate
    gate._chance = random.Random()
    gate._chance.random = lambda: 1.0  # type: ignore[method-assign]
    assert [gate.decide(PLACE).ask for _ in range(REFUSALS_IN_A_ROW)] == [False] * REFUSALS_IN_A_ROW
    assert gate.decide(PLACE).explored and gate.decide(PLACE).explored, "typing overtook the first"
    gate.asked()
    assert not gate.decide(PLACE).ask


def test_exploration_unlearns_a_wrong_refusal(world: World) -> None:
    world.write_gate(bias=-3.0)
    window = world.window()
    first, later = window.type(200, takes=True), window.type(200, takes=True)
    assert first < 200 and later == 200


def test_who_takes_nothing_for_a_day_is_still_asked_and_wins_the_gate_back(world: World) -> None:
    world.write_gate(bias=0.0)
    window = world.window()
    window.type(3_000, takes=False)
    assert window.probability() < 0.2
    asked = window.type(1_000, takes=False)
    assert 1_000 / (REFUSALS_IN_A_ROW + 1) <= asked < 200
    window.type(600, takes=True)
    assert window.type(100, takes=True) == 100


def test_who_takes_everything_is_always_asked_and_nothing_overflows(world: World) -> None:
    world.write_gate(bias=0.0)
    window = world.window()
    assert window.type(3_000, takes=True) == 3_000
    assert 0.9 < window.probability() < 1.0


def test_what_is_learned_at_one_place_is_weaker_elsewhere(world: World) -> None:
    world.write_gate(bias=0.0)
    window = world.window()
    window.type(200, takes=False)
    assert window.probability(PLACE) < window.probability(ELSEWHERE)


def test_what_was_learned_fades(world: World) -> None:
    adaptation = Adaptation(2, "x", lambda message: None)
    adaptation.learn([1.0, 0.0], error=1.0)
    first = adaptation.differences[0]
    for _ in range(700):
        adaptation.learn([0.0, 0.0], error=0.0)
    assert adaptation.differences == pytest.approx([first / 2, 0.0], rel=0.01)
    for _ in range(10_000):
        adaptation.learn([3.0, -3.0], error=1.0)
    assert adaptation.differences == [1.0, -1.0], "and is bounded"


def test_without_the_switch_nothing_is_used_and_nothing_learned(world: World) -> None:
    world.write_gate(bias=0.0)
    learned = world.window()
    learned.type(100, takes=False)
    learned.gate.close()
    before = world.state.read_bytes()
    window = world.window(adaptive_gate=False)
    assert window.probability() == pytest.approx(0.5)
    window.type(100, takes=False)
    window.gate.close()
    assert window.probability() == pytest.approx(0.5) and world.state.read_bytes() == before


def test_what_was_learned_is_private_and_there_in_the_next_window(world: World) -> None:
    world.write_gate(bias=0.0)
    window = world.window()
    window.type(OUTCOMES_PER_SAVE - 1, takes=False)
    window.gate.close()
    assert world.window().probability() == pytest.approx(window.probability())
    if sys.platform != "win32":
        assert world.state.stat().st_mode & 0o777 == 0o600
    assert "self" not in world.state.read_text()


def test_other_weights_have_a_state_of_their_own(world: World) -> None:
    world.write_gate(bias=0.0)
    window = world.window()
    window.type(3, takes=False)
    path = world.write_gate(bias=0.5)
    os.utime(path, (1, 1))
    assert window.probability() < 0.5, "the file is looked at once a second"
    world.now += 1.5
    assert window.probability() == pytest.approx(0.6224593)
    window.type(3, takes=False)
    window.gate.close()
    assert len(list(world.data.glob("gate-*.json"))) == 2


def test_two_windows_add_up(world: World) -> None:
    world.write_gate(bias=0.0)
    one, other = world.window(), world.window()
    one.type(4, takes=True, place=PLACE)
    other.type(4, takes=True, place=ELSEWHERE)
    alone = one.probability(PLACE), other.probability(PLACE)
    one.gate.close()
    other.gate.close()
    both = world.window().probability(PLACE)
    assert both > max(alone) and min(alone) > 0.5
    assert both == pytest.approx(other.probability(PLACE)), "who saves later has read the other's steps"


def test_reset_also_forgets_what_is_not_saved_yet(world: World) -> None:
    world.write_gate(bias=0.0)
    window = world.window()
    assert not window.gate.reset(), "there was nothing"
    window.type(1, takes=True)
    assert window.gate.reset() and window.probability() == pytest.approx(0.5)


def test_while_another_window_writes_nothing_is_lost(world: World) -> None:
    world.write_gate(bias=0.0)
    window = world.window()
    window.type(1, takes=True)
    world.data.mkdir()
    lock = ProcessLock(world.data / "gate.lock")
    assert lock.acquire({})
    window.gate.close()
    assert not list(world.data.glob("gate-*.json"))
    lock.release()
    window.gate.close()
    assert world.window().probability() == pytest.approx(window.probability())


def test_reset_forgets_here_and_in_the_other_window(world: World) -> None:
    world.write_gate(bias=0.0)
    one, other = world.window(), world.window()
    for window in (one, other):
        window.type(10 * OUTCOMES_PER_SAVE, takes=True)
    assert one.gate.reset()
    assert one.probability() == pytest.approx(0.5) and world.window().probability() == pytest.approx(0.5)
    other.type(OUTCOMES_PER_SAVE, takes=True)
    assert 0.5 < world.window().probability() < 0.8, "what is learned since then stays"
    assert other.probability() == pytest.approx(world.window().probability())


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"schema": 1, "differences": [NaN]}',
        b'{"schema": 1, "differences": [0.0]}',
        b'{"schema": 2}',
        json.dumps({"schema": 1, "differences": [9e9] * (len(NAMES) + 1)}).encode(),
        json.dumps({"schema": 1, "differences": [float("nan")] * (len(NAMES) + 1)}).encode(),
        b"[" * 100_000,
    ],
)
def test_a_damaged_state_is_reset_and_it_is_said_once(world: World, damage: bytes) -> None:
    world.write_gate(bias=0.0)
    window = world.window()
    window.type(100, takes=False)
    window.gate.close()
    world.state.write_bytes(damage)
    after, later = world.window(), world.window()
    assert after.probability() == later.probability() == pytest.approx(0.5)
    after.type(OUTCOMES_PER_SAVE, takes=False)
    later.type(OUTCOMES_PER_SAVE, takes=False)
    assert len(after.said) == 1 and not later.said and not world.window().said


def test_damage_under_a_running_window_does_not_stop_it(world: World) -> None:
    world.write_gate(bias=0.0)
    window = world.window()
    window.type(OUTCOMES_PER_SAVE, takes=False)
    world.state.write_bytes(b"?")
    window.type(OUTCOMES_PER_SAVE, takes=False)
    assert len(window.said) == 1
    assert json.loads(world.state.read_text())["schema"] == 1


def test_a_folder_that_cannot_be_written_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.write_gate(bias=0.0)
    world.data.write_text("a file where the folder should be")
    window = world.window()
    window.type(10 * OUTCOMES_PER_SAVE, takes=False)
    assert window.probability() < 0.4, "it is still learned for this window"
    assert sum("cannot be saved" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"features": NAMES[::-1]},
        {"weights": [0.0]},
        {"weights": [float("nan")] * len(NAMES)},
        {"weights": [1e300] * len(NAMES)},
        {"weights": ["x"] * len(NAMES)},
        {"weights": None},
        {"bias": float("inf")},
        {"bounds": {"eager": 0.1}},
        {"bounds": {"eager": 0.1, "balanced": float("nan"), "sure": 0.4}},
        {"schema": 1},
    ],
)
def test_a_gate_that_is_no_gate_asks_always(world: World, changes: Any, caplog: pytest.LogCaptureFixture) -> None:
    world.write_gate(**{"bias": -30.0, **changes})
    window = world.window()
    with caplog.at_level(logging.INFO):
        for _ in range(50):
            world.now += 2.0
            decision = window.gate.decide(PLACE)
            assert decision.ask and decision.probability is None
    assert len(caplog.records) == 1


@pytest.mark.parametrize("model", ["no-such-model", "", "..", "/models/gated", "./gated", "\0", "x" * 5000])
def test_a_model_without_a_bundle_and_a_path_have_no_gate(world: World, model: str) -> None:
    world.write_gate(bias=-30.0)
    gate = Gate(random.Random(1))
    gate.configure(replace(default_settings(), model=model))
    assert all(gate.decide(PLACE) == gate.decide(PLACE) and gate.decide(PLACE).ask for _ in range(30))


def test_a_gate_that_comes_goes_and_changes_is_followed(world: World) -> None:
    window = world.window()
    assert window.gate.decide(PLACE) == Decision(True, tuple(features(PLACE)))
    path = world.write_gate(bias=0.0)
    world.now += 1.5
    assert window.probability() == pytest.approx(0.5)
    path.unlink()
    world.now = -100.0  # the clock went back
    assert window.gate.decide(PLACE).probability is None
    world.write_gate(bias=0.0)
    window.gate.configure(replace(default_settings(), model="another"))
    assert window.gate.decide(PLACE).probability is None
    window.gate.configure(replace(default_settings(), model=MODEL))
    assert window.probability() == pytest.approx(0.5)


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[3].glob("agent_models/*/gate.json")), ids=lambda path: path.parent.name
)
def test_the_gates_of_the_repository_are_read(path: Path) -> None:
    assert any(read_weights(path).weights)
