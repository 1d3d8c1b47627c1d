"""Members of zip and tar archives, read one by one. Nothing is unpacked, so no member's name can do harm."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from green_code.problems import Problem
from green_code_lab.corpus.files import read_bytes

SUFFIXES = (".zip", ".jar", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_DAMAGE = (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError)
_UNSUPPORTED = (RuntimeError, NotImplementedError)  # zipfile's, for encryption and rare compressions


def members(archive: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[PurePosixPath, bytes]]:
    """(name, content up to a source file's limit) of the regular members with such names.

    Raises Problem where the archive is missing, damaged, encrypted, or of an unknown kind.
    """
    read = _zip_members if archive.name.lower().endswith((".zip", ".jar")) else _tar_members
    try:
        yield from read(archive, suffixes)
    except (*_DAMAGE, *_UNSUPPORTED) as error:
        damaged = isinstance(error, _DAMAGE)
        fix = "fetch it again, or leave it out" if damaged else "unpack it and give the folder"
        raise Problem("bad_request", f"{archive} cannot be read ({error}); {fix}.") from error


def _zip_members(archive: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[PurePosixPath, bytes]]:
    with zipfile.ZipFile(archive) as source:
        for entry in sorted(source.infolist(), key=lambda entry: entry.filename):
            if entry.filename.endswith(suffixes) and not entry.is_dir():
                with source.open(entry) as file:
                    yield PurePosixPath(entry.filename), read_bytes(file)


def _tar_members(archive: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[PurePosixPath, bytes]]:
    with tarfile.open(archive) as source:
        for entry in source:
            if entry.isfile() and entry.name.endswith(suffixes) and (file := source.extractfile(entry)):
                yield PurePosixPath(entry.name), read_bytes(file)
