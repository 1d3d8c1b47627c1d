"""Folders of checkpoints: how files store them, what is refused, and hostile files, which give one sentence and nothing else."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from green_code.models.families import ModelConfig, Rope
from green_code.models.hugging_face import FolderSource
from green_code.models.hugging_face_config import config_from_hugging_face
from green_code.models.safetensors_files import INDEX
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem
from tests.models.references import FAMILY_MODELS, byte_level_tokenizer, family_model, save_folder

NAME = "qwen2"
WEIGHTS = "model.safetensors"
Change = dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("whole"), NAME, byte_level_tokenizer("qwen"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def configured(name: str) -> dict[str, Any]:
    return dict(family_model(name).config.to_dict())


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


def test_a_tokenizer_of_two_files_is_read_as_opt_has_it(tmp_path: Path) -> None:
    """vocab.json and merges.txt, without tokenizer.json; its start token is said in tokenizer_config.json alone."""
    whole = save_folder(tmp_path, "opt", byte_level_tokenizer("qwen"))
    model = json.loads((whole / "tokenizer.json").read_text())["model"]
    (whole / "tokenizer.json").unlink()
    start = len(model["vocab"])
    (whole / "vocab.json").write_text(json.dumps({**model["vocab"], "</s>": start}))
    (whole / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, model["merges"])]))
    names = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "add_bos_token": True}
    (whole / "tokenizer_config.json").write_text(json.dumps({**names, "tokenizer_class": "GPT2Tokenizer"}))
    edit(whole / "config.json", eos_token_id=start)
    vocabulary = Vocabulary(*FolderSource(whole).vocabulary(None))
    assert vocabulary.bos == start
    assert start in vocabulary.eos
    assert vocabulary.encode("def add") == byte_level_tokenizer("qwen")("def add").input_ids


def test_code_in_a_folder_is_never_run(folder: Path) -> None:
    (folder / "own.py").write_text("raise SystemExit('ran')\nclass Config: ...\nclass Tokenizer: ...\n")
    edit(folder / "config.json", auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Config"})
    assert read(folder)
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]})
    with contextlib.suppress(Problem):
        read(folder)
    assert not any("own" in module.split(".") for module in sys.modules)


# --- What is refused by name ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("llama", {"hidden_act": "quick_gelu"}, "quick_gelu"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}, "rope_type = 'yarn'"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}}, "'dynamic'"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ("llama", {"rope_parameters": None, "partial_rotary_factor": 0.25}, "partial_rotary_factor = 0.25"),
        ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gemma3_text", {"layer_types": ["chunked_attention"] * 7}, "chunked_attention"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt_bigcode", {"multi_query": False}, "multi_query = False"),
        ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before"),
        ("opt", {"word_embed_proj_dim": 32}, "word_embed_proj_dim = 32"),
        ("opt", {"layer_norm_elementwise_affine": False}, "layer_norm_elementwise_affine"),
        ("phi3", {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}}, "longrope"),
        ("phi3", {"head_dim": None, "partial_rotary_factor": 0.75, "rope_parameters": None, "rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}, "rope_type = 'longrope'"),
        ("llama", {"model_type": "mamba"}, "'mamba'.*smollm3"),
        ("llama", {"model_type": ["llama"]}, "llama"),
    ],
)  # fmt: skip
def test_an_option_that_no_decoder_has_is_refused_by_its_name(name: str, change: Change, message: str) -> None:
    with pytest.raises(Problem, match=message):
        config_from_hugging_face({**configured(name), **change})


PUBLISHED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (  # Qwen2.5-Coder-0.5B: its window is switched off
        {"model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 24,
         "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
         "sliding_window": 32768, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_sliding_window": False, "vocab_size": 151936},
        {"head_width": 64, "qkv_bias": True, "attention_out_bias": False, "windows": (None,) * 24, "ropes": (Rope(1e6),) * 24},
    ),
    (  # DeepSeek-Coder-1.3B: the scaling's older name
        {"model_type": "llama", "hidden_size": 2048, "intermediate_size": 5504, "max_position_embeddings": 16384, "num_attention_heads": 16,
         "num_hidden_layers": 24, "num_key_value_heads": 16, "rms_norm_eps": 1e-06, "rope_scaling": {"factor": 4.0, "type": "linear"},
         "rope_theta": 100000, "tie_word_embeddings": False, "vocab_size": 32256},
        {"ropes": (Rope(1e5, "linear", 4.0),) * 24, "tied_head": False},
    ),
    (  # StarCoderBase-1B: the exact GELU
        {"model_type": "gpt_bigcode", "activation_function": "gelu", "multi_query": True, "layer_norm_epsilon": 1e-05, "n_embd": 2048,
         "n_head": 16, "n_inner": 8192, "n_layer": 24, "n_positions": 8192, "scale_attn_weights": True, "vocab_size": 49152},
        {"kv_heads": 1, "head_width": 128, "mlp_width": 8192, "activation": "gelu", "mlp_bias": True, "ropes": (None,) * 24},
    ),
    (  # Phi-3-mini-4k: names code of its own, which is not needed
        {"model_type": "phi3", "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}, "hidden_size": 3072, "intermediate_size": 8192,
         "max_position_embeddings": 4096, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
         "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0,
         "sliding_window": 2047, "tie_word_embeddings": False, "vocab_size": 32064},
        {"head_width": 96, "windows": (2047,) * 32, "rotary_width": None, "qkv_bias": False},
    ),
    (  # Code Gemma 2B: "gelu" means the approximation there
        {"model_type": "gemma", "head_dim": 256, "hidden_act": "gelu", "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 2048,
         "intermediate_size": 16384, "max_position_embeddings": 8192, "num_attention_heads": 8, "num_hidden_layers": 18,
         "num_key_value_heads": 1, "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "vocab_size": 256000},
        {"activation": "gelu_tanh", "embedding_scale": 2048**0.5, "tied_head": True},
    ),
    (  # SmolLM3-3B: every fourth layer has no positions
        {"model_type": "smollm3", "hidden_size": 2048, "intermediate_size": 11008, "layer_types": ["full_attention"] * 36,
         "max_position_embeddings": 65536, "no_rope_layer_interval": 4, "no_rope_layers": [1, 1, 1, 0] * 9, "num_attention_heads": 16,
         "num_hidden_layers": 36, "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_theta": 5000000.0, "sliding_window": None,
         "use_sliding_window": False, "vocab_size": 128256},
        {"ropes": (Rope(5e6), Rope(5e6), Rope(5e6), None) * 9, "windows": (None,) * 36},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("stored", "expected"), PUBLISHED)
def test_configurations_as_they_are_published(stored: dict[str, Any], expected: dict[str, Any]) -> None:
    made = config_from_hugging_face(stored)
    assert {name: getattr(made, name) for name in expected} == expected


def test_older_spellings_give_the_same() -> None:
    """Files before transformers 5: `rope_theta` and `rope_scaling`, Gemma 3's pattern instead of a list."""
    llama = configured("llama")
    rope = llama.pop("rope_parameters")
    scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
    older = {**llama, "rope_theta": rope["rope_theta"], "rope_scaling": scaling}
    assert config_from_hugging_face(older) == config_from_hugging_face(configured("llama"))
    gemma = configured("gemma3_text")
    expected = config_from_hugging_face(gemma)
    older = {k: v for k, v in gemma.items() if k not in ("layer_types", "rope_parameters")}
    older |= {"sliding_window_pattern": 6, "rope_theta": 1e6, "rope_local_base_freq": 1e4}
    assert config_from_hugging_face(older) == expected
    assert (
        config_from_hugging_face({"model_type": "gemma3", "text_config": {**gemma, "model_type": "gemma3_text"}})
        == expected
    )


