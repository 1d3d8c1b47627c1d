"""The second moment behind an SVD head, against plain forward passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from green_code.models.adapters import LinearAdapter
from green_code.models.tiny import TinySource
from green_code.models.torch_decoder import Decoder
from green_code_lab.heads import svd_head as module
from green_code_lab.heads.svd_head import choose_directions, depths_that_count, lost_share, second_moment
from green_code_lab.lite.objective import hidden_at
from green_code_lab.lite.scores import WINDOW


def test_exits_of_the_upper_third_count_and_the_last_layer() -> None:
    assert depths_that_count((5, 7, 11, 13, 15), 18) == (13, 15, 18)
    assert depths_that_count((7, 12), 18) == (12, 18), "the deepest always does"


def test_the_moment_is_that_of_plain_forwards() -> None:
    source = TinySource()
    decoder = Decoder.load(source.config, dict(source.tensors(None)))
    width = source.config.width
    noise = torch.randn(width, width, generator=torch.Generator().manual_seed(1)) / width**0.5
    lenses = {4: LinearAdapter(noise.numpy(), np.ones(width, np.float32))}
    decoder.set_lenses(lenses)
    tokens = np.random.default_rng(0).integers(32, 127, WINDOW).astype(np.uint16)
    depths = (4, source.config.layers)
    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    with torch.no_grad():
        states = hidden_at(decoder, ids, depths)
        normed = torch.cat([decoder.norm(decoder.apply_lens(states[depth], depth))[0] for depth in depths]).double()
    recorded = {depth: (x / x.pow(2).mean(-1, keepdim=True).sqrt())[0].half().numpy() for depth, x in states.items()}
    gain = torch.from_numpy(dict(source.tensors(None))["norm.weight"])
    found = second_moment(recorded, lenses, gain, source.config.norm_eps)
    torch.testing.assert_close(found, normed.T @ normed / WINDOW, rtol=1e-2, atol=1e-2)


def test_the_rank_is_the_least_that_keeps_the_top_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """States vary in nine directions of sixteen, so a preview of rank 12 is exact and one of rank 4 is not."""
    monkeypatch.setattr(module, "RANKS", (4, 12, 16))
    monkeypatch.setattr(module, "CANDIDATES", 2)
    generator = np.random.default_rng(0)
    head = generator.standard_normal((300, 16)).astype(np.float32)
    states = (generator.standard_normal((400, 9)) @ generator.standard_normal((9, 16))).astype(np.float32)
    moment = states.T @ states / len(states)
    lines: list[str] = []
    directions = choose_directions(head, moment, states, lines.append)
    assert directions.shape == (12, 16) and len(lines) == 2
    assert lost_share(head, directions, states) == 0 < lost_share(head, directions[:4], states)
