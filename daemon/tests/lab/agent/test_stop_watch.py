"""Stops where code is unlike the corpus: what is typed, how it is served, and what is refused."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from green_code.folders import BUNDLES_VARIABLE
from green_code.models.bundle import CALIBRATION, changing, load_bundle, refresh_manifest
from green_code.models.rows import LIGHT
from green_code.problems import Problem
from green_code.settings import STOPS
from green_code_lab.agent import stop_watch
from green_code_lab.agent.stop_watch import ALWAYS, Typings, check, record, type_unlike, unlike_spans
from green_code_lab.cli import train_stops
from green_code_lab.evaluation.watch import texts
from green_code_lab.replay.service import Arm
from green_code_lab.replay.spans import Span
from green_code_lab.replay.typist import Typed

FUNCTIONS = 20


def found(wrong_always: float, wrong_balanced: float) -> Typings:
    """So many wrong suggestions a function, with some spread; accepted is the same."""

    def typed(wrong: float) -> list[Typed]:
        spread = np.random.default_rng(0).integers(-1, 2, FUNCTIONS)
        span = unlike_spans()[0]
        return [
            Typed(span, 100, accepted=40, shown=60, right=20, rejected=round(wrong + each), joules=2.0)
            for each in spread
        ]

    return {ALWAYS: typed(wrong_always), "balanced": typed(wrong_balanced)}


def test_whole_functions_in_every_language_are_typed() -> None:
    spans = unlike_spans()
    assert [(span.language, span.before + span.text) for span in spans] == texts()
    assert all(span.before.count("\n") == 2 and span.keys > 50 and not span.after for span in spans)
    assert len({span.language for span in spans}) >= 8


def test_each_stop_is_served_with_its_gate_and_always_without(monkeypatch: pytest.MonkeyPatch) -> None:
    served = list[Arm]()

    def serve(_: Any, span: Span, arm: Arm, __: int) -> Typed:
        served.append(arm)
        return Typed(span, 100)

    monkeypatch.setattr(stop_watch, "serve_span", serve)
    monkeypatch.setattr(stop_watch, "jobs_for", lambda _: 1)
    runtime = SimpleNamespace(calibration={"suggestions": {"presets": dict.fromkeys(STOPS)}}, agent=object())
    typings = type_unlike(runtime, unlike_spans()[:2], lambda _: None)  # type: ignore[arg-type]
    assert list(typings) == [ALWAYS, *STOPS]
    assert [(arm.name, arm.stop, arm.gated) for arm in served[::2]] == [
        (ALWAYS, 0.0, False), *((stop, stop, True) for stop in STOPS)
    ]  # fmt: skip


def test_a_stop_that_spares_wrong_suggestions_ships_and_its_gain_is_recorded() -> None:
    typings = found(wrong_always=30, wrong_balanced=10)
    check(typings)
    kept = json.loads(json.dumps(record(typings)))
    assert kept["reference"] == {"files": FUNCTIONS, "characters": 100 * FUNCTIONS}
    assert kept["presets"]["balanced"]["gain"][0] == pytest.approx(20, abs=0.01), "a wrong one costs an accepted key"


def test_a_stop_that_loses_beyond_chance_is_refused() -> None:
    with pytest.raises(Problem, match="worth more than the stop balanced,"):
        check(found(wrong_always=10, wrong_balanced=14))
    check(found(wrong_always=10, wrong_balanced=10))


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the light bundle, whose stops lose."""
    folder = tmp_path / LIGHT
    shutil.copytree(Path(__file__).parents[4] / "agent_models" / LIGHT, folder)
    monkeypatch.setenv(BUNDLES_VARIABLE, str(tmp_path))
    monkeypatch.setattr(train_stops, "load_measured", lambda *_, **__: None)
    monkeypatch.setattr(stop_watch, "type_unlike", lambda *_: found(wrong_always=10, wrong_balanced=14))
    return folder


def test_what_a_losing_stop_gave_is_recorded_and_the_command_fails(bundle: Path) -> None:
    with pytest.raises(Problem, match="not to be shipped"):
        train_stops.watch_stops(argparse.Namespace(model=LIGHT, device="cpu"))
    assert load_bundle(bundle).calibration["suggestions"]["unlike"]["presets"]["balanced"]["gain"][2] < 0


def test_what_another_command_changed_meanwhile_is_kept(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def type_unlike(*_: Any) -> Typings:
        with changing(bundle) as new:
            content = json.loads((new / CALIBRATION).read_text("utf-8"))
            (new / CALIBRATION).write_text(json.dumps({**content, "reference": {}}))
            refresh_manifest(new)
        return found(wrong_always=30, wrong_balanced=10)

    monkeypatch.setattr(stop_watch, "type_unlike", type_unlike)
    train_stops.watch_stops(argparse.Namespace(model=LIGHT, device="cpu"))
    calibration = load_bundle(bundle).calibration
    assert calibration["reference"] == {} and calibration["suggestions"]["unlike"]["presets"]["balanced"]["gain"][0] > 0
