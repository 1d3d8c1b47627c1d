"""Bundles: the files that were trained for one base model. All of them are checked before any is used.

In agent_models/NAME/, manifest.json has the schema, the base model with its SHA-256, the exits, and the SHA-256 of every other
file; `PARTS` are the files that it may list. If a check fails, the bundle is refused with a reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file

from green_code.folders import bundles_dir
from green_code.models.hashes import sha256_of
from green_code.problems import Problem

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
        """Identifies the converted weights, and the prefill exit that KV projections must fit."""
        prefill_exit = str(self.prefill_exit) if KV_PROJECTIONS in self.manifest["files"] else ""
        return self._key(*_CONVERTED) + prefill_exit

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

    def _key(self, *parts: str) -> str:
        files = self.manifest["files"]
        return hashlib.sha256("".join(files.get(part, "") for part in parts).encode()).hexdigest()

    def part(self, name: str) -> Path | None:
        """Path of a file of the bundle; None if it has no such file."""
        return self.path / name if name in self.manifest["files"] else None


def bundle_of(model: str) -> Bundle | None:
    """The bundle of a model (a name or a folder); None if it has none.

    Raises:
        Problem: see `load_bundle`.
    """
    folder = bundles_dir() / Path(model).name
    return load_bundle(folder) if (folder / MANIFEST).is_file() else None


def load_bundle(path: Path) -> Bundle:
    """Read and check a bundle.

    Raises:
        Problem: the manifest is missing or damaged or has another schema; a file is missing or unknown, or has another hash.
    """

    def refuse(what: str) -> Problem:
        return Problem(
            "bundle_invalid",
            f"bundle {path.name}: {what}; the bundle is refused. Fetch it again, or see `green-code doctor`.",
        )

    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        schema, files, exits = manifest["schema"], manifest["files"], manifest["exits"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise refuse(f"{MANIFEST} is missing or damaged ({error})") from error
    if schema != SCHEMA:
        raise refuse(f"its schema is {schema}, this version of Green Code reads {SCHEMA}")
    depths = isinstance(exits, list) and all(isinstance(e, int) and e > 0 for e in exits)
    if not depths or exits != sorted(set(exits)):
        raise refuse(f"its exits {exits} are not ascending layers")
    prefill_exit = manifest.get("prefill_exit")
    if prefill_exit is not None and not (type(prefill_exit) is int and exits and 0 < prefill_exit <= exits[-1]):
        raise refuse(f"its prefill exit {prefill_exit} is no layer up to its last exit")
    if not isinstance(files, dict):
        raise refuse("its list of files is damaged")
    if not isinstance(manifest.get("base"), dict) or "sha256" not in manifest["base"]:
        raise refuse("it does not name its base model")
    for name, expected in files.items():
        if name not in PARTS or not (path / name).is_file():
            raise refuse(f"{name} is missing or unknown")
        if (found := sha256_of(path / name)) != expected:
            raise refuse(f"{name} has sha256 {found[:8]}… but {MANIFEST} has {str(expected)[:8]}…")
    vocabulary = None
    calibration: Mapping[str, Any] = {}
    try:
        if VOCABULARY in files:
            vocabulary = tuple(int(i) for i in load_file(path / VOCABULARY)["ids"])
        if CALIBRATION in files:
            calibration = json.loads((path / CALIBRATION).read_text("utf-8"))
    except (SafetensorError, KeyError, ValueError) as error:
        raise refuse(f"a part cannot be read ({error})") from error
    return Bundle(path, manifest, vocabulary, calibration)


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write manifest.json with the current schema, and with the present files and their hashes."""
    files = {part: sha256_of(path / part) for part in PARTS if (path / part).is_file()}
    text = json.dumps({"schema": SCHEMA, **manifest} | {"schema": SCHEMA, "files": files}, indent=1)
    part = path / f"{MANIFEST}.part"
    part.write_text(text + "\n", "utf-8")
    part.replace(path / MANIFEST)


def refresh_manifest(path: Path) -> None:
    """Write manifest.json again after a file has changed: the same, with the present files and their hashes."""
    write_manifest(path, json.loads((path / MANIFEST).read_text("utf-8")))
