"""What service asks the exit network, against the network itself."""

from __future__ import annotations

import pytest
import torch

from green_code.decoding.exit_network import EXIT, ExitNetwork, features, top_probability


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_states_probability_is_that_of_training(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = ExitNetwork(48, (2, 4, 6), (0, 1))
    for debt, confidence in ((0, 0.5), (1, 0.0), (17, 1.0), (40_000, 0.93)):
        for index in range(3):
            state = (torch.randn(48) * 30).to(dtype)
            with torch.no_grad():
                seen = features(state, torch.tensor(debt), torch.tensor(confidence))
                expected = network(seen, torch.tensor(index)).softmax(-1)[EXIT]
            found = network.exit_probability(state, debt, confidence, index)
            assert found == pytest.approx(float(expected), abs=1e-6)


def test_the_probability_follows_weights_that_are_loaded_later() -> None:
    torch.manual_seed(0)
    first, second, state = ExitNetwork(48, (2,), (0,)), ExitNetwork(48, (2,), (0,)), torch.randn(48)
    before = first.exit_probability(state, 3, 0.5, 0)
    first.load_state_dict(second.state_dict())
    assert first.exit_probability(state, 3, 0.5, 0) == second.exit_probability(state, 3, 0.5, 0) != before


def test_top_probability_is_softmaxs() -> None:
    logits = torch.tensor([1.0, 80.0, 79.0, -200.0])
    assert top_probability(logits) == pytest.approx(float(logits.softmax(-1).max()), rel=1e-5)
