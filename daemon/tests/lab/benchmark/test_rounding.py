"""The share of tokens that rounding leaves as they are, against models whose tokens are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from green_code.models.backend import TopToken
from green_code.models.decoder import Decoder
from green_code_lab.benchmark.rounding import rounding
from tests.models.references import tiny

REFERENCE = tiny()
TEXTS = [[1, *range(40, 40 + 149)], [1, 300, 301]]  # the first is longer than what is looked at together


class OtherAtTheEnd(Decoder):
    """Chooses another token where three states or fewer are looked at."""

    def top_tokens(self, states: Tensor, start: int, stop: int, depth: int) -> list[TopToken]:
        tops: list[Any] = super().top_tokens(states, start, stop, depth)
        return (
            [TopToken(top.token + 1, top.log_odds, top.margin) for top in tops] if stop - start <= 3 else tops
        )


def test_the_same_weights_choose_the_same_tokens_and_others_are_counted() -> None:
    threads = torch.get_num_threads()
    assert rounding(REFERENCE, REFERENCE, TEXTS, 1) == {"positions": 153, "agreement": 1.0}
    other = OtherAtTheEnd(REFERENCE.config)
    other.load_state_dict(REFERENCE.state_dict())
    assert rounding(other, REFERENCE, TEXTS, 1)["agreement"] == pytest.approx(150 / 153)
    assert torch.get_num_threads() == threads
