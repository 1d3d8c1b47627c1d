"""All seven rows of the paper's reward, l* between exits and beyond them, and agreement that is lost again."""

from __future__ import annotations

import numpy as np
import pytest

from green_code_lab.agent.paper_environment import PaperEnvironment, Rewards, sums_of_rewards
from tests.lab.agent.replayed import rollouts

REWARDS = Rewards(alpha=2.0, beta=3.0, gamma=4.0, epsilon=0.1)
SCALE = 4.0 * 3  # γ · the last exit, layer 3 from 0


def rewards_of(exit_tokens: list[int], first_right: int, actions: list[int]) -> list[float]:
    """Exits are layers 1 and 3 of 0 … 5; `first_right` counts from 0, too."""
    data = rollouts(
        np.tile(exit_tokens, (16, 1)), np.full(16, 7), np.full(16, 7), first_right=np.full(16, first_right + 1)
    )
    environment = PaperEnvironment(data, REWARDS, 1, seed=0)
    return [float(environment.step(np.array([action]))[0][0]) for action in actions]


@pytest.mark.parametrize(
    ("exit_tokens", "first_right", "actions", "wanted"),
    [
        ([7, 7], 1, [1], [1 / SCALE]),  # exit at e*
        ([7, 7], 0, [1], [1 / SCALE]),  # l* below the first exit: that exit is e*
        ([1, 7], 2, [0, 1], [1 / SCALE, 1 / SCALE]),  # l* between exits
        ([1, 2], 2, [0, 1], [1 / SCALE, 1 / SCALE]),  # e* is rewarded although its token is wrong by then
        ([7, 7], 1, [0, 1], [-4 * (3 - 1) / SCALE, -2 * (3 - 1) / SCALE]),  # needless, then late
        ([1, 2], 5, [1], [-3 * (5 - 1) / SCALE]),  # early and wrong
        ([7, 2], 1, [0, 1], [-4 * (3 - 1) / SCALE, -0.1 / SCALE]),  # agreement lost again
        ([1, 2], 5, [0, 0], [1 / SCALE, 1.0]),  # only the last layer agrees: not divided
        ([1, 2], 4, [0, 0], [1 / SCALE, 1 / SCALE]),  # l* beyond the last exit, but not the last layer
        ([1, 7], 3, [0, 0], [1 / SCALE, -4 * (5 - 3) / SCALE]),  # needless at the last exit
    ],
)
def test_rewards(exit_tokens: list[int], first_right: int, actions: list[int], wanted: list[float]) -> None:
    assert rewards_of(exit_tokens, first_right, actions) == pytest.approx(wanted)


def test_an_episode_is_one_completion_that_the_model_wrote() -> None:
    data = rollouts(np.full((16, 2), 7), np.full(16, 7), np.full(16, 7), chunk=4)
    environment = PaperEnvironment(data, Rewards(), 8, seed=0)
    assert all(data.greedy[row // 4] for row in environment.row)
    ends = [environment.step(np.ones(8, np.int64))[1].all() for _ in range(8)]
    assert ends == [False, False, False, True] * 2


def test_sums_are_those_of_the_steps() -> None:
    """Any number of needless steps, leaving at each exit and never, token by token."""
    generator = np.random.default_rng(0)
    data = rollouts(
        generator.integers(6, 8, (16, 2)), np.full(16, 7), np.full(16, 7), first_right=generator.integers(1, 7, 16)
    )
    sums = sums_of_rewards(data, REWARDS)
    for leave_at in range(3):
        environment = PaperEnvironment(data, REWARDS, 1, seed=0)
        for _ in range(12):
            row, earned = int(environment.row[0]), 0.0
            for exit in range(min(leave_at, 1) + 1):
                earned += float(environment.step(np.array([exit == leave_at]))[0][0])
            assert earned == pytest.approx(sums[row, leave_at])
