"""What is trained, what becomes of a run that fails, and the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from green_code.decoding.exit_classifier import EXTRA_FEATURES
from green_code.problems import Problem
from green_code_lab.agent import candidates, ppo, supervised
from green_code_lab.agent.baselines import all_baselines, compare
from green_code_lab.agent.candidates import BOTH, PPO, SUPERVISED, table, train_candidates
from green_code_lab.agent.episodes import draw_typing
from green_code_lab.agent.paper_environment import Rewards
from tests.lab.agent.replayed import PRICES, toy

DECIDING = replace(PRICES, decision=0.001)
FEW = replace(ppo.Arguments(), environments=8, steps=32, updates=3)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps of everything."""
    fit = replace(supervised.Arguments(), steps=20, batch=64, rounds=1, documents=8)
    monkeypatch.setattr(candidates.supervised, "Arguments", lambda: fit)


def test_three_agents_in_a_table_with_the_baselines(tmp_path: Path) -> None:
    found = train_candidates(toy(), DECIDING, None, FEW, tmp_path, "energy", Rewards(), lambda _: None)
    assert list(found) == [SUPERVISED, PPO, BOTH]
    assert found[PPO].arguments["updates"] == 3
    networks = {name: candidate.network for name, candidate in found.items()}
    scores = compare(all_baselines(networks, toy(), DECIDING), toy(), DECIDING, draw_typing(toy(), 16, 1, 0), None)
    lines = list(table(scores, SUPERVISED))
    assert len(lines) == 1 + len(scores)
    assert any(line.startswith("oracle") for line in lines)
    assert any(line.startswith("confidence τ=") for line in lines)


def test_a_run_that_fails_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise Problem("internal_error", "PPO stalled")

    reported: list[str] = []
    monkeypatch.setattr(candidates.ppo, "train", fail)
    found = train_candidates(toy(), DECIDING, None, FEW, tmp_path, "energy", Rewards(), reported.append)
    assert list(found) == [SUPERVISED]
    assert "PPO is left out: PPO stalled" in reported
    with pytest.raises(Problem, match="stalled"):
        train_candidates(toy(), DECIDING, None, FEW, tmp_path, "paper", Rewards(), reported.append)


def test_the_only_input_with_the_papers_reward_is_the_state(tmp_path: Path) -> None:
    found = train_candidates(toy(), DECIDING, None, FEW, tmp_path, "paper", Rewards(), lambda _: None)
    assert list(found) == [PPO]
    assert torch.count_nonzero(found[PPO].network.inner.weight[:, -EXTRA_FEATURES:]) == 0
