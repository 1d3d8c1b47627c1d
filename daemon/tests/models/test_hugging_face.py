"""Folders of checkpoints: how files store them, and hostile files, which give one sentence and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from green_code.models import hugging_face
from green_code.models.hugging_face import FolderSource
from green_code.models.safetensors_files import INDEX
from green_code.problems import Problem
from tests.examples import examples
from tests.models.references import byte_level_tokenizer, family_model, save_folder

NAME = "qwen2"
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("whole"), NAME, byte_level_tokenizer("qwen"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def read(folder: Path) -> dict[str, np.ndarray]:
    source = FolderSource(folder)
    source.vocabulary(None)
    return dict(source.tensors(None))


def refused(folder: Path, match: str = ".") -> None:
    with pytest.raises(Problem, match=match) as caught:
        read(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600


def edit(path: Path, **changes: Any) -> None:
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, **changes}))


# --- What files may store ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("shards", [{}, {"max_shard_size": "60KB"}])
def test_every_type_is_read_exactly_from_one_file_or_many(
    dtype: torch.dtype, shards: dict[str, str], tmp_path: Path
) -> None:
    weights = family_model(NAME).state_dict()
    stored = {name: weight.to(dtype) for name, weight in weights.items()}
    family_model(NAME).save_pretrained(tmp_path, state_dict=dict(stored), **shards)
    byte_level_tokenizer("qwen").save_pretrained(tmp_path)
    assert (tmp_path / INDEX).exists() == bool(shards)
    made = dict(FolderSource(tmp_path).tensors(None))
    for part, ours in (("q_proj", slice(0, 64)), ("k_proj", slice(64, 96)), ("v_proj", slice(96, 128))):
        expected = stored[f"model.layers.2.self_attn.{part}.weight"].float().numpy()
        np.testing.assert_array_equal(made["layers.2.qkv.weight"][ours], expected)
    assert all(array.dtype == np.float32 and array.flags.owndata for array in made.values())


def test_a_body_without_its_prefix_and_one_that_sees_images_are_read(folder: Path) -> None:
    expected, weights = read(folder), load_file(folder / WEIGHTS)
    for rename in (lambda name: name.removeprefix("model."), lambda name: f"language_model.{name}"):
        save_file({rename(name): weight for name, weight in weights.items()}, folder / WEIGHTS)
        for name, array in read(folder).items():
            np.testing.assert_array_equal(array, expected[name])


def test_the_hubs_cache_is_read_and_other_links_are_refused(whole: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--some--model"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    shared = tmp_path / "hub" / "blobs" / "ab"
    for place in (repository / "blobs", shared):
        place.mkdir(parents=True)
    for i, file in enumerate(sorted(whole.iterdir())):
        blob = (shared if i == 0 else repository / "blobs") / f"blob{i}"
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(blob)
    assert read(snapshot).keys() == read(whole).keys()
    other = tmp_path / "elsewhere.json"
    other.write_text("{}")
    (snapshot / "tokenizer_config.json").unlink()
    (snapshot / "tokenizer_config.json").symlink_to(other)
    refused(snapshot, "tokenizer_config.json in .* is a link out of the folder")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "name", [WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
)
def test_a_pipe_is_refused_and_never_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    refused(folder, f"{name} .*neither a regular file nor a folder")


def test_code_in_a_folder_is_never_run(folder: Path) -> None:
    (folder / "own.py").write_text("raise SystemExit('ran')\nclass Config: ...\nclass Tokenizer: ...\n")
    edit(folder / "config.json", auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Config"})
    assert read(folder)
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]})
    with contextlib.suppress(Problem):
        read(folder)
    assert not any("own" in module.split(".") for module in sys.modules)


# --- Hostile files ----------------------------------------------------------------------------------------


def test_sizes_that_the_tensors_do_not_have_are_refused_before_anything_is_allocated(folder: Path) -> None:
    for size, value in (("intermediate_size", 1 << 20), ("num_hidden_layers", 5), ("vocab_size", 1 << 20)):
        shutil.copy(folder / "config.json", folder / "kept")
        edit(folder / "config.json", **{size: value, "layer_types": None})
        with pytest.raises(Problem, match=r"has the shape|has no weight"):
            FolderSource(folder)
        shutil.move(folder / "kept", folder / "config.json")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model_type": "llama"', "[" * 100_000, "\xff", "null", '"x"'])
def test_a_configuration_that_is_no_object_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, "latin-1")
    refused(folder, "config.json")


def test_a_huge_configuration_is_refused_unread(folder: Path) -> None:
    with (folder / "config.json").open("r+b") as file:
        file.truncate(1 << 33)
    refused(folder, "more than")


# --- Hostile tokenizers and weights -----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"model": {"type": "BPE", "vocab": {"a": 4000000000}, "merges": []}}'])  # fmt: skip
def test_a_damaged_tokenizer_is_refused(folder: Path, text: str) -> None:
    (folder / "tokenizer.json").write_text(text)
    refused(folder)


def test_a_tokenizer_that_makes_its_library_panic_is_refused(folder: Path) -> None:
    """A panic is no `Exception` in Python."""
    edit(folder / "tokenizer.json", normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"})
    refused(folder, "precompiled_charsmap")


def test_a_tokenizer_that_fills_texts_up_is_read_without_it(folder: Path) -> None:
    padding = {
        "strategy": {"Fixed": 10**9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
    }
    edit(folder / "tokenizer.json", padding={**padding, "pad_token": "a"})
    assert read(folder)


def test_a_huge_tokenizer_is_refused_unread(folder: Path) -> None:
    with (folder / "tokenizer.json").open("r+b") as file:
        file.truncate(1 << 33)
    refused(folder, "tokenizer.json")


def test_a_tokenizer_with_a_huge_token_is_refused_before_it_is_written_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokenizers library needs memory for every number up to the last token, when it writes a tokenizer, and ends the process without."""
    file = folder / "tokenizer.json"
    stored = json.loads(file.read_text("utf-8"))
    stored["model"]["vocab"]["a"] = 2**31
    file.write_text(json.dumps(stored), "utf-8")
    monkeypatch.setattr(hugging_face, "Tokenizer", None)
    refused(folder, f"tokenizer.json.*token {2**31}, but the model has")


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(folder: Path) -> None:
    tokenizer = byte_level_tokenizer("qwen")
    tokenizer.add_tokens([f"own{i}" for i in range(100)])
    tokenizer.save_pretrained(folder)
    refused(folder, "tokenizer.json.*400 tokens")


