"""Bundles: the files that were trained for one base model. All of them are checked before any is used.

In agent_models/NAME/, manifest.json has the schema, the base model with its SHA-256, the exits, and the SHA-256 of every other
file; `PARTS` are the files that it may list. If a check fails, the bundle is refused with a reason.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from green_code.files import replace_file, sync, sync_folder
from green_code.folders import bundles_dir
from green_code.models.bundle_files import Calibration, Manifest, Version
from green_code.models.hashes import sha256_of
from green_code.models.tensor_files import INTEGERS, read_tensors, tensor_of
from green_code.problems import Problem, refusing
from green_code.reading import decode, read_bytes

SCHEMA = 2  # version of the manifest and the file names
(
    MANIFEST,
    VOCABULARY,
    DELTA,
    LENSES,
    KV_PROJECTIONS,
    SVD_HEAD,
    AGENT,
    STOP_AGENT,
    VALUE_HEADS,
    CALIBRATION,
    NGRAMS,
    GATE,
) = (
    "manifest.json",
    "vocabulary.safetensors",
    "delta.safetensors",
    "lenses.safetensors",
    "kv_projections.safetensors",
    "svd_head.safetensors",
    "agent.safetensors",
    "stop_agent.safetensors",
    "value_heads.safetensors",
    "calibration.json",
    "ngrams.safetensors",
    "gate.json",  # for the front, `lsp/gate.py`
)
PARTS = (VOCABULARY, DELTA, LENSES, KV_PROJECTIONS, SVD_HEAD, AGENT, STOP_AGENT, VALUE_HEADS, CALIBRATION, NGRAMS, GATE)
_NAME_BYTES = 240  # a folder beside the bundle's has a longer name, and file systems allow 255
Part = TypeVar("Part")
_CONVERTED = (VOCABULARY, DELTA, LENSES, SVD_HEAD, KV_PROJECTIONS)  # files from which the cached weights are converted


@dataclass(frozen=True)
class Bundle:
    """A checked bundle."""

    path: Path
    manifest: Mapping[str, Any]
    vocabulary: tuple[int, ...] | None
    calibration: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def exits(self) -> tuple[int, ...]:
        return tuple(self.manifest["exits"])

    @property
    def prefill_exit(self) -> int | None:
        """The layer at which most of a prompt stops in `fast`; None: no KV is propagated."""
        return self.manifest.get("prefill_exit")

    @property
    def weights_key(self) -> str:
        """Identifies what an exact cache computes; rollouts are recorded on one."""
        return self._key(VOCABULARY, DELTA, LENSES, SVD_HEAD)

    @property
    def conversion_key(self) -> str:
        """Identifies the converted weights, the checkpoint that they must be of, and the prefill exit that KV projections must fit."""
        prefill_exit = str(self.prefill_exit) if KV_PROJECTIONS in self.manifest["files"] else ""
        return self._key(*_CONVERTED) + prefill_exit + str(self.manifest["base"]["sha256"])

    @property
    def changes_weights(self) -> bool:
        """Whether the converted weights are other ones than without a bundle."""
        return any(name in self.manifest["files"] for name in _CONVERTED)

    def as_read(self) -> bool:
        """Whether the files that are converted still have the hashes of the manifest that was read."""
        return all(
            (self.path / name).is_file() and sha256_of(self.path / name) == expected
            for name, expected in self.manifest["files"].items()
            if name in _CONVERTED
        )

    @property
    def digest(self) -> str:
        """Identifies the whole bundle."""
        files = self.manifest["files"]
        used = files if self.prefill_exit is None else {**files, "prefill_exit": self.prefill_exit}
        return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()

    def without(self, *parts: str) -> Bundle:
        """The same bundle without these files."""
        files = {name: digest for name, digest in self.manifest["files"].items() if name not in parts}
        return replace(self, manifest={**self.manifest, "files": files})

    @property
    def bare(self) -> Bundle:
        """Nothing of it but the vocabulary."""
        return replace(self.without(*(part for part in PARTS if part != VOCABULARY)), calibration={})

    def _key(self, *parts: str) -> str:
        files = self.manifest["files"]
        return hashlib.sha256("".join(files.get(part, "") for part in parts).encode()).hexdigest()

    def part(self, name: str) -> Path | None:
        """Path of a file of the bundle; None if it has no such file."""
        return self.path / name if name in self.manifest["files"] else None

    def read(self, name: str, reader: Callable[[Path], Part]) -> Part | None:
        """What `reader` makes of a file of the bundle; None where the bundle has no such file.

        Raises:
            Problem: the reader raised something; it says what is wrong with the file.
        """
        if (path := self.part(name)) is None:
            return None
        with refusing(lambda what: self.refusal(f"{name} is damaged ({what})")):
            return reader(path)

    def refusal(self, what: str, fix: str = "fetch the bundle again") -> Problem:
        """Why this bundle is not used."""
        return Problem("bundle_invalid", f"bundle {self.name}: {what}; {fix}.")


def place_of(name: str) -> Path | None:
    """The folder that a bundle of this name has or would have; None where no folder can have the name."""
    return bundles_dir() / name if len(name.encode("utf-8", "surrogatepass")) <= _NAME_BYTES else None


def bundle_of(model: str) -> Bundle | None:
    """The bundle of a model (a name or a folder); None if it has none.

    Raises:
        Problem: see `load_bundle`; a folder with parts of a bundle and no manifest is a damaged one, too.
    """
    if (folder := place_of(Path(model).name)) is None:
        return None
    _restore(folder)
    return load_bundle(folder) if any((folder / name).exists() for name in (MANIFEST, *PARTS)) else None


def load_bundle(path: Path) -> Bundle:
    """Read and check a bundle.

    Raises:
        Problem: the manifest is missing or damaged or has another schema; a file is missing or unknown, or has another hash.
    """

    def refuse(what: str) -> Problem:
        return Problem(
            "bundle_invalid",
            f"bundle {path.name}: {what}; the bundle is refused. Fetch it again, or train it with `green-code adapt`.",
        )

    if not (path / MANIFEST).exists():
        raise refuse(f"{MANIFEST} is missing")
    with refusing(lambda what: refuse(f"{MANIFEST} is damaged ({what})")):
        manifest = read_manifest(path)
    for name, expected in manifest["files"].items():
        if name not in PARTS or not (path / name).is_file():
            raise refuse(f"{MANIFEST} lists {name[:60]}, which is missing or unknown")
        if (found := sha256_of(path / name)) != expected:
            raise refuse(f"{name} has sha256 {found[:8]}… but {MANIFEST} has {expected[:8]}…")
    bundle = Bundle(path, manifest, None, {})
    return replace(
        bundle,
        vocabulary=bundle.read(VOCABULARY, _read_ids),
        calibration=bundle.read(CALIBRATION, lambda file: _read_checked(file, Calibration)) or {},
    )


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest in a bundle's folder; its files are not compared with it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or of another schema.
    """
    manifest = _read_checked(path / MANIFEST, Version)
    if manifest["schema"] != SCHEMA:
        raise ValueError(f"its schema is {manifest['schema']}, this version of Green Code reads {SCHEMA}")
    return _read_checked(path / MANIFEST, Manifest)


