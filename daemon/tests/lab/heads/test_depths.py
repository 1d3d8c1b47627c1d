"""Which depths are worth an exit, against cases by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from green_code.models.adapters import LinearAdapter
from green_code.models.tiny import TinySource
from green_code_lab.heads.depths import Predictions, candidate_depths, choose_exits, head_layers, predict, saving
from green_code_lab.heads.lenses import lens_of


def predictions(right: int, sure: int, count: int = 100) -> Predictions:
    """Of positions 0 … 99, the first ones right, and the first ones sure; token 1 is right."""
    tokens = np.where(np.arange(count) < right, 1, 2)
    return Predictions(tokens, np.where(np.arange(count) < sure, 0.99, 0.1), np.zeros(count))


def test_candidates_are_every_other_layer_from_a_quarter_on() -> None:
    assert candidate_depths(24) == (6, 8, 10, 12, 14, 16, 18, 20, 22)
    assert candidate_depths(18) == (5, 7, 9, 11, 13, 15, 17)
    assert candidate_depths(2) == (1,)


def test_a_saving_counts_layers_heads_and_wrong_tokens() -> None:
    last = predictions(100, 100)
    assert saving((5,), {5: predictions(100, 50), 10: last}, 0.0) == pytest.approx(0.5 * 0.5)
    # Ten of the fifty that leave are wrong; all read the head once more, but those that leave save the last reading.
    assert saving((5,), {5: predictions(40, 50), 10: last}, 2.0) == pytest.approx(0.5 * 0.5 - 0.1 - 0.2 * 0.5)
    assert saving((), {10: last}, 2.0) == 0.0
    both = {2: predictions(100, 10), 5: predictions(100, 50), 10: last}
    assert saving((2, 5), both, 0.0) == pytest.approx(0.1 * 0.8 + 0.4 * 0.5)


def test_an_exit_must_add_its_worth() -> None:
    last = predictions(100, 100)
    assert choose_exits({2: predictions(100, 10), 5: predictions(100, 50), 10: last}, 0.0) == (2, 5)
    assert choose_exits({2: predictions(100, 10), 5: predictions(100, 50), 10: last}, 0.5) == (5,), (
        "as each reads the head"
    )
    assert choose_exits({2: predictions(1, 50), 5: predictions(0, 50), 10: last}, 0.0) == (2,), "the best of bad ones"


def test_predictions_are_those_of_a_plain_head() -> None:
    generator = torch.Generator().manual_seed(3)
    states, head = torch.randn(600, 16, generator=generator), torch.randn(50, 16, generator=generator)
    matrix, targets = torch.randn(16, 16, generator=generator), torch.arange(600) % 50
    lens = LinearAdapter(matrix.numpy(), np.ones(16, np.float32))
    for lens_or_none, x in ((None, states), (lens, states + states @ matrix.T)):
        normed = x if lens_or_none is None else x / x.pow(2).mean(-1, keepdim=True).sqrt()
        logits = (normed.half().float() if lens_or_none is None else normed) @ head.T
        found = predict(states.half().numpy(), targets.int().numpy(), head, lens_of(lens_or_none, 1e-6))
        assert np.mean(found.tokens == logits.argmax(-1).numpy()) > 0.97
        assert found.losses.mean() == pytest.approx(float(torch.nn.functional.cross_entropy(logits, targets)), rel=0.02)
        assert found.probabilities.mean() == pytest.approx(float(logits.softmax(-1).amax(-1).mean()), rel=0.02)


def test_the_head_is_counted_in_layers() -> None:
    """Of Llama's shape: four attention matrices, three of the MLP, two norms; a preview of rank 128 and 256 whole rows."""
    config = TinySource().config
    width, heads = config.width, (config.heads + 2 * config.kv_heads) * config.head_width
    layer = width * (heads + config.heads * config.head_width + 3 * config.mlp_width)
    assert head_layers(config) == pytest.approx((config.vocabulary * 128 + 256 * width) / layer, rel=0.05)