# --- Hostile configurations -------------------------------------------------------------------------------

SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size", "vocab_size", "max_position_embeddings")  # fmt: skip
absurd = st.one_of(
    st.sampled_from(
        [0, -1, 10**9, 2**31, 2**63, 10**30, math.nan, math.inf, 1.5, "64", [], {}, [64], True, "x" * 10_000]
    ),
    st.integers(max_value=0),
    st.floats(allow_nan=True),
    st.text(max_size=5),
    st.recursive(st.none() | st.booleans(), lambda inner: st.lists(inner, max_size=2), max_leaves=4),
)


@pytest.mark.parametrize("name", FAMILY_MODELS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_an_absurd_value_gives_one_sentence_or_a_valid_configuration(name: str, data: st.DataObject) -> None:
    config = configured(name)
    keys = data.draw(st.lists(st.sampled_from(sorted(config)), min_size=1, max_size=2, unique=True))
    for key in keys:
        config[key] = data.draw(absurd)
    try:
        made = config_from_hugging_face(config)
    except Problem as problem:
        assert "\n" not in str(problem)
        assert len(str(problem)) < 600
    else:
        assert ModelConfig.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("value", [0, -64, 10**9, math.nan, "64", None, [64]])
def test_an_absurd_size_is_refused(size: str, value: Any) -> None:
    config = {**configured("llama"), size: value}
    optional = value is None and size in ("num_key_value_heads", "head_dim")
    if not optional:
        with pytest.raises(Problem):
            config_from_hugging_face(config)


@pytest.mark.parametrize(
    "change",
    [
        {"num_key_value_heads": 3},
        {"head_dim": 15},
        {"vocab_size": 4_000_000, "hidden_size": 65_536},
        {"rms_norm_eps": 0.0},
        {"rms_norm_eps": -1e-6},
        {"rope_parameters": {"rope_type": "default", "rope_theta": math.nan}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 0.0}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": "4"}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": math.inf}},
        {"num_labels": 10**9, "num_hidden_layers": 10**9},
    ],
)
def test_sizes_that_do_not_go_together_are_refused(change: Change) -> None:
    with pytest.raises(Problem):
        config_from_hugging_face({**configured("llama"), **change})


def test_what_is_not_read_cannot_take_memory() -> None:
    """transformers would make a dictionary with an entry for each label."""
    assert config_from_hugging_face({**configured("llama"), "num_labels": 10**9})


def test_sizes_that_the_tensors_do_not_have_are_refused_before_anything_is_allocated(folder: Path) -> None:
    for size, value in (("intermediate_size", 1 << 20), ("num_hidden_layers", 5), ("vocab_size", 1 << 20)):
        shutil.copy(folder / "config.json", folder / "kept")
        edit(folder / "config.json", **{size: value, "layer_types": None})
        with pytest.raises(Problem, match=r"has the shape|has no weight"):
            FolderSource(folder)
        shutil.move(folder / "kept", folder / "config.json")


def test_a_window_must_be_positive() -> None:
    for window in (-6, "6", 2.5):
        with pytest.raises(Problem):
            config_from_hugging_face({**configured("mistral"), "sliding_window": window})


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


def test_a_huge_tokenizer_is_refused_unread(folder: Path) -> None:
    with (folder / "tokenizer.json").open("r+b") as file:
        file.truncate(1 << 33)
    refused(folder, "tokenizer.json")


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


@settings(max_examples=60, deadline=None)
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
