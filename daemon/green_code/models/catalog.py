"""Finding a model: by its catalog name, by the name of a bundle, or by the path of a folder or of a GGUF file.

Nothing is downloaded here (`store.py` does). `tiny-random` is generated, for tests.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from green_code.folders import bundles_dir
from green_code.models import store
from green_code.models.bundle import MANIFEST, place_of, read_manifest
from green_code.models.hugging_face import FolderSource
from green_code.models.rows import DEFAULT, ROWS, TINY, Row
from green_code.models.sources import Source
from green_code.problems import Problem, refusing, shown

__all__ = ["DEFAULT", "TINY", "Found", "base_of_bundle", "find_model"]


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
    """Find a model by its catalog name, a path, or the name of a bundle, which gives the bundle's base model.

    Args:
        verify: also compare the checkpoint with its published hash (seconds).
    Raises:
        Problem: the model is unknown, not on this computer or damaged; the message names the fix.
    """
    if name == TINY:
        from green_code.models.tiny import TinySource

        return Found(name, "tiny-2", TinySource)
    if name in ROWS:
        found = _stored(ROWS[name])
    elif (base := base_of_bundle(name)) not in (None, name):
        if base_of_bundle(str(base)) not in (None, base) and base not in ROWS:
            raise Problem(
                "bundle_invalid", f"bundle {name} is for {base}, which is itself a bundle; give --model the base model."
            )
        return find_model(str(base), verify)
    else:
        found = _local(name)
    if verify:
        found.verify()
    return found


def _stored(row: Row) -> Found:
    if store.state_of(row) != "downloaded":
        raise Problem("model_missing", f"{row.name} is not on this computer; run: green-code models get {row.name}")
    if row.pickled and (store.folder_of(row) / "config.json").is_file() and not _has_safetensors(row):
        raise Problem("model_missing", f"{row.name} has pickled weights; run: green-code models convert {row.name}")

    @functools.cache  # parts in packages are joined once
    def folder() -> Path:
        return store.get(row, lambda *_: None)

    @functools.cache  # a quarter of a second
    def verified() -> None:
        folder()
        try:
            store.verify(row)
        except Problem:
            if not store.is_installed(row):
                raise
            store.get(row, lambda *_: None)

    @functools.cache
    def opened() -> Source:
        verified()
        return _gguf(folder() / row.file.name) if row.file is not None else FolderSource(folder())

    return Found(row.name, row.key, opened, verified)


def _gguf(path: Path) -> Source:
    from green_code.models.gguf_source import GgufSource  # a second, for what only a conversion needs

    return GgufSource(path)


def _has_safetensors(row: Row) -> bool:
    return any(store.folder_of(row).glob("*.safetensors"))


def _local(name: str) -> Found:
    path, is_file, is_folder = _at(name)
    if is_file and path.suffix.lower() == ".gguf":
        info = path.stat()
        return Found(name, f"{path.resolve()}-{info.st_size}-{info.st_mtime_ns}", functools.cache(lambda: _gguf(path)))
    if is_folder:
        try:
            # Of a link its own time: it may only lead into this folder, or to a file that has its hash as a name.
            files = [(file.name, info.st_size, info.st_mtime_ns) for file in path.iterdir() if (info := file.lstat())]
        except OSError as error:
            raise Problem("model_missing", f"{path} cannot be read ({error.strerror}).") from error
        key = f"{path.resolve()}-{hashlib.sha256(repr(sorted(files)).encode()).hexdigest()}"

        def check() -> None:
            FolderSource(path)  # reads the configuration; there is no published hash

        return Found(name, key, lambda: FolderSource(path), check)
    known = ", ".join([*ROWS, *(bundle for bundle in _bundles() if bundle not in ROWS)])
    raise Problem("model_missing", f"model {shown(name)} is neither a folder, nor a GGUF file, nor one of {known}.")


def _at(name: str) -> tuple[Path, bool, bool]:
    """A path, and whether there is a file or a folder; neither where no path can have this name."""
    path = Path(name)
    try:
        path = path.expanduser()
        return path, path.is_file(), path.is_dir()
    except (OSError, RuntimeError, ValueError):  # a name too long, `~` of an unknown user, NUL
        return path, False, False


def base_of_bundle(name: str) -> str | None:
    """The base model of the bundle `name`; None if there is no such bundle.

    Raises:
        Problem: its manifest is damaged.
    """
    folder = place_of(name)
    if Path(name).name != name or folder is None or not (folder / MANIFEST).exists():
        return None
    with refusing(
        lambda what: Problem("bundle_invalid", f"bundle {name}: {MANIFEST} is damaged ({what}); fetch it again.")
    ):
        return str(read_manifest(folder)["base"]["model"])


def _bundles() -> list[str]:
    return sorted(path.parent.name for path in bundles_dir().glob(f"[!.]*/{MANIFEST}"))
