"""The engines that take part, all with the bundle's weights except llama.cpp's stock file.

The weights are exported once, as a transformers folder and as a GGUF file in Q8_0, and kept in the cache.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from green_code.folders import cache_dir
from green_code.models.bundle import AGENT, Bundle, bundle_of
from green_code.models.catalog import Found, find_model
from green_code.models.config import ModelConfig
from green_code.models.conversion import adapted_weights
from green_code.models.device import compute_device, compute_dtype
from green_code.models.gguf_source import GgufSource
from green_code.models.vocabulary import Pieces
from green_code.problems import Problem
from green_code.settings import default_settings
from green_code_lab.benchmark.peers import Spec
from green_code_lab.benchmark.peers.llama_cpp import fetch_library
from green_code_lab.evaluation.thresholds import early_thresholds

BASELINE = "green-code-full"
_LOOKUP = {"prompt_lookup_num_tokens": 10}  # the default of transformers' PromptLookupCandidateGenerator
_FORMAT = "1"  # raised whenever an export would give other files


def green_code(model: str, bundle: Bundle | None) -> list[Spec]:
    """Our modes: `exact` as in the editor; `fast`, if there is an agent, at the editor's threshold and the presets."""
    usual = default_settings().threshold
    modes = [(BASELINE, "full depth", "full", 1.0), ("green-code-exact", "exact", "exact", usual)]
    if bundle is not None and bundle.part(AGENT):
        early = early_thresholds(bundle.calibration, usual).items()
        modes += [(f"green-code-{threshold}", f"fast, {label}", "fast", threshold) for label, threshold in early]
    return [
        Spec(name, f"Green Code, {label}", "green_code", {"model": model, "decoding": decoding, "threshold": threshold})
        for name, label, decoding, threshold in modes
    ]  # fmt: skip


