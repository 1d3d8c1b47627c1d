"""A model's folder in the layout of Hugging Face: config.json, a tokenizer, safetensors. No code in it is ever run.

Its files are read only where they are in the folder, or in the cache of the hub that the folder belongs to.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tokenizers import Tokenizer

from green_code.models.config import ModelConfig
from green_code.models.hashes import sha256_of
from green_code.models.hugging_face_config import config_from_hugging_face, end_tokens
from green_code.models.safetensors_files import check_index, damaged, read_headers, read_object, weight_files
from green_code.models.shapes import weight_shapes
from green_code.models.vocabulary import lossless, start_token
from green_code.problems import Problem, refusing

_CONFIG = "config.json"
_MOST_CONFIG_BYTES = 1 << 22
_MOST_TOKENIZER_BYTES = 1 << 27  # Gemma 3's has 33 MB
_CHUNK = 1 << 22  # numbers of a tensor that are read at once


class Stored(Protocol):
    """A tensor of a checkpoint: an array, or `StoredTensor`."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


class FolderSource:
    """A local folder in the layout of Hugging Face.

    Raises:
        Problem: files are missing, damaged or elsewhere, or the model is of a kind that is not supported.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _check_places(folder)
        stored = read_object(folder / _CONFIG, _MOST_CONFIG_BYTES)
        self._config = config_from_hugging_face(stored)
        self._ends = end_tokens(stored)
        self._files = weight_files(folder)
        self._stored = read_headers(self._files)
        check_index(folder, self._stored)
        for _ in _weights(self._config, self._stored.get):
            pass  # each is checked

    @property
    def config(self) -> ModelConfig:
        return self._config

    def vocabulary(self, ids: Sequence[int] | None) -> tuple[Tokenizer, int | None, list[int]]:
        if ids is not None:
            raise Problem(
                "bundle_invalid",
                "a pruned vocabulary is only supported for GGUF sources; remove vocabulary.safetensors from the bundle.",
            )
        with refusing(self._unreadable_tokenizer):
            own, last = self._tokenizer()
            return lossless(own), start_token(own), [end for end in self._ends if 0 <= end <= last]

    def _tokenizer(self) -> tuple[Tokenizer, int]:
        """As transformers reads it, but of no fixed length, and its last token. It gets our configuration, so that it looks into no
        other file for one.
        """
        from transformers import CONFIG_MAPPING, AutoTokenizer

        read = AutoTokenizer.from_pretrained(
            str(self.folder),
            config=CONFIG_MAPPING[self._config.family](),
            local_files_only=True,
            trust_remote_code=False,
        )
        last = max(read.backend_tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        if last >= self._config.vocabulary:  # before `to_str`, which needs memory for every number up to the last one
            raise damaged(
                self.folder / "tokenizer.json", f"token {last}, but the model has {self._config.vocabulary} tokens"
            )
        own = Tokenizer.from_str(read.backend_tokenizer.to_str())
        own.no_padding()
        own.no_truncation()
        return own, last

    def _unreadable_tokenizer(self, what: str) -> Problem:
        return Problem(
            "model_damaged",
            f"the tokenizer in {self.folder} cannot be read ({what}); download the model's tokenizer.json again.",
        )

    def tensors(self, ids: Sequence[int] | None) -> Iterator[tuple[str, np.ndarray]]:
        return map_hugging_face(self._config, self._stored.get)

    def fingerprint(self) -> str:
        tokenizer = self.folder / "tokenizer.json"
        digest = hashlib.sha256()
        for file in (self.folder / _CONFIG, *([tokenizer] if tokenizer.is_file() else []), *self._files):
            digest.update(sha256_of(file).encode())
        return digest.hexdigest()


def map_hugging_face(config: ModelConfig, get: Callable[[str], Any]) -> Iterator[tuple[str, np.ndarray]]:
    """A Hugging Face checkpoint under our names, as float32: weights fused, gains with what is missing, one tensor at a time.

    Args:
        get: key of the checkpoint → `Stored`, or None if there is no such key.
    Raises:
        Problem: a weight is missing, or it has not the shape that the configuration says.
    """
    for weight in _weights(config, get):
        whole, at = np.empty(weight.shape, np.float32), 0
        for part in weight.parts:
            rows = part.shape[1 if weight.transposed else 0]
            _copy(part, whole[at : at + rows].T if weight.transposed else whole[at : at + rows])
            at += rows
        if weight.is_gain:
            whole += config.row.stored_gain_offset
        yield weight.name, whole


@dataclass(frozen=True)
class _Weight:
    """One of our weights, and the tensors of the checkpoint that it consists of, along the first dimension."""

    name: str
    shape: tuple[int, ...]
    parts: tuple[Stored, ...]
    transposed: bool
    is_gain: bool


def _weights(config: ModelConfig, get: Callable[[str], Any]) -> Iterator[_Weight]:
    """All weights; raises Problem for one that is missing or of another shape. Nothing is read."""
    for name, shape in weight_shapes(config).items():
        own, _, kind = name.rpartition(".")
        layer = own.split(".")[1] if own.startswith("layers.") else ""
        general = own.replace(f".{layer}.", ".{}.", 1) if layer else own
        keys = [f"{part.format(layer)}.{kind}" for part in config.row.names[general]]
        parts = tuple(_part(get, key) for key in keys)
        transposed = config.row.transposed and len(shape) == 2 and bool(layer)
        for key, part, rows in zip(keys, parts, _rows(config, shape[0], len(parts)), strict=True):
            _check_shape(key, part.shape[::-1] if transposed else part.shape, (rows, *shape[1:]))
        yield _Weight(name, shape, parts, transposed, own.endswith("norm") and kind == "weight")


def _part(get: Callable[[str], Any], key: str) -> Stored:
    """Of a checkpoint of the whole model, of its body alone, or of one that also sees images."""
    body = key.partition(".")[2]
    for spelling in (key, body, f"language_model.{key}", f"model.language_model.{body}"):
        if (found := get(spelling)) is not None:
            part: Stored = found
            return part
    raise Problem("model_damaged", f"the checkpoint has no weight {key}; download it again.")


def _rows(config: ModelConfig, all_rows: int, parts: int) -> list[int]:
    """Rows of each part of a weight."""
    if parts == 1:
        return [all_rows]
    if parts == 3:
        return [heads * config.head_width for heads in (config.heads, config.kv_heads, config.kv_heads)]
    return [all_rows // parts] * parts


def _check_shape(key: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if tuple(found) != expected:
        raise Problem(
            "model_damaged",
            f"the checkpoint's {key} has the shape {tuple(found)}, but its config.json says {expected}; download both again.",
        )


def _copy(part: Stored, into: np.ndarray) -> None:
    rows = max(1, _CHUNK // max(1, math.prod(part.shape[1:])))
    for start in range(0, part.shape[0], rows):
        into[start : start + rows] = part[start : start + rows]


def _check_places(folder: Path) -> None:
    """Raises Problem where a file of the folder is a link out of it, and not into the hub's cache, where one is a pipe or a device, which
    a reader would wait for, or where one is too large.
    """
    if not folder.is_dir():
        raise Problem("model_missing", f"{folder} is no folder; give the folder of a model.")
    own = folder.resolve()
    allowed = [own]
    if own.parent.name == "snapshots" and own.parent.parent.name.startswith("models--"):
        repository = own.parent.parent
        allowed += [
            repository / "blobs",
            repository.parent / "blobs",
        ]  # the hub's client shares some between repositories
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # a link to nothing
            target = path.resolve(strict=True)
            if not any(target.is_relative_to(place) for place in allowed):
                raise Problem(
                    "model_damaged", f"{path.name} in {folder} is a link out of the folder; copy the file itself there."
                )
            if not (target.is_file() or target.is_dir()):
                raise damaged(path, "it is neither a regular file nor a folder")
            read_whole = target.is_file() and path.suffix in (".json", ".txt", ".model", ".jinja")
            if read_whole and target.stat().st_size > _MOST_TOKENIZER_BYTES:
                raise damaged(path, f"it has more than {_MOST_TOKENIZER_BYTES:,} bytes")
