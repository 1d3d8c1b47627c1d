"""Rewards computed by hand, what waits as a real cache has it, and what is drawn as typing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from green_code.decoding.exit_classifier import EXTRA_FEATURES
from green_code.decoding.propagation import EXACT_TAIL, PropagatingKVCache
from green_code_lab.agent.environment import ExitEnvironment
from green_code_lab.agent.episodes import REQUESTS, draw_typing
from green_code_lab.agent.prices import TokenPrices
from tests.lab.agent.replayed import EXITS, LAYERS, same, typing
from tests.models.references import tiny

PRICES = TokenPrices(
    layer_batch=0.1,
    small_batch_position=0.004,
    layer_position=0.01,
    kv_only=0.002,
    head_batch=0.2,
    decision=0.03,
    error=5.0,
)


def test_rewards_by_hand() -> None:
    environment = ExitEnvironment(same([1, 7], 7, 7), PRICES, typing([11, 3], length=3), None)
    reward, _ = environment.step(np.array([0]))  # continue: a head, and 2 layers over 11 positions
    assert reward[0] == pytest.approx(-0.03 - 0.2 - 2 * (0.1 + 0.004 * 4 + 0.01 * 7))
    first_layers = 2 * (0.1 + 0.004 * 4 + 0.01 * 7)
    assert environment.cost[0] == pytest.approx(first_layers - reward[0])  # the layers below the first exit
    reward, _ = environment.step(np.array([1]))  # exit, right
    assert reward[0] == pytest.approx(-0.03 - 0.2)
    reward, _ = environment.step(np.array([1]))  # next token: exit at once, wrong, and the source had the right one
    assert reward[0] == pytest.approx(-0.03 - 0.2 - 2 * 5.0)
    assert environment.waiting[0].tolist() == [1, 12]  # segment 2→4 was paid; both wait below 4→6
    reward, _ = environment.step(np.array([0]))
    assert reward[0] == pytest.approx(-0.03 - 0.2 - 2 * (0.1 + 0.004 * 2))
    reward, ended = environment.step(np.array([0]))  # to full depth: the segment, and the head again
    together = 0.1 + 0.004 * 4 + 0.01 * 9  # layer 5; layer 6 over one, keys and values alone of twelve
    assert reward[0] == pytest.approx(-0.03 - 0.2 - together - (0.1 + 0.004 + 0.002 * 12) - 0.2)
    assert not ended[0]
    assert environment.request[0] == 1
    assert environment.waiting[0].tolist() == [2, 2]  # of the three that arrived, the decision is at the last


def test_prompts_are_propagated_as_in_service() -> None:
    """On layer 3 of 6: all of 40 positions but the last 17 stay there, for keys and values alone in the layers above."""
    environment = ExitEnvironment(same([1, 7], 7, 7), PRICES, typing([40, 3], length=2), 3)
    assert environment.waiting[0].tolist() == [EXACT_TAIL - 1, EXACT_TAIL - 1]
    reward, _ = environment.step(np.array([0]))
    assert reward[0] == pytest.approx(-0.03 - 0.2 - 2 * (0.1 + 0.004 * 4 + 0.01 * (EXACT_TAIL - 4)))
    below = 2 * (0.1 + 0.004 * 4 + 0.01 * (EXACT_TAIL - 4)) + (40 - 17) * (3 * 0.01 + 3 * 0.002)
    assert environment.cost[0] == pytest.approx(below - reward[0])
    environment.step(np.array([1]))
    spent = environment.cost[0]
    environment.step(np.array([1]))  # the next token brings nothing to propagate
    assert environment.cost[0] - spent == pytest.approx(0.03 + 0.2 + 2 * (0.1 + 0.004))
    # Three arrived, and the decision is at one of them.
    assert environment.waiting[0].tolist() == [2, EXACT_TAIL + 2]


def test_without_the_head_it_is_paid_for_once() -> None:
    environment = ExitEnvironment(same([1, 7], 7, 7), PRICES, typing([1], length=3), None, uses_head=False)
    layers = 2 * (0.1 + 0.004)
    assert environment.step(np.array([0]))[0][0] == pytest.approx(-0.03 - layers)
    assert environment.step(np.array([0]))[0][0] == pytest.approx(-0.03 - layers - 0.2)


def test_an_episode_ends_after_its_requests() -> None:
    environment = ExitEnvironment(same([7, 7], 7, 7), PRICES, typing([3], length=2), None)
    ends = [bool(environment.step(np.array([1]))[1][0]) for _ in range(4 * REQUESTS)]
    assert ends == ([False] * (2 * REQUESTS - 1) + [True]) * 2
    assert environment.served[0] == 2 * REQUESTS
    assert environment.waiting[0].tolist() == [2, 2]  # cold again: what waited before is forgotten


@pytest.mark.parametrize("prefill_exit", [None, 1])
@pytest.mark.parametrize("accepted", [True, False])
def test_pending_work_is_that_of_a_real_cache(accepted: bool, prefill_exit: int | None) -> None:
    """Random choices over an episode, beside the same requests on a real cache."""
    arrives, length = [9 if prefill_exit is None else 40, 2, 5, 1], 4
    environment = ExitEnvironment(same([1, 7], 7, 7), PRICES, typing(arrives, accepted, length), prefill_exit)
    cache = PropagatingKVCache(tiny(), prefill_exit)
    generator = np.random.default_rng(3)
    for request in range(REQUESTS):
        prompt = len(cache)
        cache.append([5] * arrives[request % len(arrives)])
        prompt = len(cache)
        cache.propagate_before(prompt - EXACT_TAIL)
        for token in range(length):
            while environment.request[0] == request and environment.token[0] == token:
                depth = EXITS[int(environment.exit[0])]
                cache.advance(len(cache) - 1, depth)
                assert environment.pending()[0] == cache.pending(len(cache) - 1, LAYERS)
                action = int(generator.integers(0, 2))
                if action == 0 and depth == EXITS[-1]:
                    cache.advance(len(cache) - 1, LAYERS, len(cache) - 1)
                environment.step(np.array([action]))
            if token < length - 1:
                cache.append([5])
        if not accepted:
            cache.truncate(prompt)


def test_observation_has_the_state_and_the_pending_work() -> None:
    environment = ExitEnvironment(same([1, 7], 7, 7), PRICES, typing([4], count=3), None)
    seen, index = environment.observe()
    assert seen.shape == (3, 8 + EXTRA_FEATURES)
    assert index.tolist() == [0, 0, 0]
    torch.testing.assert_close(seen[:, :8], torch.ones(3, 8), atol=1e-3, rtol=1e-3)
    assert (seen[:, 8] > 0).all()
    assert (seen[:, 9] < 0).all()  # the head is unsure where the token is wrong, as replayed.py has it


def test_typing_is_mostly_keystrokes_and_begins_cold() -> None:
    data = same([1, 7], 7, 7)
    drawn = draw_typing(data, 200, 3, seed=1)
    assert drawn.first.shape == (200, 3 * REQUESTS)
    assert drawn.cold[:, ::REQUESTS].all()
    assert drawn.cold.mean() < 0.25
    assert np.median(drawn.arrives[~drawn.cold]) <= 4
    assert drawn.arrives.max() <= 512
    assert set(drawn.first.ravel()) <= set(data.starts[:-1])
    assert (drawn.length == 4).all()
    again = draw_typing(data, 200, 3, seed=1)
    assert (again.first == drawn.first).all()
    assert (again.arrives == drawn.arrives).all()


def test_every_chunk_of_a_long_episode_can_be_typed() -> None:
    data = same([1, 7], 7, 7, rows=4 * 2 * 20)  # 20 pairs in one episode
    drawn = draw_typing(data, 400, 2, seed=1)
    assert set(drawn.first.ravel()) == set(data.starts[:-1])
    pairs = drawn.first.reshape(-1, REQUESTS) // 8
    assert (np.diff(pairs, axis=1) == 1).all()  # on and on in the document
