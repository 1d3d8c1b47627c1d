"""Lenses against plain forwards, and against a map that is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from green_code.models.tiny import TinySource
from green_code.models.torch_decoder import Decoder
from green_code_lab.corpus import Corpus
from green_code_lab.heads import lenses
from green_code_lab.heads.lenses import record_states, train_lens
from green_code_lab.lite.objective import hidden_at
from green_code_lab.lite.scores import WINDOW

EPS = 1e-6


def unit(x: Tensor) -> Tensor:
    return x / x.pow(2).mean(-1, keepdim=True).add(EPS).sqrt()


def test_states_are_those_of_plain_forwards() -> None:
    source = TinySource()
    decoder = Decoder.load(source.config, dict(source.tensors(None)))
    tokens = np.random.default_rng(0).integers(32, 127, WINDOW).astype(np.uint16)
    corpus = Corpus({("python", "train"): tokens}, document_marker=1)
    found, counts = record_states(decoder, corpus, (4, source.config.layers), WINDOW, 2, lambda _: None)
    ids = torch.from_numpy(tokens.astype(np.int64))[None].clone()
    ids[0, 0] = 2
    with torch.no_grad():
        plain = hidden_at(decoder, ids, (4, source.config.layers))
    for depth, states in found.items():
        wanted = unit(plain[depth][0])[-len(states) :]
        torch.testing.assert_close(states.float(), wanted, rtol=1e-2, atol=1e-2)
    assert counts.tolist() == np.bincount(tokens, minlength=source.config.vocabulary).tolist()


def test_a_lens_inverts_a_known_linear_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit's states are the last layer's, rotated."""
    monkeypatch.setattr(lenses, "_PASSES", 40)
    monkeypatch.setattr(lenses, "_RATE", 5e-3)
    generator = torch.Generator().manual_seed(0)
    width = 32
    noise = torch.randn(width, width, generator=generator)
    rotation = torch.matrix_exp(0.1 * (noise - noise.T))
    last = unit(torch.randn(6_000, width, generator=generator))
    head = torch.randn(200, width, generator=generator)
    states, counts = last @ rotation, torch.arange(200)
    trained, held_out = slice(0, 5_000), slice(5_000, None)

    lens = train_lens(
        states[trained].half(), last[trained].half(), head, counts, EPS, 1, torch.device("cpu"), lambda _: None
    )  # fmt: skip

    def agreement(x: Tensor) -> float:
        return float(((x @ head.T).argmax(-1) == (last[held_out] @ head.T).argmax(-1)).float().mean())

    plain = states[held_out]
    assert agreement(plain) < 0.6
    assert agreement(unit(plain + (plain * lens.gain) @ lens.matrix.T)) > 0.9
