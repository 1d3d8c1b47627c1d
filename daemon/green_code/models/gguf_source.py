"""Base checkpoints in GGUF files: configuration and weights by a row for each architecture, dequantised by the `gguf` package."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from gguf import GGMLQuantizationType as Quantisation
from gguf.quants import dequantize
from tokenizers import Tokenizer

from green_code.models.config import ModelConfig, Rope
from green_code.models.gguf_file import GgufFile, GgufTensor
from green_code.models.gguf_tokenizer import GgufVocabulary
from green_code.models.hashes import sha256_of
from green_code.models.shapes import EMBEDDING, HEAD, weight_shapes
from green_code.models.vocabulary import Pieces, Vocabulary
from green_code.problems import Problem, refusing
from green_code.reading import check_regular

_READ: Final = frozenset(
    Quantisation[name]
    for name in "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS".split()  # noqa: SIM905
)
_LAYER: Final = re.compile(r"layers\.(\d+)\.")
_AT_ONCE: Final = 1 << 20  # numbers that are dequantised at once in each thread: some megabytes
_ROPE_FACTORS: Final = "rope_freqs.weight"
_LOCAL_ROPE: Final = Rope(10_000.0)  # of Gemma 3's sliding layers
_LARGEST: Final = 1 << 31  # of any size in the metadata


@dataclass(frozen=True)
class _Architecture:
    """A family as llama.cpp writes it: the names of its parts, without ".weight" and ".bias"; what its metadata leaves out.

    Norm gains are stored as they are multiplied (Gemma's with one added).
    """

    family: str
    names: Mapping[str, tuple[str, ...]]
    epsilon: str = "attention.layer_norm_rms_epsilon"
    rotated_pairs: bool = False  # rows of queries and keys are in pairs (x0, x1), not in halves
    scaled_embeddings: bool = False  # by √C
    full_every: int | None = None  # of the layers with a window, every this many attends to all positions


_NAMES: dict[str, tuple[str, ...]] = {
    "embed": ("token_embd",),
    "norm": ("output_norm",),
    "head": ("output",),
    "layers.{}.attention_norm": ("blk.{}.attn_norm",),
    "layers.{}.qkv": ("blk.{}.attn_q", "blk.{}.attn_k", "blk.{}.attn_v"),
    "layers.{}.attention_out": ("blk.{}.attn_output",),
    "layers.{}.mlp_norm": ("blk.{}.ffn_norm",),
    "layers.{}.mlp_in": ("blk.{}.ffn_gate", "blk.{}.ffn_up"),
    "layers.{}.mlp_out": ("blk.{}.ffn_down",),
}
_QK_NORMS = {"layers.{}.q_norm": ("blk.{}.attn_q_norm",), "layers.{}.k_norm": ("blk.{}.attn_k_norm",)}
_SANDWICH_NORMS = {
    "layers.{}.attention_out_norm": ("blk.{}.post_attention_norm",),
    "layers.{}.mlp_out_norm": ("blk.{}.post_ffw_norm",),
}
# llama.cpp's conversion/ and src/models/
ARCHITECTURES: Final = {
    "llama": _Architecture("llama", _NAMES, rotated_pairs=True),
    "qwen2": _Architecture("qwen2", _NAMES),
    "qwen3": _Architecture("qwen3", _NAMES | _QK_NORMS),
    "gemma3": _Architecture("gemma3_text", _NAMES | _QK_NORMS | _SANDWICH_NORMS, scaled_embeddings=True, full_every=6),
    "starcoder2": _Architecture(
        "starcoder2", _NAMES | {"layers.{}.mlp_in": ("blk.{}.ffn_up",)}, "attention.layer_norm_epsilon"
    ),
}


class GgufSource:
    """A GGUF file of one of the known architectures.

    Raises:
        Problem: the file cannot be read, is damaged, or has a part that we lack.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with refusing(self._problem):
            check_regular(path)
            self._file = GgufFile(path)
            architecture = self._value("general.architecture", str)
            if architecture not in ARCHITECTURES:
                known = ", ".join(sorted(ARCHITECTURES))
                raise Problem(
                    "model_damaged", f"{path.name} holds {architecture[:40]!r}; GGUF files are read of these: {known}."
                )
            self._prefix, self._row = architecture, ARCHITECTURES[architecture]
            self.config = self._config()
            self._check_tensors()

    def _problem(self, what: str) -> Problem:
        return Problem(
            "model_damaged", f"{self.path.name} cannot be used ({what}): download it again, or choose another model."
        )

    # --- vocabulary ---

    @cached_property
    def _vocabulary(self) -> GgufVocabulary:
        with refusing(self._problem):
            vocabulary = GgufVocabulary.read(self._file.fields)
            if (tokens := len(vocabulary.pieces.texts)) > self.config.vocabulary:
                raise ValueError(f"it has {tokens} tokens and {self.config.vocabulary} embeddings")
            return vocabulary

    @property
    def has_sentencepiece(self) -> bool:
        return self._vocabulary.words is None

    def pieces(self) -> Pieces:
        return self._vocabulary.pieces

    def vocabulary(self, ids: Sequence[int] | None) -> tuple[Tokenizer, int | None, list[int]]:
        vocabulary = self._vocabulary
        with refusing(self._problem):
            tokenizer, start, ends = vocabulary.build(ids)
        Vocabulary(tokenizer, start, ends)  # whether it can encode all text
        return tokenizer, start, ends

    # --- configuration ---

    def _value(self, name: str, kind: type, default: Any = None) -> Any:
        value = self._file.fields.get(name, default)
        if isinstance(value, np.ndarray) and len(value) and (value == value[0]).all():
            value = value[0].item()  # a size of each layer, all the same
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{name} is missing or of a wrong type")
        return value

    def _size(self, name: str, default: int | None = None) -> int:
        value = int(self._value(f"{self._prefix}.{name}", int, default))
        if not 1 <= value < _LARGEST:
            raise ValueError(f"{self._prefix}.{name} is {value}")
        return value

    def _number(self, name: str, default: float | None = None) -> float:
        value = float(self._value(f"{self._prefix}.{name}", float, default))
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{self._prefix}.{name} is {value}")
        return value

    def _has(self, name: str) -> bool:
        return f"{self._prefix}.{name}" in self._file.fields

    def _config(self) -> ModelConfig:
        row, tensors = self._row, self._file.tensors
        if np.any(self._file.fields.get(f"{self._prefix}.expert_count", 0)):
            raise ValueError("it is a mixture of experts, which is not supported")
        if "token_embd.weight" not in tensors:
            raise ValueError("it lacks token_embd.weight")
        layers, width, heads = (
            self._size("block_count"),
            self._size("embedding_length"),
            self._size("attention.head_count"),
        )
        if layers > len(tensors):
            raise ValueError(f"{self._prefix}.block_count is {layers}, and it has {len(tensors)} tensors")
        head_width = self._size("attention.key_length", width // heads)
        if self._size("attention.value_length", head_width) != head_width:
            raise ValueError("its values have another width than its keys, which is not supported")
        rotary_width = self._size("rope.dimension_count", head_width)
        if row.rotated_pairs and head_width % 2:
            raise ValueError(f"heads of {head_width} numbers cannot be rotated in pairs")
        window = (
            self._size("attention.sliding_window") if row.full_every and self._has("attention.sliding_window") else None
        )
        every = self._size("attention.sliding_window_pattern", row.full_every or 1)
        full = [window is None or (layer + 1) % every == 0 for layer in range(layers)]
        rope = self._rope(rotary_width)
        softcap = "final_logit_softcapping"
        # Gemma 3 with 27 billion weights scales by the width of its query heads (gemma_pytorch, config.py).
        scaled = width / heads if row.family == "gemma3_text" and layers == 62 else head_width
        return ModelConfig(
            family=row.family,
            layers=layers,
            width=width,
            heads=heads,
            kv_heads=self._size("attention.head_count_kv", heads),
            head_width=head_width,
            mlp_width=self._size("feed_forward_length"),
            vocabulary=tensors["token_embd.weight"].shape[0],
            norm_eps=self._number(row.epsilon),
            max_positions=self._size("context_length"),
            attention_scale=float(scaled) ** -0.5,
            tied_head="output.weight" not in tensors,
            windows=tuple(None if whole else window for whole in full),
            ropes=tuple(rope if whole else _LOCAL_ROPE for whole in full),
            rotary_width=None if rotary_width == head_width else rotary_width,
            qkv_bias="blk.0.attn_q.bias" in tensors,
            attention_out_bias="blk.0.attn_output.bias" in tensors,
            mlp_bias="blk.0.ffn_down.bias" in tensors,
            embedding_scale=float(width) ** 0.5 if row.scaled_embeddings else 1.0,
            logit_softcap=self._number(softcap) if self._has(softcap) else None,
        )

    def _rope(self, width: int) -> Rope:
        base = self._number("rope.freq_base", 10_000.0)
        scaling = self._value(f"{self._prefix}.rope.scaling.type", str, "none")
        factors = self._file.tensors.get(_ROPE_FACTORS)
        if factors is not None:
            if factors.shape != (width // 2,) or factors.kind is not Quantisation.F32:
                raise ValueError(f"{_ROPE_FACTORS} has the shape {factors.shape}, not {(width // 2,)}")
            return _llama3_rope(base, self._file.stored(factors).view("<f4"))
        if scaling == "linear":
            return Rope(base, "linear", self._number("rope.scaling.factor"))
        if scaling != "none":
            raise ValueError(f"its rotary scaling is {scaling!r}; known are: linear, llama3")
        return Rope(base)

    # --- weights ---

    def _parts(self, name: str) -> list[str]:
        """The names of the tensors that our tensor is made of."""
        layer = _LAYER.match(name)
        of_all, _, kind = _LAYER.sub("layers.{}.", name).rpartition(".")
        return [f"{part.format(layer[1] if layer else 0)}.{kind}" for part in self._row.names[of_all]]

    def _check_tensors(self) -> None:
        """Raises ValueError where a tensor is missing, has another shape or type than it must have, or is none that we read."""
        config, left = self.config, set(self._file.tensors) - {_ROPE_FACTORS}
        rows = {
            "qkv": [config.heads * config.head_width] + [config.kv_heads * config.head_width] * 2,
            "mlp_in": [config.mlp_width] * (2 if config.row.gated else 1),
        }
        for name, shape in weight_shapes(config).items():
            parts = self._parts(name)
            for part, count in zip(parts, rows.get(name.split(".")[-2], shape[:1]), strict=True):
                if part not in left:
                    raise ValueError(f"it lacks {part}")
                left.remove(part)
                tensor = self._file.tensors[part]
                if tensor.shape != (count, *shape[1:]):
                    raise ValueError(f"{part} has the shape {tensor.shape}, not {(count, *shape[1:])}")
                if tensor.kind not in _READ:
                    known = ", ".join(sorted(kind.name for kind in _READ))
                    raise ValueError(f"{part} is quantised as {tensor.kind.name}; known are: {known}")
        if left:
            raise ValueError(f"it has {min(left)}, which is not supported")

    def tensors(self, ids: Sequence[int] | None) -> Iterator[tuple[str, np.ndarray]]:
        for name, shape in weight_shapes(self.config).items():
            rows = np.asarray(ids) if ids is not None and name in (EMBEDDING, HEAD) else None
            whole = np.empty(shape if rows is None else (len(rows), *shape[1:]), np.float32)
            at = 0
            for part in self._parts(name):
                tensor = self._file.tensors[part]
                target = whole[at : at + (tensor.shape[0] if rows is None else len(rows))]
                self._dequantise(tensor, rows, target)
                if self._row.rotated_pairs and (".attn_q." in part or ".attn_k." in part):
                    pairs = target.reshape(-1, self.config.head_width // 2, 2, *shape[1:])
                    target[:] = pairs.swapaxes(1, 2).reshape(target.shape)
                at += len(target)
            self._file.release()
            yield name, whole

    def _dequantise(self, tensor: GgufTensor, rows: np.ndarray | None, target: np.ndarray) -> None:
        """Into `target`, float32, in blocks of rows that threads work on: beside it, only some megabytes are held."""
        stored = self._file.stored(tensor)
        if stored.ndim == 1:
            stored, target = stored[None], target[None]
        step = max(1, _AT_ONCE // tensor.shape[-1])

        def block(begin: int) -> None:
            of = slice(begin, begin + step)
            taken = stored[of if rows is None else rows[of]]
            # The package converts 16 rows at a time, whatever their length: long ones, so that one call does it.
            target[of] = dequantize(taken.reshape(math.gcd(len(taken), 16), -1), tensor.kind).reshape(len(taken), -1)

        with ThreadPoolExecutor() as pool:
            list(pool.map(block, range(0, len(target), step)))

    def fingerprint(self) -> str:
        return sha256_of(self.path)


def _llama3_rope(base: float, factors: np.ndarray) -> Rope:
    """A file has the factors of all frequencies, not what they are computed from: in all models of Llama 3 alike, but for one.

    Raises:
        ValueError: they are other ones.
    """
    rope = Rope(base, "llama3", float(factors.max()))
    wavelengths = 2 * np.pi * base ** (np.arange(len(factors)) / len(factors))
    smooth = (rope.original_positions / wavelengths - rope.low_frequency_factor) / (
        rope.high_frequency_factor - rope.low_frequency_factor
    )
    smooth = smooth.clip(0, 1)
    if not np.allclose(factors, 1 / ((1 - smooth) / rope.factor + smooth), rtol=1e-3):
        raise ValueError(f"{_ROPE_FACTORS} are not Llama 3's, others are not supported")
    return rope
