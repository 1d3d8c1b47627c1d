"""Advantages by hand, a toy task solved, the same seed the same agent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from green_code.problems import Problem
from green_code_lab.agent import supervised
from green_code_lab.agent.baselines import Score, compare
from green_code_lab.agent.baselines import agent as by_agent
from green_code_lab.agent.environment import ExitEnvironment
from green_code_lab.agent.episodes import draw_typing
from green_code_lab.agent.networks import ExitModule, PaperModule
from green_code_lab.agent.ppo import PAPER, Arguments, advantages, train
from green_code_lab.agent.prices import TokenPrices
from tests.lab.agent.replayed import PRICES, toy

ARGUMENTS = replace(Arguments(), environments=16, steps=64, updates=24, learning_rate=3e-3, critic_alone=2)
FIT = replace(supervised.Arguments(), batch=256, steps=150, rounds=2, documents=32)


def test_advantages_by_hand() -> None:
    rewards = torch.tensor([[1.0], [2.0], [3.0]])
    values = torch.tensor([[0.5], [1.0], [1.5]])
    ended = torch.tensor([[0.0], [1.0], [0.0]])
    got = advantages(rewards, values, ended, torch.tensor([4.0]), 0.9, 0.8)
    last = 3.0 + 0.9 * 4.0 - 1.5  # cut off: bootstrapped
    second = 2.0 - 1.0  # terminal: nothing follows
    first = 1.0 + 0.9 * 1.0 - 0.5 + 0.9 * 0.8 * second
    torch.testing.assert_close(got[:, 0], torch.tensor([first, second, last]))


def environment(count: int = 16) -> ExitEnvironment:
    data = toy()
    return ExitEnvironment(data, PRICES, draw_typing(data, count, 8, seed=1), None)


def result_of(network: ExitModule) -> Score:
    data = toy()
    return compare([by_agent("agent", network, 0.5, PRICES)], data, PRICES, draw_typing(data, 64, 2, seed=5), None)[0]


@pytest.mark.slow
@pytest.mark.parametrize("fitted", [False, True])
def test_learns_to_leave_where_the_state_says_so(tmp_path: Path, fitted: bool) -> None:
    begin = supervised.train(toy(), PRICES, None, FIT, report=lambda _: None) if fitted else None
    trained = train(environment(), ARGUMENTS, tmp_path / "log", begin, report=lambda _: None)
    result = result_of(trained.actor)
    assert result.agreement > 0.97
    assert result.depth < 4.2  # the best possible: 0.6 · 2 + 0.4 · 6 = 3.6
    assert len((tmp_path / "log").read_text().splitlines()) == ARGUMENTS.updates + 1


def test_same_seed_same_agent(tmp_path: Path) -> None:
    short = replace(ARGUMENTS, updates=2)
    weights = [train(environment(), short, tmp_path / name, report=lambda _: None).state_dict() for name in ("a", "b")]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    rows = [json.loads(line) for line in (tmp_path / "a").read_text().splitlines()[1:]]
    assert {"return", "kl", "entropy", "value_loss", "exits"} <= rows[0].keys()


# --- supervision ------------------------------------------------------------------------------------------


def test_supervision_finds_the_best_policy_of_the_toy() -> None:
    result = result_of(supervised.train(toy(), PRICES, None, FIT, report=lambda _: None))
    assert result.agreement > 0.98
    assert result.depth == pytest.approx(3.6, abs=0.15)


def test_expected_cost_by_hand() -> None:
    """Exits at 2 and 4 of 6, P(exit) ½ at the first and certain at the second; the first is wrong."""
    prices = TokenPrices(
        layer_batch=0.1,
        small_batch_position=0.01,
        layer_position=0.02,
        kv_only=0.001,
        head_batch=0.2,
        decision=0.03,
        error=3.0,
    )
    logits = torch.tensor([[[0.0, 0.0], [-30.0, 30.0]]])
    arguments = replace(FIT, carried=0.5, temperature=0.0)
    got = supervised.expected_cost(logits, torch.tensor([[1.0, 0.0]]), torch.tensor([[5, 5]]), toy(), prices, arguments)
    decide = 0.03 + 0.2
    # Leaves; a layer, and keys and values in the last, will be paid for, half by itself.
    second = decide + 0.5 * (0.02 + 0.001)
    alone, together = 2 * 0.11, 2 * (0.1 + 0.01 * 4 + 0.02 * 2)
    stay = alone + 0.5 * (together - alone) + second
    leave = 3.0 + 0.5 * (0.02 * 3 + 0.001)
    assert got.item() == pytest.approx(decide + 0.5 * leave + 0.5 * stay, abs=1e-5)


# --- the paper's hyper-parameters -------------------------------------------------------------------------


def test_the_papers_run_has_its_steps_and_its_batches() -> None:
    """500,000 steps in rollouts of 4,096, the last one whole as in Stable-Baselines3, and batches of 512."""
    window = PAPER.environments * PAPER.steps
    assert window * (PAPER.updates - 1) < 500_000 <= window * PAPER.updates
    assert window // PAPER.minibatches == 512


def test_nothing_ends_a_run_without_a_limit(tmp_path: Path) -> None:
    """The same run that the monitor ends: errors cost nothing, so that all leave at the first exit."""
    free = replace(PRICES, error=0.0)
    short = replace(ARGUMENTS, updates=30, learning_rate=0.03, entropy=0.0)
    runs = [replace(short, kl_limit=limit) for limit in (10.0, None)]
    data = toy()
    collapsing, going_on = (ExitEnvironment(data, free, draw_typing(data, 16, 8, seed=1), None) for _ in runs)
    with pytest.raises(Problem, match="collapsed"):
        train(collapsing, runs[0], tmp_path / "ended", report=lambda _: None)
    trained = train(going_on, runs[1], tmp_path / "whole", report=lambda _: None, network=PaperModule)
    assert isinstance(trained.actor, PaperModule)
    assert len((tmp_path / "whole").read_text().splitlines()) == 31
