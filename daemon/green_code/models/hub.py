"""The hub: a repository at a revision, through `huggingface_hub`, which knows the user's endpoint, token and cache."""

from __future__ import annotations

import fnmatch
import hashlib
import importlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from msgspec import Struct

from green_code.models.hashes import BLOCK, sha256_of
from green_code.models.places import File, Report, check_disk, is_full, report_from, size_of
from green_code.problems import Problem
from green_code.reading import read_json

SAFETENSORS: Final = (
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "*.safetensors",
    "*.safetensors.index.json",
)
PICKLED: Final = ("config.json", "pytorch_model*.bin*", "vocab.json", "merges.txt", "tokenizer_config.json")
"""Files of a folder in the hub's layout; pickled weights are those of models that were never published otherwise."""
_ATTEMPTS = 5  # to go on with a file, where the last one brought something
_WEIGHTS = (".safetensors", ".bin", ".gguf")


class _Index(Struct, frozen=True):
    """Of weights in several files: tensor → file."""

    weight_map: dict[str, str]


@dataclass(frozen=True)
class Hub:
    """A repository at a revision; `patterns` are those of the files that are wanted."""

    repository: str
    revision: str
    patterns: tuple[str, ...] = SAFETENSORS

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.repository}@{self.revision}".encode()).hexdigest()

    def describe(self) -> str:
        return f"huggingface.co/{self.repository}"

    def fetch(self, file: File | None, folder: Path, report: Report) -> dict[str, str]:
        hub, wanted = _client(self.repository), (file.name,) if file is not None else self.patterns
        report(f"asking {self.describe()}", 0, 0)
        try:
            with _hub_problems(self):
                info = hub.HfApi().model_info(self.repository, revision=self.revision, files_metadata=True)
        except Problem:
            if (cached := self._cached(wanted)) is None:
                raise
            return self._copied(cached, wanted, folder, report)
        files = [f for f in info.siblings if _is_wanted(f.rfilename, wanted)]
        if not any(f.rfilename.endswith(_WEIGHTS) for f in files):
            raise Problem("model_missing", f"{self.describe()} has no file {wanted[-1]} at revision {self.revision}.")
        total = sum(f.size or 0 for f in files)
        check_disk(folder, total - size_of(folder), self.repository)
        found, before = {}, 0
        for f in files:
            published = f.lfs.sha256 if f.lfs is not None else f.blob_id
            target, name = folder / f.rfilename, f.rfilename
            if not target.is_file():
                part = target.with_name(f"{name}.part")
                cached = hub.try_to_load_from_cache(self.repository, name, revision=info.sha)
                if isinstance(cached, str):
                    shutil.copyfile(cached, part)
                else:
                    downloading = report_from(report, f"downloading {name} from {self.describe()}", before, total)
                    self._download(name, info.sha, f.size or 0, part, downloading)
            else:
                part = target  # of an earlier attempt
            found[name] = self._checked(part, published, report_from(report, f"checking {name}", before, total))
            part.replace(target)
            before += f.size or 0
        return found

    def _download(self, name: str, commit: str, size: int, part: Path, report: Callable[[int], None]) -> None:
        """A file of a commit, from where `part` ends. The hub's client does not go on with what another process began."""
        hub = _client(self.repository)
        url = hub.hf_hub_url(self.repository, name, revision=commit)
        headers = {**hub.utils.build_hf_headers(), "Accept-Encoding": "identity"}
        with part.open("ab") as out:
            if out.tell() > size:
                out.truncate(0)
            for attempt in range(_ATTEMPTS):
                report(begin := out.tell())
                if begin >= size:  # also one that an earlier process ended before it was checked
                    return
                try:
                    with _hub_problems(self):
                        _stream(hub, url, headers, out, report)
                except Problem:
                    if out.tell() == begin or attempt == _ATTEMPTS - 1:
                        raise
            if out.tell() >= size:
                return
        raise Problem(
            "model_missing", f"{self.describe()} sent {name} only in part; try again, which goes on where it ended."
        )

    def _cached(self, wanted: Sequence[str]) -> Path | None:
        """The folder of this revision in the user's cache, if it has all that is wanted."""
        hub, names = _client(self.repository), list(wanted)
        with suppress(OSError, ValueError):
            options = {"revision": self.revision, "allow_patterns": names, "local_files_only": True}
            folder = Path(hub.snapshot_download(self.repository, **options))
            needed = {name for name in names if "*" not in name and name != "generation_config.json"}
            for index in folder.glob("*.index.json"):
                needed |= set(read_json(index, _Index).weight_map.values())
            has_weights = any(path.suffix in _WEIGHTS for path in folder.iterdir())
            if has_weights and all((folder / name).is_file() for name in needed):
                return folder
        return None

    def _copied(self, cached: Path, wanted: Sequence[str], folder: Path, report: Report) -> dict[str, str]:
        """Copies of the files in the user's cache, whose names there are their hashes."""
        files = [path for path in sorted(cached.iterdir()) if _is_wanted(path.name, wanted)]
        total = sum(path.stat().st_size for path in files)
        check_disk(folder, total, self.repository)
        found, before = {}, 0
        for path in files:
            checking = report_from(report, f"copying {path.name} from the hub's cache", before, total)
            shutil.copyfile(path, folder / path.name)
            found[path.name] = self._checked(folder / path.name, path.resolve().name, checking)
            before += path.stat().st_size
        return found

    def _checked(self, path: Path, published: str, report: Callable[[int], None]) -> str:
        """The SHA-256; the file is removed if `published` is another one, or for a small file another hash of git's."""
        digest = of_git = sha256_of(path, report)
        if len(published) != len(digest):
            data = path.read_bytes()
            of_git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        if of_git != published:
            path.unlink()
            raise Problem(
                "model_damaged",
                f"{path.name.removesuffix('.part')} from {self.describe()} has another hash than the hub states, and was removed; try again.",
            )
        return digest


def _is_wanted(name: str, patterns: Sequence[str]) -> bool:
    """Files of subfolders are never wanted."""
    return not set(name) & set("/\\:") and any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _client(repository: str) -> Any:
    try:
        huggingface_hub: Any = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise Problem(
            "model_missing", f"downloading {repository} needs the extra 'hub': pip install 'green-code[hub]'."
        ) from error
    huggingface_hub.logging.set_verbosity_error()  # what goes wrong is a Problem
    return huggingface_hub


def _stream(hub: Any, url: str, headers: dict[str, str], out: BinaryIO, report: Callable[[int], None]) -> None:
    """Append what is missing of a file; a server that ignores the range sends it from the beginning."""
    wanted = {**headers, "Range": f"bytes={out.tell()}-"} if out.tell() else headers
    timeout = hub.constants.HF_HUB_DOWNLOAD_TIMEOUT
    with hub.get_session().stream("GET", url, headers=wanted, follow_redirects=True, timeout=timeout) as response:
        hub.utils.hf_raise_for_status(response)
        if out.tell() and response.status_code != 206:
            out.truncate(0)
        for block in response.iter_bytes(BLOCK):
            out.write(block)
            report(out.tell())


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
    except Exception as error:
        # Of httpx, whose module has another name with each of the client's releases, or of the system.
        if not type(error).__module__.startswith("httpx") and (not isinstance(error, OSError) or is_full(error)):
            raise
        raise Problem(
            "model_missing",
            f"{where} cannot be reached, or the connection ended early; check the network (HF_ENDPOINT, HF_HUB_OFFLINE) and "
            "try again, which goes on where it ended.",
        ) from error