def _read_checked(path: Path, kind: type[object]) -> dict[str, Any]:
    """The whole object in a JSON file, whose fields are as `kind` says."""
    content = read_bytes(path)
    decode(content, kind)
    return decode(content, dict[str, Any])


def _read_ids(path: Path) -> tuple[int, ...]:
    ids = tuple(tensor_of(read_tensors(path)[0], "ids", INTEGERS, (None,)).tolist())
    if min(ids) < 0 or len(set(ids)) < len(ids):
        raise ValueError("ids are negative, or one is there twice")
    return ids


@contextlib.contextmanager
def changing(path: Path) -> Iterator[Path]:
    """A copy of a bundle's folder, for changes. When the block ends, it takes the bundle's place, with all changes at once.

    Where the block raises, or the process ends, the bundle is as before. The block writes the manifest.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    _restore(path)
    new, old = _beside(path)
    for left in (new, old):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        if path.exists():
            shutil.copytree(path, new, ignore=shutil.ignore_patterns("*.part", "*.new"))
        else:
            new.mkdir()
        yield new
        sync_folder(new)
        if path.exists():
            path.rename(old)
        new.rename(path)
        sync(path.parent)
    finally:
        _restore(path)
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)


def _beside(path: Path) -> tuple[Path, Path]:
    """Where a bundle's next version is made, and where its last one is for an instant."""
    return path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")


def _restore(path: Path) -> None:
    """A process was killed when it had taken the old version away, and not put the new one there."""
    _, old = _beside(path)
    if not path.exists() and old.exists():
        with contextlib.suppress(OSError):
            old.rename(path)


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write manifest.json with the current schema, and with the present files and their hashes."""
    files = {part: sha256_of(path / part) for part in PARTS if (path / part).is_file()}
    text = json.dumps({"schema": SCHEMA, **manifest} | {"schema": SCHEMA, "files": files}, indent=1)
    replace_file(path / MANIFEST, text + "\n")


def refresh_manifest(path: Path) -> None:
    """Write manifest.json again after a file has changed: the same, with the present files and their hashes."""
    write_manifest(path, read_manifest(path))
