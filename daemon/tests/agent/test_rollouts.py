"""Recorded rollouts are what a plain forward gives, in a form that loses nothing the agent looks at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from green_code.adaptation.corpus import Corpus
from green_code.agent.rollouts import SEQUENCE, open_rollouts, record
from green_code.decoding.exit_network import features
from green_code.models.decoder import Decoder
from green_code.models.tiny import TinySource
from green_code.problems import Problem

EXITS = (2, 4)
POSITIONS = 2 * SEQUENCE


@pytest.fixture
def corpus() -> Corpus:
    """Two shards of random ids, long enough for two sequences with their context."""
    shards = {
        (language, "train"): np.random.default_rng(seed).integers(2, 256, 4 * SEQUENCE).astype(np.uint16)
        for seed, language in enumerate(("java", "python"))
    }
    return Corpus(shards, document_marker=1)


@pytest.mark.parametrize("scale", [1.0, 1e6])  # Gemma's states leave the range of float16
def test_states_and_tokens_are_those_of_a_plain_forward(corpus: Corpus, tmp_path: Path, scale: float) -> None:
    source = TinySource()
    weights = dict(source.tensors(None))
    weights["embed.weight"] = weights["embed.weight"] * scale
    decoder = Decoder.load(source.config, weights)
    recorded = record(
        decoder, corpus, "train", EXITS, POSITIONS, 0, tmp_path / "rollouts", None, report=lambda _: None
    )
    assert recorded.states.shape == (2 * POSITIONS, len(EXITS), source.config.width)
    assert np.isfinite(recorded.states).all()
    assert recorded.languages.tolist() == [0] * POSITIONS + [1] * POSITIONS

    # The first sequence is somewhere in the Java shard: find it by the tokens that follow, and read it anew.
    shard = corpus.shards["java", "train"].astype(np.int64)
    following = recorded.source_tokens[:SEQUENCE]
    start = next(
        i for i in range(1, len(shard) - SEQUENCE + 1) if (shard[i : i + SEQUENCE] == following).all()
    )
    x = decoder.embed_tokens(torch.from_numpy(shard[start - 1 - SEQUENCE : start - 1 + SEQUENCE])[None])
    for layer in range(1, source.config.layers + 1):
        x = decoder.run_layer(layer, x)
        if layer == EXITS[0]:
            state = x[0, SEQUENCE:]
    debt = torch.zeros(SEQUENCE)
    seen = features(torch.from_numpy(np.asarray(recorded.states[:SEQUENCE, 0], np.float32)), debt)
    torch.testing.assert_close(seen, features(state, debt), atol=0.05, rtol=0.05)  # bfloat16 where it pays
    agreement = (
        decoder.logits(x[0, SEQUENCE:]).argmax(-1).numpy() == recorded.final_tokens[:SEQUENCE]
    ).mean()
    assert agreement > 0.9


def test_a_folder_that_is_incomplete_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="green-code train rollouts"):
        open_rollouts(tmp_path)
