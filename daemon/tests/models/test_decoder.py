"""The lean decoder gives transformers' logits, for each family, in one pass and step by step."""

from __future__ import annotations

import pytest
import torch

from green_code.decoding.staircase import Staircase
from green_code.models.families import config_from_hugging_face
from green_code.problems import Problem
from tests.models.references import ours, small_models

MODELS = small_models()


@pytest.mark.parametrize("family", MODELS)
def test_prefill_equals_transformers(family: str) -> None:
    reference, tokens = (
        MODELS[family],
        torch.randint(0, 80, (2, 33), generator=torch.Generator().manual_seed(1)),
    )
    decoder = ours(reference)
    with torch.no_grad():
        expected = reference(tokens).logits
        x = decoder.embed_tokens(tokens)
        for layer in range(1, decoder.config.layers + 1):
            x = decoder.run_layer(layer, x)
        torch.testing.assert_close(decoder.logits(x), expected)


@pytest.mark.parametrize("family", MODELS)
def test_steps_equal_transformers(family: str) -> None:
    reference = MODELS[family]
    tokens = torch.randint(0, 80, (30,), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = reference(tokens[None]).logits[0]
    decoder = ours(reference)
    stairs = Staircase(decoder)
    for position, token in enumerate(tokens.tolist()):
        stairs.append([token])
        logits = decoder.logits(stairs.advance(position, decoder.config.layers))
        torch.testing.assert_close(logits, expected[position])


def test_unknown_family_names_the_known_ones() -> None:
    config = {**MODELS["llama"].config.to_dict(), "model_type": "mamba"}
    with pytest.raises(Problem, match="gemma3_text, llama, opt"):
        config_from_hugging_face(config)
