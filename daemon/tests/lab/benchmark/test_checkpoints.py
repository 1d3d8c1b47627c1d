"""The exported weights are the same model: transformers' logits, and what comes back out of a GGUF file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from green_code.decoding.kv_cache import KVCache
from green_code.models.catalog import TINY, find_model
from green_code.models.decoder import Decoder
from green_code.models.families import ModelConfig
from green_code.models.sources import GgufSource
from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Pieces
from green_code.models.weights import adapted_weights
from green_code_lab.benchmark.checkpoints import kept, write_gguf, write_transformers


@pytest.fixture(scope="module")
def weights() -> tuple[ModelConfig, dict[str, torch.Tensor]]:
    config, weights = adapted_weights(find_model(TINY), None)
    generator = torch.Generator().manual_seed(1)
    for weight in weights.values():
        if weight.dim() == 1:  # gains are born as ones: a forgotten offset must show
            weight += torch.randn(weight.shape, generator=generator) * 0.2
    return config, weights


def test_transformers_computes_the_same_logits(
    weights: tuple[ModelConfig, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    config, own = weights
    write_transformers(config, own, tmp_path / "export")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "export", dtype=torch.float32)
    cache = KVCache(Decoder.load(config, own))
    ids = torch.randint(config.vocabulary, (40,), generator=torch.Generator().manual_seed(2))
    cache.append(ids.tolist())
    cache.advance(len(ids) - 1, config.layers)
    with torch.inference_mode():
        ours = cache.decoder.logits(cache.states(0, len(ids)))
        torch.testing.assert_close(ours, model(ids[None]).logits[0])


def test_a_gguf_file_holds_the_weights_to_eight_bits(
    weights: tuple[ModelConfig, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    config, own = weights
    pieces = Pieces(
        [f"token {i}" for i in range(config.vocabulary)],
        [0.0] * config.vocabulary,
        [1] * config.vocabulary,
        1,
        0,
    )
    write_gguf(config, pieces, own, tmp_path / "export.gguf")
    source = GgufSource(tmp_path / "export.gguf")
    back = dict(source.tensors(None))
    assert back.keys() == own.keys()
    for name, weight in own.items():
        step = weight.abs().max() / 127 if weight.dim() > 1 else 0.0
        assert (back[name] - weight).abs().max() <= step
    assert source.pieces() == pieces
    assert (source.config.layers, source.config.width, source.config.vocabulary) == (
        config.layers,
        config.width,
        config.vocabulary,
    )


def test_an_export_is_made_once(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_text("weights")

    first = kept(find_model(TINY), None, "export", make)
    assert kept(find_model(TINY), None, "export", make) == first and len(made) == 1
    assert first.read_text() == "weights"


def test_an_export_that_failed_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        kept(find_model(TINY), None, "broken", fail)
    assert kept(find_model(TINY), None, "broken", lambda path: path.mkdir()).is_dir()


def test_tiny_is_of_the_family_that_is_written() -> None:
    assert TinySource().config.family == "gemma3_text"
