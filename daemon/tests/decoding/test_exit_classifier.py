"""What service asks the exit classifier, against the network itself."""

from __future__ import annotations

import pytest
import torch

from green_code.decoding.exit_classifier import EXIT, ExitClassifier, features
from green_code.models.backend import TopToken, top_tokens_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_states_probability_is_that_of_training(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = ExitClassifier(48, (2, 4, 6))
    for pending, top in (
        (0, TopToken(3, 0.0, 1.0)),
        (1, TopToken(3, -20.0, 0.0)),
        (17, TopToken(3, 20.0, 8.0)),
        (40_000, TopToken(3, 2.5, 3.0)),
    ):
        for index in range(3):
            state = (torch.randn(48) * 30).to(dtype)
            with torch.no_grad():
                seen = features(state, *map(torch.tensor, (pending, top.log_odds, top.margin)))
                expected = network(seen, torch.tensor(index)).softmax(-1)[EXIT]
            found = network.exit_probability(state, pending, top, index)
            assert found == pytest.approx(float(expected), abs=1e-6)


def test_the_probability_follows_weights_that_are_loaded_later() -> None:
    torch.manual_seed(0)
    first, second, state = ExitClassifier(48, (2,)), ExitClassifier(48, (2,)), torch.randn(48)
    top = TopToken(0, 0.5, 1.0)
    before = first.exit_probability(state, 3, top, 0)
    first.load_state_dict(second.state_dict())
    assert first.exit_probability(state, 3, top, 0) == second.exit_probability(state, 3, top, 0) != before


def test_a_tops_probability_is_softmaxs_where_few_tokens_matter() -> None:
    logits = torch.tensor([[1.0, 80.0, 79.0, -200.0], [5.0, 4.0, 3.5, 4.9]])
    for top, row in zip(top_tokens_of(logits), logits, strict=True):
        assert top.token == int(row.argmax())
        assert top.probability == pytest.approx(float(row.softmax(-1).max()), rel=1e-5)
        assert top.margin == pytest.approx(float(row.max() - row.topk(2).values[1]), rel=1e-5)
