"""Advantages by hand, a toy task solved, the same seed the same agent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from green_code.agent.environment import ExitEnvironment, Prices
from green_code.agent.ppo import Arguments, advantages, train
from green_code.agent.rivals import agent as by_agent
from green_code.agent.rivals import replay
from green_code.agent.rollouts import SEQUENCE, Rollouts

ARGUMENTS = replace(Arguments(), environments=16, steps=64, updates=25, episode_tokens=8)


def test_advantages_by_hand() -> None:
    rewards = torch.tensor([[1.0], [2.0], [3.0]])
    values = torch.tensor([[0.5], [1.0], [1.5]])
    ended = torch.tensor([[0.0], [1.0], [0.0]])
    got = advantages(rewards, values, ended, torch.tensor([4.0]), 0.9, 0.8)
    last = 3.0 + 0.9 * 4.0 - 1.5  # cut off: bootstrapped
    second = 2.0 - 1.0  # terminal: nothing follows
    first = 1.0 + 0.9 * 1.0 - 0.5 + 0.9 * 0.8 * second
    torch.testing.assert_close(got[:, 0], torch.tensor([first, second, last]))


def toy() -> Rollouts:
    """The state says whether the first exit is right: its first half is +1 or −1."""
    n, generator = SEQUENCE * 8, np.random.default_rng(0)
    easy = generator.random(n) < 0.6
    states = np.where(easy[:, None, None], 1, -1) * np.ones((n, 2, 8)) + generator.normal(0, 0.3, (n, 2, 8))
    states[..., 4:] = 1
    tokens = np.where(easy[:, None], 7, [[1, 2]]).astype(np.int32)
    full = np.full(n, 7, np.int32)
    return Rollouts((2, 4), 6, states.astype(np.float16), tokens, full, full, np.zeros(n, np.int32))


def test_learns_to_leave_where_the_state_says_so(tmp_path: Path) -> None:
    environment = ExitEnvironment(toy(), Prices(0.14, 0.001, 0.001, 0.15, 0.0, 2.0), 16, 8, seed=1)
    trained = train(environment, 8, ARGUMENTS, tmp_path / "log", report=lambda _: None)
    result = replay("agent", environment, by_agent(trained.actor, 0.5), 300)
    assert result.agreement > 0.97
    assert result.depth < 4.2  # the best possible: 0.6 · 2 + 0.4 · 6 = 3.6
    assert len((tmp_path / "log").read_text().splitlines()) == ARGUMENTS.updates + 1


def test_same_seed_same_agent(tmp_path: Path) -> None:
    short = replace(ARGUMENTS, updates=2)
    weights = []
    for name in ("a", "b"):
        environment = ExitEnvironment(toy(), Prices(0.14, 0.001, 0.001, 0.15, 0.0), 16, 8, seed=1)
        weights.append(train(environment, 8, short, tmp_path / name, report=lambda _: None).state_dict())
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    rows = [json.loads(line) for line in (tmp_path / "a").read_text().splitlines()[1:]]
    assert {"return", "kl", "entropy", "value_loss", "exits"} <= rows[0].keys()
