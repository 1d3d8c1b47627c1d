"""GGUF files of each architecture, against transformers' model of the same weights and its own reader of such files."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, PreTrainedModel

from green_code.models.gguf_source import GgufSource
from green_code.models.hugging_face import map_hugging_face
from green_code.models.hugging_face_config import config_from_hugging_face
from green_code.models.torch_decoder import Decoder
from green_code.problems import Problem
from tests.examples import examples
from tests.models.gguf_files import byte_level_fields, write_model
from tests.models.references import FAMILY_MODELS, FIM, byte_level_tokenizer, random_model

_LLAMA3 = {
    "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192, "rope_theta": 500000.0,
}  # fmt: skip
TOKENIZER: Tokenizer = byte_level_tokenizer("qwen").backend_tokenizer
# What a GGUF file of the architecture does not say is as the published models have it.
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"rope_parameters": _LLAMA3, "head_dim": 64},
    "llama-biased": {},
    "llama-linear": {},
    "qwen2": {},
    "qwen2-window": {"use_sliding_window": False},  # untied
    "qwen3": {"head_dim": 128},  # the default, which transformers takes
    "gemma3_text": {"query_pre_attn_scalar": 16},
    "starcoder2": {"sliding_window": None},
}


def model_of(name: str) -> PreTrainedModel:
    kind, options = FAMILY_MODELS[name]
    return random_model(kind, options | {"vocab_size": TOKENIZER.get_vocab_size()} | MODELS[name])


def byte_level() -> dict[str, Any]:
    return byte_level_fields(TOKENIZER, "qwen2", ("<|endoftext|>", *FIM["qwen"]), eos=0)


@pytest.mark.parametrize("name", MODELS)
def test_a_file_gives_what_transformers_has(name: str, tmp_path: Path) -> None:
    """The same configuration and weights as the same model has in the hub's layout, and the same logits as transformers."""
    reference, path = model_of(name), tmp_path / "model.gguf"
    write_model(reference, path, byte_level())
    source = GgufSource(path)
    expected = config_from_hugging_face(reference.config.to_dict())
    assert source.config.norm_eps == pytest.approx(expected.norm_eps)
    assert dataclasses.replace(source.config, norm_eps=expected.norm_eps) == expected
    state = {key: weight.numpy() for key, weight in reference.state_dict().items()}
    weights, from_hub = dict(source.tensors(None)), dict(map_hugging_face(expected, state.get))
    assert list(weights) == list(from_hub)
    for key, weight in weights.items():
        np.testing.assert_allclose(weight, from_hub[key], rtol=1e-6, atol=1e-6, err_msg=key)
    tokens = torch.randint(0, 80, (1, 20), generator=torch.Generator().manual_seed(1))
    decoder = Decoder.load(source.config, weights)
    with torch.no_grad():
        x = decoder.embed_tokens(tokens)
        for layer in range(1, decoder.config.layers + 1):
            x = decoder.run_layer(layer, x)
        torch.testing.assert_close(decoder.logits(x), reference(tokens).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["llama-linear", "qwen2", "qwen3", "gemma3_text", "starcoder2"])
def test_transformers_reads_our_test_files_alike(name: str, tmp_path: Path) -> None:
    """So they are in llama.cpp's layout."""
    reference = model_of(name)
    write_model(reference, tmp_path / "model.gguf", byte_level())
    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32)
    for key, weight in reference.state_dict().items():
        torch.testing.assert_close(read.state_dict()[key], weight, msg=key)


def write(path: Path, options: dict[str, Any] | None = None, **tokenizer: Any) -> Path:
    """A small model, and a byte-level tokenizer with these fields changed (None: without it)."""
    fields = byte_level() | tokenizer
    write_model(model_of("qwen2"), path, {k: v for k, v in fields.items() if v is not None}, options=options)
    return path


def test_a_pruned_vocabulary_has_the_rows_of_its_tokens(tmp_path: Path) -> None:
    source = GgufSource(write(tmp_path / "model.gguf"))
    ids = [0, 7, *range(10, 320)]
    whole, pruned = dict(source.tensors(None)), dict(source.tensors(ids))
    np.testing.assert_array_equal(pruned["embed.weight"], whole["embed.weight"][ids])
    np.testing.assert_array_equal(pruned["norm.weight"], whole["norm.weight"])


KINDS = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS"


