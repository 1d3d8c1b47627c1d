"""The store of downloaded checkpoints: `models/KEY/` in the cache, one folder for each content, whichever place it came from.

A checkpoint is complete when it has its receipt, which is written last. Of an attempt that was interrupted the parts stay, for the
next one; what is wrong is removed. One process at a time writes to a folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from green_code.files import replace_file, sync
from green_code.folders import CACHE_VARIABLE, cache_dir
from green_code.lock import ProcessLock
from green_code.models.hashes import sha256_of
from green_code.models.packages import Packages
from green_code.models.places import LocalFile, Place, Report, is_full, report_from
from green_code.models.rows import Row
from green_code.problems import Problem
from green_code.reading import read_json

RECEIPT: Final = "checkpoint.json"
_WAIT_SECONDS = 0.3
State = Literal["available", "partial", "downloaded"]


def models_dir() -> Path:
    """Folder of the checkpoints; may not exist yet."""
    return cache_dir() / "models"


def folder_of(row: Row) -> Path:
    """Where a row's files are, or will be."""
    return models_dir() / row.key


def state_of(row: Row) -> State:
    """Whether its files are here, in part or whole, also those in packages that are installed."""
    folder = folder_of(row)
    if read_receipt(row) is not None or is_installed(row):
        return "downloaded"
    return "partial" if folder.is_dir() and any(path.is_file() for path in folder.rglob("*")) else "available"


def is_installed(row: Row) -> bool:
    """Whether all its parts are in packages of this Python."""
    return any(isinstance(place, Packages) and all(place.installed()) for place in row.places)


def get(row: Row, report: Report, here: Sequence[LocalFile] = ()) -> Path:
    """Have a row's files, from the first place that has them; returns their folder.

    Args:
        here: files of other tools that may be the row's.
    Raises:
        Problem: no place has them, or they cannot be written.
    """
    folder, problems = folder_of(row), []
    if read_receipt(row) is not None:  # also where the cache cannot be written
        return folder
    with locked(row, report):
        if read_receipt(row) is not None:  # another process was faster
            return folder
        for place in sorted((*here, *row.places), key=_remoteness):
            try:
                _fetch(row, place, folder, report)
                return folder
            except Problem as problem:
                if problem.reason in ("cancelled", "cache_unwritable"):
                    raise
                problems.append(problem)
        damaged = [problem for problem in problems if problem.reason == "model_damaged"]
        raise Problem((damaged or problems)[0].reason, " ".join(dict.fromkeys(map(str, problems))))


def _remoteness(place: Place) -> bool:
    """Files on this machine come first."""
    return not (isinstance(place, LocalFile) or (isinstance(place, Packages) and all(place.installed())))


def _fetch(row: Row, place: Place, folder: Path, report: Report) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("pip.*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        found = place.fetch(row.file, folder, report)
        expected = {row.file.name: row.file.sha256} if row.file is not None else row.sha256
        for name, sha256 in expected.items():
            if found.get(name) != sha256:
                shutil.rmtree(folder)
                raise Problem(
                    "model_damaged",
                    f"{name} from {place.describe()} does not have the published SHA-256, and was removed; try again.",
                )
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the hub client's notes
        write_receipt(folder, {"name": row.name, "place": place.describe(), "files": found})
    except OSError as error:
        what = str(error)
        if is_full(error):
            shutil.rmtree(folder, ignore_errors=True)
            what = "the disk is full"
        raise Problem(
            "cache_unwritable",
            f"{row.name} cannot be written to {folder.parent} ({what}); free some space there, or set {CACHE_VARIABLE} to a "
            "folder with room.",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            for part in folder.glob("*.part"):
                if not part.stat().st_size:
                    part.unlink()
            folder.rmdir()  # if nothing is in it


def write_receipt(folder: Path, receipt: dict[str, Any]) -> None:
    """Write what a folder has, which makes it complete."""
    sizes = {name: {"size": (folder / name).stat().st_size, "sha256": sha} for name, sha in receipt["files"].items()}
    for name in sizes:
        sync(folder / name)
    replace_file(folder / RECEIPT, json.dumps({**receipt, "files": sizes}))


def read_receipt(row: Row) -> dict[str, Any] | None:
    """The receipt of a complete checkpoint; None if there is none."""
    try:
        receipt = read_json(folder_of(row) / RECEIPT, dict[str, Any])
    except (OSError, ValueError):
        return None
    files = receipt.get("files")
    described = isinstance(files, dict) and all(
        isinstance(f, dict) and {"size", "sha256"} <= f.keys() for f in files.values()
    )
    return receipt if described and files else None


def verify(row: Row, report: Report = lambda *_: None) -> None:
    """Compare all files with their hashes.

    Raises:
        Problem: a file is missing or changed; the checkpoint is then removed.
    """
    receipt, folder = read_receipt(row), folder_of(row)
    files: dict[str, dict[str, Any]] = receipt["files"] if receipt is not None else {}
    total, before = sum(file["size"] for file in files.values()), 0
    for name, file in files.items():
        published = row.file.sha256 if row.file is not None else file["sha256"]
        checking = report_from(report, f"checking {name}", before, total)
        if not (folder / name).is_file() or sha256_of(folder / name, checking) != published:
            shutil.rmtree(folder)
            raise Problem(
                "model_damaged",
                f"{name} of {row.name} is not as it was published, and was removed; run: green-code models get {row.name}",
            )
        before += file["size"]


def remove(row: Row) -> int:
    """Remove a row's files, parts included; returns the bytes that they had."""
    with locked(row, lambda *_: None):
        return remove_folder(folder_of(row))


def remove_folder(folder: Path) -> int:
    """Remove a folder; returns the bytes that its files had."""
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder, ignore_errors=True)
    return size


@contextlib.contextmanager
def locked(row: Row, report: Report) -> Iterator[None]:
    """Waits until no other process writes to the row's folder.

    Raises:
        Problem: the cache cannot be written.
    """
    try:
        models_dir().mkdir(parents=True, exist_ok=True)
        lock = ProcessLock(models_dir() / f"{row.key}.lock")
        while not lock.acquire({"pid": os.getpid()}):
            report(f"another process is getting {row.name}", 0, row.download_bytes)
            time.sleep(_WAIT_SECONDS)
    except OSError as error:
        raise Problem(
            "cache_unwritable",
            f"the cache {models_dir()} cannot be written ({error.strerror}); set {CACHE_VARIABLE} to a writable folder.",
        ) from error
    try:
        yield
    finally:
        lock.release()