def engines(model: str, report: Callable[[str], None]) -> list[Spec]:
    """All engines in the order of the table; the last is the reference, the same weights at full depth in float32.

    Raises:
        Problem: the model or its bundle is missing or damaged.
    """
    found, bundle = find_model(model), bundle_of(model)
    ids = bundle.vocabulary if bundle else None

    @cache
    def weights() -> tuple[ModelConfig, dict[str, np.ndarray]]:
        report("converting the weights for the other engines")
        return adapted_weights(found, bundle)

    def gguf_source() -> GgufSource:
        source = found.open()
        if not isinstance(source, GgufSource):
            raise Problem("bad_request", f"{model} is not read from a GGUF file")
        return source

    def transformers(dtype: str, assistance: Mapping[str, int]) -> dict[str, Any]:
        path = cached(found, bundle, "transformers", lambda path: write_transformers(*weights(), path))
        return {"folder": str(path), "dtype": dtype, "assistance": assistance}

    def llama(file: Path, ids: tuple[int, ...] | None) -> dict[str, Any]:
        return {"library": str(fetch_library()), "file": str(file), "ids": ids}

    def write_pruned(path: Path) -> None:
        (config, own), pieces = weights(), gguf_source().pieces()
        write_gguf(config, pieces.subset(ids) if ids else pieces, own, path)

    dtype = str(compute_dtype(compute_device().type)).removeprefix("torch.")
    exits = bundle.exits if bundle and bundle.exits else (1,)
    exit = exits[(len(exits) - 1) // 2]  # late enough to be right, early enough to be cheap
    early = {"assistant_early_exit": exit}
    others: list[tuple[str, str, str, Callable[[], dict[str, Any]]]] = [
        ("transformers", "transformers, greedy", "hugging_face", lambda: transformers(dtype, {})),
        ("transformers-prompt-lookup", "transformers, prompt lookup", "hugging_face", lambda: transformers(dtype, _LOOKUP)),
        ("transformers-early-exit", f"transformers, assistant_early_exit={exit}", "hugging_face", lambda: transformers(dtype, early)),
        ("llama.cpp-stock", "llama.cpp, stock Q4_K_M, whole vocabulary", "llama_cpp", lambda: llama(gguf_source().path, ids)),
        ("llama.cpp-pruned", "llama.cpp, Q8_0, the bundle's vocabulary", "llama_cpp", lambda: llama(cached(found, bundle, "q8_0.gguf", write_pruned), None)),
        ("reference", "transformers, float32", "hugging_face", lambda: transformers("float32", {})),
    ]  # fmt: skip
    return [*green_code(model, bundle), *(_spec(*other) for other in others)]


def _spec(name: str, label: str, kind: str, options: Callable[[], dict[str, Any]]) -> Spec:
    try:
        return Spec(name, label, kind, options())
    except (Problem, ImportError, OSError, SubprocessError) as problem:
        return Spec(name, label, kind, missing=str(problem))


def cached(found: Found, bundle: Bundle | None, what: str, make: Callable[[Path], None]) -> Path:
    """The export `what` of these weights in the cache; `make` writes it once, to the path that it is given. Raises OSError."""
    parts = "\n".join((_FORMAT, found.key, bundle.weights_key if bundle else "", what))
    path = cache_dir() / f"benchmark-{hashlib.sha256(parts.encode()).hexdigest()[:16]}-{what}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="benchmark-", dir=path.parent) as folder:
            make(Path(folder) / what)
            shutil.move(Path(folder) / what, path)
    return path


def write_transformers(config: ModelConfig, weights: Mapping[str, np.ndarray], folder: Path) -> None:
    """A float32 folder that transformers loads, of float32 weights under `Decoder`'s names. Raises Problem, but for Gemma 3."""
    from transformers import Gemma3TextConfig

    if config.family != "gemma3_text":
        raise Problem("bad_request", f"weights of the family {config.family} cannot be exported")
    kinds = ["full_attention" if window is None else "sliding_attention" for window in config.windows]
    bases = {kind: rope.base for kind, rope in zip(kinds, config.ropes, strict=True) if rope}
    theirs: Any = Gemma3TextConfig(
        vocab_size=config.vocabulary, hidden_size=config.width, intermediate_size=config.mlp_width, num_hidden_layers=config.layers,
        num_attention_heads=config.heads, num_key_value_heads=config.kv_heads, head_dim=config.head_width, rms_norm_eps=config.norm_eps,
        max_position_embeddings=config.max_positions, sliding_window=next((w for w in config.windows if w is not None), config.max_positions),
        layer_types=kinds, query_pre_attn_scalar=round(config.attention_scale**-2), tie_word_embeddings=config.tied_head,
        rope_parameters={kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases.items()},
        architectures=["Gemma3ForCausalLM"], dtype="float32",
    )  # fmt: skip
    theirs.save_pretrained(folder)
    stored = dict(_hugging_face(config, weights, config.row.stored_gain_offset))
    save_file(stored, str(folder / "model.safetensors"), metadata={"format": "pt"})


def _hugging_face(
    config: ModelConfig, weights: Mapping[str, np.ndarray], gain_offset: float
) -> Iterator[tuple[str, np.ndarray]]:
    """The inverse of `models.hugging_face.map_hugging_face`: fused weights split, `gain_offset` off the norms' gains."""
    heads = [config.heads, config.kv_heads, config.kv_heads]
    rows = {"qkv": [n * config.head_width for n in heads], "mlp_in": [config.mlp_width] * 2}
    for name, parts in config.row.names.items():
        if name == "head" and config.tied_head:
            continue
        for layer in range(config.layers if "{}" in name else 1):
            weight = weights[f"{name.format(layer)}.weight"]
            if name.endswith("norm"):
                weight = weight - gain_offset
            ends = np.cumsum(rows.get(name.rpartition(".")[2], [len(weight)]))[:-1]
            for part, own in zip(parts, np.split(weight, ends), strict=True):
                yield f"{part.format(layer)}.weight", np.ascontiguousarray(own)


def write_gguf(config: ModelConfig, pieces: Pieces, weights: Mapping[str, np.ndarray], path: Path) -> None:
    """A GGUF file that llama.cpp loads: matrices in Q8_0 (8 bits, a scale for each 32), norms in float32."""
    import gguf

    writer: Any = gguf.GGUFWriter(str(path), "gemma3")
    fields = {
        "block_count": config.layers, "context_length": config.max_positions, "embedding_length": config.width,
        "feed_forward_length": config.mlp_width, "head_count": config.heads, "head_count_kv": config.kv_heads,
        "key_length": config.head_width, "value_length": config.head_width, "layer_norm_rms_eps": config.norm_eps,
        "rope_freq_base": max(rope.base for rope in config.ropes if rope is not None),
        "sliding_window": next(w for w in config.windows if w is not None), "file_type": gguf.LlamaFileType.MOSTLY_Q8_0,
        "tokenizer_model": "llama", "token_list": [text.encode() for text in pieces.texts], "token_scores": list(pieces.scores),
        "token_types": list(pieces.kinds), "bos_token_id": pieces.bos, "eos_token_id": pieces.eos,
    }  # fmt: skip
    for field, value in fields.items():
        getattr(writer, f"add_{field}")(value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, config.layers)
    for name, weight in _hugging_face(config, weights, 0.0):  # GGUF keeps gains with Gemma's one added
        array = np.asarray(weight, np.float32)
        kind = gguf.GGMLQuantizationType.Q8_0 if array.ndim > 1 else gguf.GGMLQuantizationType.F32
        stored = gguf.quants.quantize(array, kind)
        writer.add_tensor(names.get_name(name, (".weight",)), stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
