"""The reader of GGUF files, against the format's own writer and reader, and on damaged files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from green_code.models.gguf_file import GgufFile

gguf: Any = pytest.importorskip("gguf")
WORDS = ["a", "größe", "", "▁the"]
MATRIX = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("gguf") / "model.gguf"
    writer = gguf.GGUFWriter(str(file), "gemma3")
    writer.add_context_length(2048)
    writer.add_array("tokenizer.ggml.tokens", WORDS)
    writer.add_array("tokenizer.ggml.scores", [0.0, -1.5, 2.0, 3.0])
    writer.add_bool("flag", True)
    writer.add_float32("epsilon", 1e-6)
    writer.add_tensor("norm.weight", MATRIX[0])
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("matrix.weight", gguf.quants.quantize(MATRIX, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_it_reads_what_the_formats_own_reader_reads(path: Path) -> None:
    own, reference = GgufFile(path), gguf.GGUFReader(str(path))
    assert own.fields["tokenizer.ggml.tokens"] == WORDS
    for name, field in reference.fields.items():
        if not name.startswith("GGUF."):  # the header
            assert np.array_equal(own.fields[name], field.contents()), name
    assert list(own.tensors) == [tensor.name for tensor in reference.tensors]
    for tensor in reference.tensors:
        found = own.tensors[tensor.name]
        assert found.shape == tuple(reversed(tensor.shape.tolist())) and found.kind == tensor.tensor_type
        stored = own.stored(found, *gguf.GGML_QUANT_SIZES[tensor.tensor_type])
        assert stored.tobytes() == tensor.data.tobytes()


def test_a_damaged_file_is_refused_wherever_it_is_cut(path: Path, tmp_path: Path) -> None:
    whole, damaged = path.read_bytes(), tmp_path / "damaged.gguf"
    begin = whole.index(b"matrix.weight") + 60  # the tensors' data follows
    for length in range(0, begin, 3):
        damaged.write_bytes(whole[:length])
        with pytest.raises(ValueError):
            file = GgufFile(damaged)
            for tensor in file.tensors.values():
                file.stored(tensor, *gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(tensor.kind)])
    damaged.write_bytes(b"GGML" + whole[4:])
    with pytest.raises(ValueError, match="no GGUF"):
        GgufFile(damaged)


def test_a_value_of_an_unknown_type_is_refused(path: Path, tmp_path: Path) -> None:
    whole, damaged = path.read_bytes(), tmp_path / "damaged.gguf"
    at = whole.index(b"flag") + 4
    damaged.write_bytes(whole[:at] + b"\x63" + whole[at + 1 :])
    with pytest.raises(ValueError, match="type 99"):
        GgufFile(damaged)


def test_an_alignment_of_nothing_is_refused(tmp_path: Path) -> None:
    name = b"general.alignment"
    field = struct.pack("<Q", len(name)) + name + struct.pack("<II", 4, 0)
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + field)
    with pytest.raises(ValueError, match="alignment"):
        GgufFile(damaged)
