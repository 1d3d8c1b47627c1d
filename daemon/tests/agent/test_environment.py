"""Returns computed by hand for each trivial policy, and the depth debt as the staircase counts it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from green_code.agent.environment import ExitEnvironment, Prices
from green_code.agent.rivals import Score, fixed, oracle, replay
from green_code.agent.rollouts import SEQUENCE, Rollouts
from green_code.decoding.staircase import Staircase
from green_code.models.decoder import Decoder
from green_code.models.tiny import TinySource

EXITS, LAYERS = (2, 4), 6
PRICES = Prices(run=0.1, few=0.004, evaluation=0.01, head=0.2, decision=0.03, error=5.0)


def rollouts(exit_tokens: list[int], final: int, source: int) -> Rollouts:
    """The same position over and over."""
    n = SEQUENCE * 2
    return Rollouts(
        EXITS,
        LAYERS,
        np.ones((n, 2, 8), np.float16),
        np.tile(np.array(exit_tokens, np.int32), (n, 1)),
        np.full(n, final, np.int32),
        np.full(n, source, np.int32),
        np.zeros(n, np.int32),
    )


def score(data: Rollouts, how: str) -> Score:
    environment = ExitEnvironment(
        data, PRICES, 4, 1, seed=0
    )  # one token an episode: waiting is drawn anew each time
    chooser = {"oracle": oracle, "exit 2": fixed(data, 2), "exit 4": fixed(data, 4), "full": fixed(data, 6)}[
        how
    ]
    return replay(how, environment, chooser, 200)


@pytest.mark.parametrize(
    ("tokens", "final", "source", "how", "depth", "agreement", "accuracy"),
    [
        ([7, 7], 7, 7, "oracle", 2, 1, 1),
        ([1, 7], 7, 3, "oracle", 4, 1, 0),
        ([1, 2], 7, 7, "oracle", 6, 1, 1),  # right beyond the last exit
        ([3, 7], 7, 3, "oracle", 2, 0, 1),  # the source's token is right too
        ([7, 1], 7, 7, "oracle", 2, 1, 1),  # agreement that is lost again
        ([1, 7], 7, 7, "exit 2", 2, 0, 0),
        ([1, 7], 7, 7, "exit 4", 4, 1, 1),
        ([1, 2], 7, 7, "full", 6, 1, 1),
    ],
)
def test_trivial_policies(
    tokens: list[int], final: int, source: int, how: str, depth: float, agreement: float, accuracy: float
) -> None:
    result = score(rollouts(tokens, final, source), how)
    assert (result.depth, result.agreement, result.accuracy) == (depth, agreement, accuracy)


def test_rewards_by_hand() -> None:
    environment = ExitEnvironment(rollouts([1, 7], 7, 7), PRICES, 1, 3, seed=0)
    environment._waiting[:] = 10
    reward, _ = environment.step(np.array([0]))  # continue: 2 layers over 1 + 10 positions
    assert reward[0] == pytest.approx(-0.03 - 2 * (0.1 + 0.004 * 4 + 0.01 * 7))
    reward, _ = environment.step(np.array([1]))  # exit, right
    assert reward[0] == pytest.approx(-0.03 - 0.2)
    reward, _ = environment.step(np.array([1]))  # next token: exit at once, wrong
    assert reward[0] == pytest.approx(-0.03 - 0.2 - 5.0)
    assert environment._waiting[0].tolist() == [1, 12]  # segment 2→4 was paid; both wait below 4→6
    reward, _ = environment.step(np.array([0]))
    assert reward[0] == pytest.approx(-0.03 - 2 * (0.1 + 0.004 * 2))
    reward, ended = environment.step(np.array([0]))  # to full depth: the segment, and the head
    assert reward[0] == pytest.approx(-0.03 - 2 * (0.1 + 0.004 * 4 + 0.01 * 9) - 0.2)
    assert ended[0]


def test_debt_is_what_the_staircase_would_do() -> None:
    environment = ExitEnvironment(rollouts([1, 7], 7, 7), PRICES, 1, 100, seed=0)
    decoder = Decoder.load(TinySource().config, dict(TinySource().tensors(None)))
    stairs = Staircase(decoder)
    stairs.append([5] * 9)
    environment._waiting[:] = 8
    generator = np.random.default_rng(3)
    for _ in range(60):
        depth = EXITS[int(environment.exit[0])]
        stairs.advance(len(stairs) - 1, depth)
        assert environment.debt()[0] == stairs.debt(len(stairs) - 1, LAYERS)
        action = int(generator.integers(0, 2))
        last = environment.exit[0] == 1
        environment.step(np.array([action]))
        if action == 0 and last:
            stairs.advance(len(stairs) - 1, LAYERS)
        if action == 1 or last:
            stairs.append([5])


def test_observation_has_the_state_and_the_debt() -> None:
    environment = ExitEnvironment(rollouts([1, 7], 7, 7), PRICES, 3, 4, seed=0)
    seen, index = environment.observe()
    assert seen.shape == (3, 9)
    assert index.tolist() == [0, 0, 0]
    torch.testing.assert_close(seen[:, :8], torch.ones(3, 8), atol=1e-3, rtol=1e-3)
