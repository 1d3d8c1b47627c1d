"""Random weights of a row's shape are a checkpoint that is read as any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from green_code.models.hugging_face import FolderSource
from green_code.models.rows import ROWS, Row, Shape
from green_code.models.shapes import weight_shapes
from green_code_lab.benchmark import shapes


@pytest.mark.parametrize("name", ["llama-3.2-3b", "qwen2.5-coder-3b", "starcoder2-3b", "opt-2.7b", "codegemma-2b"])
def test_random_weights_are_read_as_a_checkpoint(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ROWS[name]
    small = Shape(2, 64, 4, real.shape.kv_heads and 4, 16, 96, 300, tied=real.shape.tied, gated=real.shape.gated)
    monkeypatch.setitem(ROWS, name, Row(name, real.title, real.license, 0, small, real.places))
    monkeypatch.setattr(shapes, "_SHARD_BYTES", 50_000)
    monkeypatch.setattr(shapes, "_BLOCK", 1_000)
    largest = shapes.write_random(name, tmp_path)
    source = FolderSource(tmp_path)
    config = source.config
    assert (config.layers, config.width, config.mlp_width, config.vocabulary) == (2, 64, 96, 300)
    read = dict(source.tensors(None))
    assert {key: array.shape for key, array in read.items()} == weight_shapes(config)
    assert largest >= 4 * 300 * 64 and len(list(tmp_path.glob("*.safetensors"))) > 1
    tokenizer, _, ends = source.vocabulary(None)
    assert tokenizer.get_vocab_size() == 300 and ends == [1]
