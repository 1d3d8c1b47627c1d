"""The experiment as a command, over rollouts made by hand: every reward is trained on, and failures are reported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from green_code.models.bundle import load_bundle
from green_code.models.catalog import TINY
from green_code_lab.agent.rollouts import write_rollouts
from green_code_lab.cli.experiments import main
from green_code_lab.experiments import rewards_page
from tests.lab.agent.replayed import toy


@pytest.fixture(scope="module")
def found(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("rewards")
    data = replace(toy(), weights=load_bundle(tiny_bundle).weights_key)
    for part in ("train", "heldout"):
        write_rollouts(folder / "rollouts" / part, data)
    words = ["rewards", "--model", TINY, "--updates", "8", "--work", str(folder), "--out", str(folder)]
    assert main(words) == 0
    assert "<svg" in (folder / "rewards.svg").read_text()
    assert "β = 0" in (folder / "rewards.md").read_text()
    return dict(json.loads((folder / "rewards.json").read_text()))


def test_every_constant_is_changed_and_rules_stand_beside(found: dict[str, Any]) -> None:
    settings = [(arm["reward"], arm["setting"]) for arm in found["arms"]]
    assert len(settings) == len(set(settings)) == 7 + 4 + 4 + 4
    by_setting = {arm["setting"]: arm for arm in found["arms"]}
    assert by_setting["full"]["agreement"] == 1
    assert by_setting["full"]["saving"] == pytest.approx(0)
    assert by_setting["fixed 2"]["depth"] == 2


def test_without_a_price_on_errors_training_collapses_and_that_is_said(found: dict[str, Any]) -> None:
    arm = next(a for a in found["arms"] if (a["reward"], a["setting"]) == ("joules, PPO", "error 0"))
    assert "collapsed" in arm.get("failed", "") or arm["depth"] < 2.5
    assert ("training ended" in rewards_page._says(arm, 2)) == ("failed" in arm)


def test_without_rollouts_the_command_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rewards", "--model", TINY, "--work", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "green-code train rollouts" in capsys.readouterr().err
