"""Readers of base checkpoints: a folder of safetensors with config.json and tokenizer.json; a GGUF file is `gguf_source.py`'s.

A source gives the configuration, the tokenizer and the weights under our names (`families.Family.names`). It gives one tensor at
a time, so that a conversion never holds a second copy of all. Pickled checkpoints are not read: loading one runs code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from green_code.models.families import ModelConfig, config_from_hugging_face
from green_code.models.vocabulary import Vocabulary, lossless, start_token
from green_code.problems import Problem


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


class FolderSource:
    """A local folder in the layout of Hugging Face."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = sorted(folder.glob("*.safetensors"))
        missing = [n for n in ("config.json", "tokenizer.json") if not (folder / n).is_file()]
        missing += [] if self._files else ["*.safetensors"]
        if missing:
            raise Problem(
                "model_missing",
                f"{folder} lacks {', '.join(missing)}; download the model's safetensors files with their config.json and tokenizer.json into it.",
            )
        try:
            self._hf = json.loads((folder / "config.json").read_text())
            self._config = config_from_hugging_face(self._hf)
        except (ValueError, KeyError) as error:
            raise Problem(
                "model_damaged", f"{folder / 'config.json'} is not a model configuration we can read ({error})."
            ) from error

    @property
    def config(self) -> ModelConfig:
        return self._config

    def vocabulary(self, ids: Sequence[int] | None) -> tuple[Tokenizer, int | None, list[int]]:
        if ids is not None:
            raise Problem(
                "bundle_invalid",
                "a pruned vocabulary is only supported for GGUF sources; remove vocabulary.safetensors from the bundle.",
            )
        eos = self._hf.get("eos_token_id")
        own = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        bos, ends = start_token(own), eos if isinstance(eos, list) else [eos] * (eos is not None)
        tokenizer = lossless(own)
        return tokenizer, bos, ends

    def tensors(self, ids: Sequence[int] | None) -> Iterator[tuple[str, np.ndarray]]:
        where: dict[str, Any] = {}
        try:
            for file in self._files:
                handle: Any = safe_open(str(file), framework="pt")
                where |= dict.fromkeys(handle.keys(), handle)
        except (SafetensorError, OSError) as error:
            raise Problem("model_damaged", f"{file.name} is damaged ({error}); download it again.") from error
        yield from map_hugging_face(
            self._config, lambda key: where[key].get_tensor(key).float().numpy() if key in where else None
        )

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for file in (self.folder / "config.json", self.folder / "tokenizer.json", *self._files):
            digest.update(sha256_of(file).encode())
        return digest.hexdigest()


def map_hugging_face(config: ModelConfig, get: Any) -> Iterator[tuple[str, np.ndarray]]:
    """A Hugging Face state dict under our names, as float32: weights fused, norm gains with_adapter, one tensor at a time.

    Args:
        get: key of the checkpoint → array, or None if there is no such key.
    Raises:
        Problem: a weight is missing.
    """
    row = config.row
    for name, layer in _names(row.names, config.layers):
        if name == "head" and config.tied_head:
            continue
        for kind in ("weight", "bias"):
            keys = [f"{part.format(layer)}.{kind}" for part in row.names[name]]
            parts = [get(key) if get(key) is not None else get(key.removeprefix("model.")) for key in keys]
            if all(part is None for part in parts) and kind == "bias":
                continue
            if any(part is None for part in parts):
                raise Problem("model_damaged", f"the checkpoint has no weight {keys[0]}; download it again.")
            tensor = np.concatenate(parts, dtype=np.float32)
            if name.endswith("norm") and kind == "weight":
                tensor += row.stored_gain_offset
            yield f"{name.format(layer)}.{kind}", tensor


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
