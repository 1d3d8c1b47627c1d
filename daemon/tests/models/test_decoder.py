"""The decoder against transformers: the same logits for each family, in one pass and token by token."""

from __future__ import annotations

import pytest
import torch

from green_code.decoding.kv_cache import KVCache
from green_code.models.families import config_from_hugging_face
from green_code.problems import Problem
from tests.models.references import ours, small_models

MODELS = small_models()


@pytest.mark.parametrize("family", MODELS)
def test_prefill_equals_transformers(family: str) -> None:
    reference = MODELS[family]
    tokens = torch.randint(0, 80, (2, 33), generator=torch.Generator().manual_seed(1))
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
    cache = KVCache(decoder)
    for position, token in enumerate(tokens.tolist()):
        cache.append([token])
        cache.advance(position, decoder.config.layers)
        logits = decoder.logits(torch.from_numpy(cache.state(position)))
        torch.testing.assert_close(logits, expected[position])


def test_older_gemma_configurations_give_the_windows_by_their_pattern() -> None:
    config = small_models()["gemma3_text"].config
    by_layer_types = config_from_hugging_face(config.to_dict()).windows
    layers = range(1, config.num_hidden_layers + 1)
    older = {key: value for key, value in config.to_dict().items() if key != "layer_types"}
    by_pattern = config_from_hugging_face({**older, "sliding_window_pattern": 2}).windows
    assert by_pattern == tuple(None if layer % 2 == 0 else config.sliding_window for layer in layers)
    assert set(by_layer_types) == set(by_pattern)


def test_another_activation_of_opt_is_refused() -> None:
    config = {**MODELS["opt"].config.to_dict(), "activation_function": "gelu"}
    with pytest.raises(Problem, match="gelu"):
        config_from_hugging_face(config)


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("llama", {"hidden_act": "relu"}, "relu"),
        ("llama", {"attention_bias": True}, "attention_bias"),
        ("llama", {"mlp_bias": True}, "mlp_bias"),
        ("gemma3_text", {"hidden_activation": "silu"}, "silu"),
    ],
)
def test_parts_that_the_family_does_not_describe_are_refused(
    family: str, change: dict[str, object], message: str
) -> None:
    config = MODELS[family].config.to_dict()
    config_from_hugging_face(config)
    with pytest.raises(Problem, match=message):
        config_from_hugging_face({**config, **change})


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    config = {**MODELS["llama"].config.to_dict(), "model_type": "mamba"}
    with pytest.raises(Problem, match="gemma3_text, llama, opt"):
        config_from_hugging_face(config)
