"""PPO for the stop agent on synthetic records."""

from __future__ import annotations

import pytest
import torch

from green_code_lab.agent import stop_candidates, stop_ppo
from green_code_lab.agent.networks import StopModule
from green_code_lab.replay.compare import replay
from green_code_lab.replay.objective import Prices
from tests.lab.replay.by_hand import synthetic

PRICES = Prices(wrong=2.0, energy=0.1)
ARGUMENTS = stop_ppo.Arguments(updates=2, spans=4, batch=64)


def start() -> StopModule:
    """Shows nearly all."""
    torch.manual_seed(5)
    network = StopModule().requires_grad_(False)
    network[2].bias.fill_(1.0)
    return network


def trained(arguments: stop_ppo.Arguments, good: float = 0.5) -> StopModule:
    return stop_ppo.train(synthetic(6, good), start(), PRICES, arguments, report=lambda line: None)


def test_updates_are_finite_change_the_network_and_depend_on_the_seed_alone() -> None:
    first, again, other = (trained(stop_ppo.Arguments(**{**vars(ARGUMENTS), "seed": seed})) for seed in (0, 0, 1))
    for before, one, same in zip(start().parameters(), first.parameters(), again.parameters(), strict=True):
        assert torch.isfinite(one).all() and torch.equal(one, same) and not torch.equal(before, one)
        assert not one.requires_grad
    assert not all(torch.equal(one, its) for one, its in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("good", [pytest.param(0.0, marks=pytest.mark.slow), 0.5])
def test_it_learns_to_show_less_where_most_is_wrong(good: float) -> None:
    arguments = stop_ppo.Arguments(updates=30, spans=12, batch=64, rate=5e-3, entropy=0.0)
    of, objectives, rejected = synthetic(6, good), [], []
    for network in (start(), trained(arguments, good)):
        policy = stop_candidates.agent_policy(of, "agent", network)
        typed = replay(of, type(policy)(**{**vars(policy), "stop": arguments.stop}))
        objectives.append(sum(map(PRICES.objective, typed)))
        rejected.append(sum(each.rejected for each in typed))
    assert objectives[1] > objectives[0] and rejected[1] < 0.7 * rejected[0]
