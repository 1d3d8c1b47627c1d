"""Readers of base checkpoints: a GGUF file, or a folder of safetensors with config.json and tokenizer.json.

A source gives the configuration, the tokenizer and the weights under our names (`families.Family.names`). It gives one tensor at
a time, so that a conversion never holds a second copy of all. Pickled checkpoints are not read: loading one runs code.
"""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tokenizers import Tokenizer

from green_code.models.families import ModelConfig, Rope
from green_code.models.gguf_file import GgufFile, GgufTensor
from green_code.models.vocabulary import Pieces, Vocabulary, build_tokenizer
from green_code.problems import Problem
from green_code.sequences import map_ahead


class Source(Protocol):
    """A base checkpoint."""

    @property
    def config(self) -> ModelConfig: ...
    def vocabulary(self, ids: Sequence[int] | None) -> tuple[Tokenizer, int | None, list[int]]:
        """Tokenizer over `ids` (None: all), bos and eos ids in that numbering."""

    def tensors(self, ids: Sequence[int] | None) -> Iterator[tuple[str, np.ndarray]]:
        """(our name, float32 array); embedding and head have only the rows of `ids`."""

    def fingerprint(self) -> str:
        """SHA-256 of the checkpoint, hexadecimal."""


# --- GGUF -------------------------------------------------------------------------------------------------

_GGUF_GEMMA3 = {
    "embed": ("token_embd",),
    "norm": ("output_norm",),
    "layers.{}.attention_norm": ("blk.{}.attn_norm",),
    "layers.{}.qkv": ("blk.{}.attn_q", "blk.{}.attn_k", "blk.{}.attn_v"),
    "layers.{}.q_norm": ("blk.{}.attn_q_norm",),
    "layers.{}.k_norm": ("blk.{}.attn_k_norm",),
    "layers.{}.attention_out": ("blk.{}.attn_output",),
    "layers.{}.attention_out_norm": ("blk.{}.post_attention_norm",),
    "layers.{}.mlp_norm": ("blk.{}.ffn_norm",),
    "layers.{}.mlp_in": ("blk.{}.ffn_gate", "blk.{}.ffn_up"),
    "layers.{}.mlp_out": ("blk.{}.ffn_down",),
    "layers.{}.mlp_out_norm": ("blk.{}.post_ffw_norm",),
}


_ROWS = 64  # of a matrix that are dequantised as one


class GgufSource:
    """A Gemma 3 GGUF file, dequantised tensor by tensor by the `gguf` package.

    GGUF stores Gemma's norm gains with one added. It leaves out two constants of Gemma 3: the rotary base of the sliding layers
    (10,000), and that every sixth layer attends to all positions (transformers, configuration_gemma3.py).

    Raises:
        Problem: the file is damaged, or another model's; the `gguf` package is missing.
    """

    def __init__(self, path: Path) -> None:
        try:
            gguf: Any = importlib.import_module("gguf")
        except ImportError as error:
            raise Problem(
                "model_missing", "reading a GGUF file needs the extra 'model': pip install 'green-code[model]'."
            ) from error
        self.path, self._gguf = path, gguf
        try:
            self._file = GgufFile(path)
        except (ValueError, OSError) as error:
            raise Problem(
                "model_damaged", f"{path.name} cannot be read as GGUF ({error}); delete it and start again."
            ) from error
        self._by_name = {name.removesuffix(".weight"): t for name, t in self._file.tensors.items()}
        if self._field("general.architecture") != "gemma3":
            raise Problem(
                "model_damaged",
                f"{path.name} holds {self._field('general.architecture')!r}; GGUF is read for gemma3, other families from safetensors.",
            )

    def _field(self, name: str) -> Any:
        if name not in self._file.fields:
            raise Problem("model_damaged", f"{self.path.name} lacks {name}; delete it and start again.")
        return self._file.fields[name]

    def _gemma(self, name: str) -> Any:
        return self._field(f"gemma3.{name}")

    @property
    def config(self) -> ModelConfig:
        layers, window = int(self._gemma("block_count")), int(self._gemma("attention.sliding_window"))
        everything = [(layer + 1) % 6 == 0 for layer in range(layers)]
        return ModelConfig(
            family="gemma3_text",
            layers=layers,
            width=int(self._gemma("embedding_length")),
            heads=int(self._gemma("attention.head_count")),
            kv_heads=int(self._gemma("attention.head_count_kv")),
            head_width=int(self._gemma("attention.key_length")),
            mlp_width=int(self._gemma("feed_forward_length")),
            vocabulary=self._by_name["token_embd"].shape[0],
            norm_eps=float(self._gemma("attention.layer_norm_rms_epsilon")),
            max_positions=int(self._gemma("context_length")),
            attention_scale=float(self._gemma("attention.key_length")) ** -0.5,
            tied_head=True,
            windows=tuple(None if every else window for every in everything),
            ropes=tuple(Rope(float(self._gemma("rope.freq_base")) if every else 10_000.0) for every in everything),
            embedding_scale=float(self._gemma("embedding_length")) ** 0.5,
        )

    def pieces(self) -> Pieces:
        tokens, scores, kinds = (self._field(f"tokenizer.ggml.{name}") for name in ("tokens", "scores", "token_type"))
        bos, eos = (int(self._field(f"tokenizer.ggml.{name}_token_id")) for name in ("bos", "eos"))
        return Pieces(tokens, scores.tolist(), kinds.tolist(), bos, eos)

    def vocabulary(self, ids: Sequence[int] | None) -> tuple[Tokenizer, int | None, list[int]]:
        pieces = self.pieces() if ids is None else self.pieces().subset(ids)
        return build_tokenizer(pieces), pieces.bos, [pieces.eos]

    def tensors(self, ids: Sequence[int] | None) -> Iterator[tuple[str, np.ndarray]]:
        def read(row: tuple[str, int]) -> tuple[str, np.ndarray]:
            name, layer = row
            parts = [self._by_name[part.format(layer)] for part in _GGUF_GEMMA3[name]]
            rows = np.asarray(ids) if ids is not None and name == "embed" else slice(None)
            arrays = [self._dequantised(part, rows) for part in parts]
            return f"{name.format(layer)}.weight", np.concatenate(arrays, dtype=np.float32)

        return map_ahead(read, _names(_GGUF_GEMMA3, self.config.layers))

    def _dequantised(self, tensor: GgufTensor, rows: Any) -> np.ndarray:
        kind = self._gguf.GGMLQuantizationType(tensor.kind)
        stored = self._file.stored(tensor, *self._gguf.GGML_QUANT_SIZES[kind])[rows]
        # The package converts 16 rows at a time, whatever their length: long ones, so that few calls do it.
        count = math.prod(stored.shape[:-1])
        long = stored.reshape(count // math.gcd(count, _ROWS), -1)
        return np.asarray(self._gguf.quants.dequantize(long, kind)).reshape(*stored.shape[:-1], -1)

    def fingerprint(self) -> str:
        return sha256_of(self.path)


def _names(names: Any, layers: int) -> Iterator[tuple[str, int]]:
    for name in names:
        for layer in range(layers if "{}" in name else 1):
            yield name, layer


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: Any) -> str:  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def open_vocabulary(source: Source, ids: Sequence[int] | None) -> Vocabulary:
    tokenizer, bos, eos = source.vocabulary(ids)
    return Vocabulary(tokenizer, bos, eos)
