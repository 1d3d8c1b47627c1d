"""The bundle's weights in the formats that other engines read: a transformers folder, and a GGUF file in Q8_0.

Both are made once and kept in the cache under a key of what they are made from.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from green_code.folders import cache_dir
from green_code.models.bundle import Bundle
from green_code.models.catalog import Found
from green_code.models.families import ModelConfig
from green_code.models.vocabulary import Pieces
from green_code.problems import Problem

_FORM = "1"  # raised whenever an export would give other files
_FAMILY = "gemma3_text"


def kept(found: Found, bundle: Bundle | None, what: str, make: Callable[[Path], None]) -> Path:
    """The file or folder `what` of these weights in the cache; `make` writes it to the path that it is given.

    Raises:
        Problem: the cache cannot be written.
    """
    parts = (_FORM, found.key, bundle.weights_key if bundle else "", what)
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    path = cache_dir() / f"benchmark-{key}-{what}"
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="benchmark-", dir=path.parent) as folder:
            part = Path(folder) / what
            make(part)
            shutil.move(part, path)
    except OSError as error:
        raise Problem(
            "cache_unwritable",
            f"{path} cannot be written ({error}); free 1 GB there, or set GREEN_CODE_CACHE_DIR to a folder with room.",
        ) from error
    return path


# --- transformers -----------------------------------------------------------------------------------------


def write_transformers(config: ModelConfig, weights: Mapping[str, Tensor], folder: Path) -> None:
    """A float32 folder that transformers loads: the inverse of `models.sources.map_hugging_face`.

    Args:
        weights: float32, under `Decoder`'s names.
    Raises:
        Problem: the family is none that is written.
    """
    from transformers import Gemma3TextConfig

    if config.family != _FAMILY:
        raise Problem(
            "bad_request", f"weights of {config.family} are not written for transformers, {_FAMILY}'s are"
        )
    rotations = {_attention(w): r for w, r in zip(config.windows, config.ropes, strict=True) if r is not None}
    said: Any = Gemma3TextConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        intermediate_size=config.mlp_width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.head_width,
        max_position_embeddings=config.max_positions,
        rms_norm_eps=config.norm_eps,
        sliding_window=next((w for w in config.windows if w is not None), config.max_positions),
        layer_types=[_attention(window) for window in config.windows],
        query_pre_attn_scalar=round(config.attention_scale**-2),
        rope_parameters={
            name: {"rope_type": "default", "rope_theta": rope.base} for name, rope in rotations.items()
        },
        tie_word_embeddings=config.tied_head,
        architectures=["Gemma3ForCausalLM"],
        dtype="float32",
    )
    folder.mkdir(parents=True)
    said.save_pretrained(folder)
    stored = _hugging_face(config, weights, config.row.stored_gain_offset)
    named = {name: w.contiguous() for name, w in stored}
    save_file(named, str(folder / "model.safetensors"), metadata={"format": "pt"})


def _attention(window: int | None) -> str:
    return "full_attention" if window is None else "sliding_attention"


def _hugging_face(
    config: ModelConfig, weights: Mapping[str, Tensor], gain_offset: float
) -> Iterator[tuple[str, Tensor]]:
    """Weights under Hugging Face's names, fused ones parted, `gain_offset` taken from the norms' gains."""
    for name, parts in config.row.names.items():
        if name == "head" and config.tied_head:
            continue
        for layer in range(config.layers if "{}" in name else 1):
            weight = weights[f"{name.format(layer)}.weight"]
            if name.endswith("norm"):
                weight = weight - gain_offset
            split = torch.split(weight, _rows(config, name, weight))
            yield from ((f"{part.format(layer)}.weight", w) for part, w in zip(parts, split, strict=True))


def _rows(config: ModelConfig, name: str, weight: Tensor) -> list[int]:
    """How many rows each part of a fused weight has."""
    if name.endswith("qkv"):
        return [config.heads * config.head_width] + [config.kv_heads * config.head_width] * 2
    if name.endswith("mlp_in"):
        return [config.mlp_width] * 2
    return [len(weight)]


# --- GGUF -------------------------------------------------------------------------------------------------


def write_gguf(config: ModelConfig, pieces: Pieces, weights: Mapping[str, Tensor], path: Path) -> None:
    """A GGUF file that llama.cpp loads: matrices in Q8_0 (8 bits, a scale for each 32), norms in float32.

    Args:
        pieces: of the vocabulary that the weights have. weights: float32, under `Decoder`'s names.
    """
    import gguf

    writer: Any = gguf.GGUFWriter(str(path), "gemma3")
    writer.add_block_count(config.layers)
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.width)
    writer.add_feed_forward_length(config.mlp_width)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_width)
    writer.add_value_length(config.head_width)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(max(rope.base for rope in config.ropes if rope is not None))
    writer.add_sliding_window(next(w for w in config.windows if w is not None))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text.encode() for text in pieces.texts])
    writer.add_token_scores(list(pieces.scores))
    writer.add_token_types(list(pieces.kinds))
    writer.add_bos_token_id(pieces.bos)
    writer.add_eos_token_id(pieces.eos)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, config.layers)
    for name, weight in _hugging_face(config, weights, 0.0):  # GGUF keeps gains with Gemma's one added
        array = np.ascontiguousarray(weight.numpy(), np.float32)
        matrix = array.ndim > 1
        kind = gguf.GGMLQuantizationType.Q8_0 if matrix else gguf.GGMLQuantizationType.F32
        stored = gguf.quants.quantize(array, kind) if matrix else array
        writer.add_tensor(names.get_name(name, (".weight",)), stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
