"""The exit classifier as the decoding loop evaluates it, against the network as training does."""

from __future__ import annotations

import pytest
import torch

from green_code.decoding.exit_classifier import EXIT, ExitClassifier, features
from green_code.models.backend import TopToken, top_tokens_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_exit_probability_of_a_state_is_that_of_training(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    classifier = ExitClassifier(48, (2, 4, 6))
    for pending, top in (
        (0, TopToken(3, 0.0, 1.0)),
        (1, TopToken(3, -20.0, 0.0)),
        (17, TopToken(3, 20.0, 8.0)),
        (40_000, TopToken(3, 2.5, 3.0)),
    ):
        for index in range(3):
            state = (torch.randn(48) * 30).to(dtype)
            with torch.no_grad():
                inputs = features(state, *map(torch.tensor, (pending, top.log_odds, top.margin)))
                expected = classifier(inputs, torch.tensor(index)).softmax(-1)[EXIT]
            got = classifier.exit_probability(state, pending, top, index)
            assert got == pytest.approx(float(expected), abs=1e-6)


def test_the_exit_probability_is_that_of_weights_loaded_later() -> None:
    torch.manual_seed(0)
    first, second, state = ExitClassifier(48, (2,)), ExitClassifier(48, (2,)), torch.randn(48)
    top = TopToken(0, 0.5, 1.0)
    before = first.exit_probability(state, 3, top, 0)
    first.load_state_dict(second.state_dict())
    assert first.exit_probability(state, 3, top, 0) == second.exit_probability(state, 3, top, 0) != before


def test_a_top_tokens_probability_is_that_of_softmax() -> None:
    logits = torch.tensor([[1.0, 80.0, 79.0, -200.0], [5.0, 4.0, 3.5, 4.9]])
    for top, row in zip(top_tokens_of(logits), logits, strict=True):
        assert top.token == int(row.argmax())
        assert top.probability == pytest.approx(float(row.softmax(-1).max()), rel=1e-5)
        assert top.margin == pytest.approx(float(row.max() - row.topk(2).values[1]), rel=1e-5)
