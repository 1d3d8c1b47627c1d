"""A top token's probability, of all logits and of some."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from green_code.models.backend import LOGIT_RANGE, MAX_LOG_ODDS, top_token_of
from green_code.models.torch_decoder import top_tokens_of

LOGITS = [[1.0, 80.0, 79.0, -200.0], [5.0, 4.0, 3.5, 4.9]]


def test_a_top_tokens_probability_is_that_of_softmax() -> None:
    logits, tokens = torch.tensor(LOGITS), np.array([7, 3, 5, 9], np.int32)
    for top, row in zip(top_tokens_of(logits), logits, strict=True):
        among = top_token_of(tokens, row.numpy())
        assert (top.token, among.token) == (int(row.argmax()), tokens[int(row.argmax())])
        for each in (top, among):
            assert each.probability == pytest.approx(float(row.softmax(-1).max()), rel=1e-5)
            assert each.margin == pytest.approx(float(row.max() - row.topk(2).values[1]), rel=1e-5)


def test_of_one_token_that_is_sure() -> None:
    top = top_token_of(np.array([4], np.int32), np.array([-3.0], np.float32))
    assert (top.token, top.log_odds, top.margin) == (4, MAX_LOG_ODDS, LOGIT_RANGE)
