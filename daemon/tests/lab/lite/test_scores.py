"""Scores against a computation by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from green_code.models.tiny import TinySource
from green_code.models.torch_decoder import Decoder
from green_code_lab.corpus import Corpus
from green_code_lab.lite import scores
from green_code_lab.lite.scores import score


def test_scores_of_one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "bfloat16_pays", lambda _: False)  # which rounds otherwise than the reference here
    source = TinySource()
    decoder = Decoder.load(source.config, dict(source.tensors(None)))
    ids = np.random.default_rng(0).integers(2, 250, 258).astype(np.uint16)
    found = score(decoder, Corpus({("java", "heldout"): ids}, 1), (3,), 256, bos=1)["java"]

    tokens = torch.tensor([[1, *ids[1:257].astype(int)]])
    x, tops = decoder.embed_tokens(tokens[:, :-1]), {}
    for layer in range(1, 7):
        x = decoder.run_layer(layer, x)
        tops[layer] = decoder.logits(x)[0]
    target = tokens[0, 1:]
    for depth in (3, 6):
        top = tops[depth].argmax(-1)
        assert found["accuracy"][depth] == pytest.approx((top == target).float().mean().item())
        assert found["agreement"][depth] == pytest.approx((top == tops[6].argmax(-1)).float().mean().item())
        loss = torch.nn.functional.cross_entropy(tops[depth], target).item()
        assert found["loss"][depth] == pytest.approx(loss, rel=1e-2)  # bfloat16 products, where a CPU has them
