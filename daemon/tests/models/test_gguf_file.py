"""The reader of GGUF files, against the format's own writer and reader, and on damaged files."""

from __future__ import annotations

import contextlib
import struct
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.models.gguf_file import GgufFile
from tests.examples import examples

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
        assert own.stored(found).tobytes() == tensor.data.tobytes()


def read(path: Path) -> GgufFile:
    """The file, with all its tensors read."""
    file = GgufFile(path)
    for tensor in file.tensors.values():
        file.stored(tensor).tobytes()
    return file


def test_a_damaged_file_is_refused_wherever_it_is_cut(path: Path, tmp_path: Path) -> None:
    whole, damaged = path.read_bytes(), tmp_path / "damaged.gguf"
    for length in range(0, len(whole) - 32, 3):  # the last bytes may be padding
        damaged.write_bytes(whole[:length])
        with pytest.raises(ValueError):
            read(damaged)
    damaged.write_bytes(b"GGML" + whole[4:])
    with pytest.raises(ValueError, match="no GGUF"):
        GgufFile(damaged)


@examples(300)
@given(st.data())
def test_no_number_in_a_file_makes_the_reader_fail_or_allocate(path: Path, data: st.DataObject) -> None:
    """Bits are flipped, and absurd numbers written: it is refused, or it is read without leaving the file."""
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(4, 1023 if data.draw(st.booleans()) else len(damaged) - 8))
        if data.draw(st.booleans()):
            damaged[at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            absurd = data.draw(st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1]))
            damaged[at : at + 8] = struct.pack("<Q", absurd)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "damaged.gguf"
        file.write_bytes(damaged)
        tracemalloc.start()
        try:
            with contextlib.suppress(ValueError):
                read(file)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def tensor(name: bytes = b"t", shape: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def field(name: bytes, kind: int, value: bytes) -> bytes:
    return string(name) + struct.pack("<I", kind) + value


NO_FIELD, NO_TENSOR = (), ()


@pytest.mark.parametrize(
    ("fields", "tensors", "said"),
    [
        ([field(b"a", 99, b"")], NO_TENSOR, "type 99"),
        ([field(b"a", 9, struct.pack("<IQ", 9, 1))], NO_TENSOR, "array of arrays"),
        ([field(b"a", 9, struct.pack("<IQ", 5, 2**61))], NO_TENSOR, "too early"),
        ([field(b"a", 9, struct.pack("<IQ", 8, 2**40))], NO_TENSOR, "1099511627776 strings"),
        ([field(b"a", 8, struct.pack("<Q", 2**63))], NO_TENSOR, "too early"),
        ([field(b"a", 8, string(b"\xff"))], NO_TENSOR, "utf-8"),
        ([field(b"a", 0, b"1"), field(b"a", 0, b"2")], NO_TENSOR, "a twice"),
        ([field(b"general.alignment", 4, struct.pack("<I", 0))], NO_TENSOR, "alignment is 0"),
        ([field(b"general.alignment", 4, struct.pack("<I", 24))], NO_TENSOR, "alignment is 24"),
        (NO_FIELD, [tensor(), tensor(offset=128)], "t twice"),
        (NO_FIELD, [tensor(b"a"), tensor(b"b", offset=96)], "b overlaps"),
        (NO_FIELD, [tensor(offset=8)], "where a tensor may begin"),
        (NO_FIELD, [tensor(offset=2**63)], "beyond its end"),
        (NO_FIELD, [tensor(shape=(2**31, 2**31))], "beyond its end"),
        (NO_FIELD, [tensor(shape=(0,))], "shape"),
        (NO_FIELD, [tensor(shape=(48,), kind=2)], "shape"),
        (NO_FIELD, [tensor(kind=77)], "type 77"),
        (NO_FIELD, [tensor(shape=(1,) * 5)], "5 dimensions"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    fields: list[bytes], tensors: list[bytes], said: str, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.gguf"
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields))
    damaged.write_bytes((header + b"".join([*fields, *tensors])).ljust(1024, b"\0"))
    with pytest.raises(ValueError, match=said):
        GgufFile(damaged)


@pytest.mark.parametrize(
    ("tensors", "fields", "said"), [(2**63, 0, "tensors"), (0, 2**63, "fields"), (2**20, 0, "tensors")]
)
def test_counts_are_compared_with_the_files_size(tensors: int, fields: int, said: str, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, fields) + bytes(1024))
    with pytest.raises(ValueError, match=said):
        GgufFile(damaged)