def write_raw(path: Path, header: bytes, data: bytes = b"") -> None:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


@pytest.mark.parametrize(
    "damage",
    ["overlap", "outside", "negative", "shape", "dtype", "long header", "truncated", "no json", "recursive", "empty"],
)
def test_a_header_that_lies_is_refused(folder: Path, damage: str) -> None:
    path = folder / WEIGHTS
    header, data = header_of(path)
    first, second = [name for name in header if name != "__metadata__"][:2]
    if damage == "overlap":
        begin, end = header[first]["data_offsets"]
        header[second] = {**header[second], "shape": header[first]["shape"], "data_offsets": [begin, end]}
    elif damage == "outside":
        header[first]["data_offsets"] = [len(data), len(data) + 4]
    elif damage == "negative":
        header[first]["data_offsets"][0] = -8
    elif damage == "shape":
        header[first]["shape"] = [2**40, 2**40]
    elif damage == "dtype":
        header[first]["dtype"] = "F128"
    raw = json.dumps(header).encode()
    if damage == "long header":
        path.write_bytes(struct.pack("<Q", 2**62) + raw + data)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-64])
    elif damage == "no json":
        write_raw(path, b"\xff" * 64, data)
    elif damage == "recursive":
        write_raw(path, b'{"a":' + b"[" * 100_000, data)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        write_raw(path, raw, data)
    refused(folder, WEIGHTS)


@examples(60)
@given(data=st.data())
def test_a_file_with_bytes_changed_gives_one_sentence_or_the_same_shapes(whole: Path, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:  # fmt: skip
    folder = Path(shutil.copytree(whole, tmp_path_factory.mktemp("changed") / "model"))
    raw = bytearray((folder / WEIGHTS).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, 4_000))] = data.draw(st.integers(0, 255))
    (folder / WEIGHTS).write_bytes(raw[: data.draw(st.sampled_from([len(raw), len(raw), len(raw) - 1, 9, 100]))])
    try:
        made = dict(FolderSource(folder).tensors(None))
    except Problem as problem:
        assert "\n" not in str(problem)
        assert len(str(problem)) < 600
    else:
        assert made["embed.weight"].shape == (400, 64)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weight: None, "has no weight model.layers.1.self_attn.k_proj.weight"),
        (lambda weight: weight[:-1], "shape"),
        (lambda weight: weight.T.contiguous(), "shape"),
        (lambda weight: weight[None], "shape"),
        (lambda weight: weight.reshape(-1), "shape"),
        (lambda weight: weight.to(torch.int8), "stored as I8"),
        (lambda weight: weight.double(), "stored as F64"),
    ],
)
def test_a_weight_of_another_shape_or_type_is_refused(folder: Path, change: Any, message: str) -> None:
    weights = load_file(folder / WEIGHTS)
    name = "model.layers.1.self_attn.k_proj.weight"
    changed = change(weights.pop(name))
    save_file(weights | ({} if changed is None else {name: changed}), folder / WEIGHTS)
    refused(folder, message)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (lambda name: f"../{name}", "no safetensors file of this folder"),
        (lambda name: "/etc/passwd", "no safetensors file"),
        (lambda name: "C:\\x.safetensors", "no safetensors file"),
        (lambda name: "other.safetensors", "lacks other.safetensors"),
        (lambda name: 7, "names no files"),
    ],
)
def test_an_index_that_points_elsewhere_is_refused(folder: Path, names: Any, message: str) -> None:
    stored = load_file(folder / WEIGHTS)
    (folder / INDEX).write_text(json.dumps({"weight_map": {name: names(WEIGHTS) for name in stored}}))
    refused(folder, message)


def test_an_index_that_lies_is_refused(folder: Path) -> None:
    stored = load_file(folder / WEIGHTS)
    save_file({"other": torch.zeros(1)}, folder / "second.safetensors")
    named = dict.fromkeys(stored, WEIGHTS) | {"other": "second.safetensors"}
    (folder / INDEX).write_text(json.dumps({"weight_map": named}))
    assert read(folder)
    (folder / INDEX).write_text(json.dumps({"weight_map": {**named, "model.norm.weight": "second.safetensors"}}))
    refused(folder, "model.norm.weight is not in second.safetensors")
    (folder / INDEX).write_text("[" * 100_000)
    refused(folder, INDEX)


def test_a_folder_without_its_files_is_refused_with_what_it_lacks(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).unlink()
    refused(folder, "has no model.safetensors")
    (folder / "config.json").unlink()
    refused(folder, "lacks config.json")
    refused(tmp_path / "nowhere", "is no folder")