@pytest.mark.parametrize("kind", KINDS.split())
def test_blocks_of_rows_are_dequantised_as_the_package_does_the_whole(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("green_code.models.gguf_source._AT_ONCE", 1000)
    as_kind, path = gguf.GGMLQuantizationType[kind], tmp_path / "model.gguf"
    block, block_bytes = gguf.GGML_QUANT_SIZES[as_kind]
    width = max(64, block)
    sizes = {"vocab_size": TOKENIZER.get_vocab_size(), "num_hidden_layers": 1, "hidden_size": width}
    model = random_model("qwen2", FAMILY_MODELS["qwen2"][1] | sizes)
    rows = np.random.default_rng(0).integers(
        0, 99, (TOKENIZER.get_vocab_size(), width // block * block_bytes), np.uint8
    )
    write_model(model, path, byte_level(), embedding=(rows, as_kind))
    (name, embedding), *_ = GgufSource(path).tensors(None)
    assert name == "embed.weight"
    np.testing.assert_array_equal(embedding, gguf.quants.dequantize(rows, as_kind))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"expert_count": (8, gguf.GGUFValueType.UINT32)}, "mixture of experts"),
        ({"rope.scaling.type": ("yarn", gguf.GGUFValueType.STRING)}, "rotary scaling is 'yarn'"),
        ({"block_count": (10**9, gguf.GGUFValueType.UINT32)}, "block_count is 1000000000"),
        ({"block_count": (3, gguf.GGUFValueType.UINT32)}, "blk.3.*not supported"),
        ({"block_count": (5, gguf.GGUFValueType.UINT32)}, "lacks blk.4"),
        ({"attention.head_count": (0, gguf.GGUFValueType.UINT32)}, "head_count is 0"),
        ({"attention.head_count": ("4", gguf.GGUFValueType.STRING)}, "wrong type"),
        ({"attention.head_count_kv": (3, gguf.GGUFValueType.UINT32)}, "kv_heads"),
        ({"attention.value_length": (8, gguf.GGUFValueType.UINT32)}, "another width"),
        ({"attention.key_length": (2**31 - 1, gguf.GGUFValueType.UINT32)}, "another width"),
        ({"feed_forward_length": (64, gguf.GGUFValueType.UINT32)}, "ffn_gate.weight has the shape"),
        ({"attention.layer_norm_rms_epsilon": (float("nan"), gguf.GGUFValueType.FLOAT32)}, "epsilon is nan"),
        ({"rope.dimension_count": (2**30, gguf.GGUFValueType.UINT32)}, "rotary width"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    write(tmp_path / "model.gguf", options)
    with pytest.raises(Problem, match=said):
        GgufSource(tmp_path / "model.gguf")


def test_an_unknown_architecture_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    whole = write(tmp_path / "model.gguf").read_bytes()
    (tmp_path / "model.gguf").write_bytes(whole.replace(b"qwen2", b"mamba"))
    with pytest.raises(Problem, match=r"'mamba'.*these: gemma3, llama, qwen2, qwen3, starcoder2"):
        GgufSource(tmp_path / "model.gguf")


def test_what_a_file_says_is_quoted_in_part(tmp_path: Path) -> None:
    writer: Any = gguf.GGUFWriter(str(tmp_path / "model.gguf"), "q" * 100_000)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(Problem, match="holds 'qqq") as caught:
        GgufSource(tmp_path / "model.gguf")
    assert len(str(caught.value)) < 300


def test_a_quantisation_that_the_package_lacks_is_refused_by_its_name(tmp_path: Path) -> None:
    kind = gguf.GGMLQuantizationType.Q8_1
    rows = np.zeros((TOKENIZER.get_vocab_size(), 80), np.uint8)
    write_model(model_of("qwen2"), tmp_path / "model.gguf", byte_level(), embedding=(rows, kind))
    with pytest.raises(Problem, match="quantised as Q8_1"):
        GgufSource(tmp_path / "model.gguf")


def test_other_rotary_factors_than_llama_3s_are_refused(tmp_path: Path) -> None:
    kind, options = FAMILY_MODELS["llama"]  # scaled from 64 positions
    model = random_model(kind, options | {"vocab_size": TOKENIZER.get_vocab_size()})
    write_model(model, tmp_path / "model.gguf", byte_level())
    with pytest.raises(Problem, match="rope_freqs"):
        GgufSource(tmp_path / "model.gguf")


@examples(100)
@given(st.data())
def test_a_damaged_file_is_a_problem_or_a_model(damaged: bytes, data: st.DataObject) -> None:
    """Whatever is changed in the metadata, no other exception leaves the source, and nothing large is allocated."""
    changed = bytearray(damaged)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(24, 12_000))
        changed[at : at + 4] = data.draw(
            st.one_of(st.binary(min_size=4, max_size=4), st.just(b"\xff" * 4), st.just(bytes(4)))
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.gguf"
        path.write_bytes(changed)
        tracemalloc.start()
        try:
            with contextlib.suppress(Problem):
                source = GgufSource(path)
                source.vocabulary(None)
                for _ in source.tensors(None):
                    pass
            assert tracemalloc.get_traced_memory()[1] < 1 << 23
        finally:
            tracemalloc.stop()


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("gguf") / "model.gguf").read_bytes()
