"""GGUF files that other tools have downloaded: Ollama, LM Studio, llama.cpp and the hub's client. They are read, never changed.

A file whose SHA-256 is a catalog row's is that row's, whatever its name. Hashes are computed only for files of a row's size, and kept
with the file's time and size.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from green_code.models.gguf_source import ARCHITECTURES
from green_code.models.hashes import sha256_of
from green_code.models.places import LocalFile
from green_code.models.rows import Row
from green_code.models.store import models_dir
from green_code.reading import read_json

_OLLAMA_MODEL = "application/vnd.ollama.image.model"
_MOST_FILES = 1000  # that are looked at, of each tool
_HEADER_BYTES = 1 << 16
_STRING = 8
_SCALAR_BYTES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # type → size


@dataclass(frozen=True)
class ToolFile:
    """A GGUF file of another tool; `name` is what that tool calls it."""

    path: Path
    tool: str
    name: str
    size: int


class _OllamaLayer(Struct, frozen=True):
    media_type: str = field(name="mediaType")
    digest: str


class _OllamaManifest(Struct, frozen=True):
    layers: list[_OllamaLayer]


def tool_files() -> list[ToolFile]:
    """All of them that can be read here, by tool and name."""
    found: dict[Path, ToolFile] = {}
    for file in (*_ollama(), *_folders()):
        with suppress(OSError):
            found.setdefault(file.path.resolve(), file)
    return sorted(
        (f for f in found.values() if architecture_of(f.path) in ARCHITECTURES), key=lambda f: (f.tool, f.name)
    )


def same_content(row: Row, files: Iterable[ToolFile]) -> list[LocalFile]:
    """Those of `files` that are the row's file."""
    if row.file is None:
        return []
    same = []
    for file in files:
        with suppress(OSError):  # it cannot be read, or was removed meanwhile
            if file.size == row.file.size and _sha256(file.path) == row.file.sha256:
                same.append(LocalFile(file.path, file.tool))
    return same


def architecture_of(path: Path) -> str | None:
    """The architecture that a GGUF file states; None if it is no such file, or does not state it near its beginning."""
    try:
        with path.open("rb") as file:
            data = file.read(_HEADER_BYTES)
        magic, version, _, count = struct.unpack_from("<4sIQQ", data)
        at = 24
        if magic != b"GGUF" or version not in (2, 3):
            return None
        for _ in range(min(count, 64)):
            key, at = _text(data, at)
            (kind,) = struct.unpack_from("<I", data, at)
            if kind == _STRING:
                value, at = _text(data, at + 4)
                if key == "general.architecture":
                    return value
            else:
                at += 4 + _SCALAR_BYTES[kind]
    except (OSError, struct.error, KeyError, UnicodeDecodeError):
        pass
    return None


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    end = at + 8 + length
    if end > len(data):
        raise struct.error("a string ends outside the header")
    return data[at + 8 : end].decode(), end


def _sha256(path: Path) -> str:
    """A file's hash, computed once for its time and size."""
    kept = models_dir() / "hashes.json"
    info = path.stat()
    key = f"{path.resolve()} {info.st_mtime_ns} {info.st_size}"
    hashes: dict[str, str] = {}
    with suppress(OSError, ValueError):
        hashes = read_json(kept, dict[str, str])
    if key not in hashes:
        hashes[key] = sha256_of(path)
        with suppress(OSError):  # a read-only cache
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps(hashes), "utf-8")
            part.replace(kept)
    return hashes[key]


def _ollama() -> Iterator[ToolFile]:
    """Ollama keeps files by content: a manifest for each name and tag has the digest of the model's file."""
    for root in (
        *([Path(chosen)] if (chosen := os.environ.get("OLLAMA_MODELS")) else []),
        Path.home() / ".ollama/models",
        Path("/usr/share/ollama/.ollama/models"),  # as a service
    ):
        for manifest in _files(root / "manifests", "*"):
            with suppress(OSError, ValueError):
                for layer in read_json(manifest, _OllamaManifest).layers:
                    if layer.media_type == _OLLAMA_MODEL:
                        path = root / "blobs" / Path(layer.digest.replace(":", "-")).name
                        name = f"{manifest.parent.name}:{manifest.name}"
                        yield ToolFile(path, "Ollama", name, path.stat().st_size)


def _folders() -> Iterator[ToolFile]:
    home, cache = Path.home(), Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    hub = Path(os.environ.get("HF_HOME") or cache / "huggingface") / "hub"
    llama = {
        "darwin": home / "Library/Caches/llama.cpp",
        "win32": Path(os.environ.get("LOCALAPPDATA", home)) / "llama.cpp",
    }
    for tool, folder in (
        ("LM Studio", home / ".lmstudio/models"),
        ("LM Studio", cache / "lm-studio/models"),
        ("llama.cpp", Path(os.environ.get("LLAMA_CACHE") or llama.get(sys.platform, cache / "llama.cpp"))),
        ("Hugging Face", Path(os.environ.get("HF_HUB_CACHE") or hub)),
    ):
        for path in _files(folder, "*.gguf"):
            with suppress(OSError):
                yield ToolFile(path, tool, path.stem, path.stat().st_size)


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    with suppress(OSError):
        yield from islice((path for path in folder.rglob(pattern) if path.is_file()), _MOST_FILES)
