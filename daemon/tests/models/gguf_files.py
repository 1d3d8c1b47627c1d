"""Small GGUF files in llama.cpp's layout: transformers' models under the names of the format's own map, and tokenizers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedModel

ARCHITECTURES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma3_text": "gemma3",
    "starcoder2": "starcoder2",
}
"""Families → what llama.cpp calls them."""


def write_model(
    model: PreTrainedModel,
    path: Path,
    tokenizer: dict[str, Any],
    options: dict[str, Any] | None = None,
    embedding: tuple[np.ndarray, gguf.GGMLQuantizationType] | None = None,
) -> None:
    """As llama.cpp's conversion does (conversion/llama.py, gemma.py, starcoder.py, base.py).

    Args:
        tokenizer: of `byte_level_fields`, for one. options: other metadata, behind the architecture's name, and their types.
        embedding: the bytes of its rows, and their quantisation.
    """
    config = model.config
    name = ARCHITECTURES[config.model_type]
    writer: Any = gguf.GGUFWriter(str(path), name)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_key_length(head_width)
    writer.add_value_length(head_width)
    if name == "starcoder2":
        writer.add_layer_norm_eps(config.norm_epsilon)
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if name == "gemma3":
        writer.add_sliding_window(config.sliding_window)
    for key, value in (options or {}).items():
        writer.add_key_value(f"{name}.{key}", *value)
    for key, (value, kind_of_value, kind_of_item) in tokenizer.items():
        writer.add_key_value(f"tokenizer.ggml.{key}", value, kind_of_value, kind_of_item)
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", _llama3_factors(rope, head_width))
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, name.upper()), config.num_hidden_layers)
    for key, weight in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = weight.numpy()
        if name == "llama" and (".q_proj." in key or ".k_proj." in key):
            heads = config.num_attention_heads if ".q_proj." in key else config.num_key_value_heads
            array = array.reshape(heads, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
        if name == "gemma3" and key.endswith("norm.weight"):
            array = array + 1
        stored, kind = np.ascontiguousarray(array, np.float32), gguf.GGMLQuantizationType.F32
        if embedding and "embed_tokens" in key:
            stored, kind = embedding
        writer.add_tensor(names.get_name(key, (".weight", ".bias")), stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _llama3_factors(rope: dict[str, Any], width: int) -> np.ndarray:
    factors = []
    for i in range(0, width, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / width)
        smooth = (rope["original_max_position_embeddings"] / wavelength - rope["low_freq_factor"]) / (
            rope["high_freq_factor"] - rope["low_freq_factor"]
        )
        factors.append(1 / ((1 - min(1, max(0, smooth))) / rope["factor"] + min(1, max(0, smooth))))
    return np.array(factors, np.float32)


def byte_level_fields(tokenizer: Tokenizer, words: str, special: tuple[str, ...], **ids: int) -> dict[str, Any]:
    """The metadata of a byte-level BPE.

    Args:
        words: how words are cut, by llama.cpp's name. ids: of special tokens (`eos=0`).
    """
    model = json.loads(tokenizer.to_str())["model"]
    texts = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    kinds = [3 if text in special else 1 for text in texts]
    return _fields("gpt2", texts, kinds, **ids) | {
        "pre": (words, gguf.GGUFValueType.STRING, None),
        "merges": (merges, gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.STRING),
    }


def sentencepiece_fields() -> dict[str, Any]:
    """The metadata of a vocabulary like Llama 2's: SentencePiece's scores, a byte for all else."""
    words = ["re", "ret", "ur", "urn", "return", "▁return", "▁▁", "▁x"]
    texts = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *map(chr, range(33, 127)),
        "▁",
        "▁<PRE>",
    ]
    kinds = [2, 3, 3, *[6] * 256, *[1] * 95, 4, *[1] * len(words)]
    texts += words
    return _sentencepiece(texts, kinds, [-float(i) for i in range(len(texts))], bos=1, eos=2)


def _sentencepiece(texts: list[str], kinds: list[int], scores: list[float], **ids: int) -> dict[str, Any]:
    scored = {"scores": (scores, gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.FLOAT32)}
    return _fields("llama", texts, kinds, **ids) | scored


def _fields(model: str, texts: list[str], kinds: list[int], **ids: int) -> dict[str, Any]:
    kind = gguf.GGUFValueType
    return {
        "model": (model, kind.STRING, None),
        "tokens": (texts, kind.ARRAY, kind.STRING),
        "token_type": (kinds, kind.ARRAY, kind.INT32),
        **{f"{name}_token_id": (i, kind.UINT32, None) for name, i in ids.items()},
    }
