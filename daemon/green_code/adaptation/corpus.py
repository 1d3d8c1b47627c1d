"""Training corpora from what a machine already has: installed Python packages, the JDK's source archive.

Only permissively licensed Python projects are taken (by their own metadata), each file is recorded with project,
version and licence, copies are dropped, rows of evaluation data are kept out, and whole projects are held out.
The result is a folder of token shards (uint16, little-endian; each document begins with bos) and corpus.json.

Must not know: models or losses.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import json
import random
import re
import sysconfig
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem

PERMISSIVE = re.compile(
    r"\b(MIT|BSD|Apache|PSF|Python Software Foundation|ISC|Unlicense|0BSD|Zlib|CC0|HPND)\b", re.I
)
"""Licences whose text lets anyone train on and redistribute the source; read from each package's metadata."""

HELD_OUT = {
    "python": ("numpy", "networkx", "pip"),
    "java": ("java.logging", "java.net.http", "jdk.jshell", "jdk.jfr", "java.prefs"),
}
"""Projects (Java: modules) that training never sees."""

JDK_LICENCE = "GPL-2.0-only WITH Classpath-exception-2.0"
_WORDS = re.compile(r"[A-Za-z_]\w+")
_WINDOW = 20  # words in a row that must agree before a file counts as holding an evaluation row
_MAX_FILE_BYTES = 200_000
_MAX_PROJECT_CHARACTERS = 12_000_000  # so that no one project's habits become the corpus
_DATA_MODULES = ("jdk.localedata", "jdk.charsets")  # tables in the form of Java source


@dataclass(frozen=True)
class SourceFile:
    """One file of the corpus, with where it comes from."""

    project: str
    version: str
    licence: str
    path: str
    language: str
    text: str


def python_files() -> Iterator[SourceFile]:
    """The running interpreter's standard library and its permissively licensed packages."""
    library = Path(sysconfig.get_path("stdlib"))
    version = sysconfig.get_python_version()
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).parts
        if parts[0] != "site-packages" and not {"lib2to3", "idlelib", "__phello__"} & set(parts):
            yield from _read("cpython", version, "PSF-2.0", path, "/".join(parts))
    for distribution in sorted(importlib.metadata.distributions(), key=lambda d: d.name or ""):
        licence = _licence(distribution)
        if distribution.name and PERMISSIVE.search(licence):
            for file in distribution.files or []:
                if file.suffix == ".py":
                    path = Path(str(distribution.locate_file(file)))
                    yield from _read(
                        distribution.name.lower(), distribution.version, licence, path, str(file)
                    )


def _licence(distribution: importlib.metadata.Distribution) -> str:
    metadata: Any = distribution.metadata
    found = [
        metadata.get("License-Expression") or "",
        (metadata.get("License") or "").strip().split("\n")[0][:80],
    ]
    found += [
        c.split("::")[-1].strip() for c in metadata.get_all("Classifier") or [] if c.startswith("License")
    ]
    return "; ".join(part for part in found if part)


def _read(project: str, version: str, licence: str, path: Path, name: str) -> Iterator[SourceFile]:
    try:
        if 200 < path.stat().st_size < _MAX_FILE_BYTES:
            yield SourceFile(project, version, licence, name, "python", path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        return  # unreadable or not UTF-8: not code that we can learn from


def java_files(archive: Path) -> Iterator[SourceFile]:
    """The JDK's src.zip (Debian's openjdk-*-source package carries it); a project is a module.

    Raises:
        Problem: the archive is missing or damaged.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            version = _jdk_version(source)
            for name in sorted(source.namelist()):
                if name.endswith(".java") and 500 < source.getinfo(name).file_size < _MAX_FILE_BYTES:
                    text = source.read(name).decode("utf-8", errors="ignore")
                    module = name.split("/")[0]
                    if module in _DATA_MODULES:
                        continue
                    yield SourceFile(module, version, JDK_LICENCE, name, "java", _drop_header(text))
    except (OSError, zipfile.BadZipFile) as error:
        raise Problem(
            "model_missing",
            f"the JDK's sources cannot be read from {archive} ({error}); `make adapt` fetches them.",
        ) from error


def _jdk_version(source: zipfile.ZipFile) -> str:
    """As the sources themselves say it (they include the generated class that `java -version` prints from)."""
    try:
        text = source.read("java.base/java/lang/VersionProps.java").decode("utf-8")
    except KeyError:
        return "unknown"
    found = re.search(r'java_version\s*=\s*"([^"]+)"', text)
    return found.group(1) if found else "unknown"


def _drop_header(text: str) -> str:
    """Without the licence comment that opens every JDK file: its 25 lines would be a tenth of the corpus."""
    return re.sub(r"\A/\*.*?\*/\s*", "", text, flags=re.S)


def evaluation_windows(files: Iterable[Path]) -> set[int]:
    """Hashes of runs of 20 words in evaluation rows ({prefix, suffix, reference} or CodeXGLUE's {input, gt})."""
    windows: set[int] = set()
    for path in files:
        opener: Any = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as rows:
            for line in rows:
                row = json.loads(line)
                windows.update(
                    _windows(
                        " ".join(str(row.get(key, "")) for key in ("input", "gt", "prefix", "reference"))
                    )
                )
    return windows


def _windows(text: str) -> Iterator[int]:
    skipped = {"EOL", "STR_LIT", "NUM_LIT", "CHAR_LIT"}
    words = [w for w in _WORDS.findall(text) if w not in skipped]
    for i in range(len(words) - _WINDOW):
        yield hash(tuple(words[i : i + _WINDOW]))


def clean(files: Iterable[SourceFile], excluded: set[int], report: dict[str, int]) -> Iterator[SourceFile]:
    """Drop copies (equal up to white space) and files that share a run of words with evaluation rows."""
    seen: set[bytes] = set()
    for file in files:
        digest = hashlib.sha256(" ".join(file.text.split()).encode()).digest()
        if digest in seen:
            report["copies"] = report.get("copies", 0) + 1
            continue
        seen.add(digest)
        if excluded and sum(w in excluded for w in set(_windows(file.text))) >= 3:
            report["evaluation"] = report.get("evaluation", 0) + 1
            continue
        yield file


def held_out(file: SourceFile) -> bool:
    return file.project in HELD_OUT[file.language]


def write_shards(
    folder: Path,
    files: Sequence[SourceFile],
    vocabulary: Vocabulary,
    tokens_per_language: int,
    seed: int,
    dropped: dict[str, int],
) -> dict[str, Any]:
    """Shuffle, encode and write `{language}-{train,heldout}.bin` and corpus.json; returns the latter's content.

    Args:
        tokens_per_language: where to stop for the training shard; a held-out shard stops at a twentieth of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if len(vocabulary) > 1 << 16:
        raise Problem(
            "bundle_invalid",
            f"shards are uint16, and the vocabulary has {len(vocabulary)} tokens; prune it first.",
        )
    order = shuffled_and_capped(files, seed)
    summary: dict[str, Any] = {
        "seed": seed,
        "vocabulary": len(vocabulary),
        "dropped": dropped,
        "shards": {},
        "projects": {},
    }
    for language in sorted({file.language for file in order}):
        for part, want in (("train", tokens_per_language), ("heldout", tokens_per_language // 20)):
            chosen = [f for f in order if f.language == language and held_out(f) == (part == "heldout")]
            used, count, ids = [], 0, []
            for file in chosen:
                if count >= want:
                    break
                document = [vocabulary.bos or 0, *vocabulary.encode(file.text)]
                ids.append(np.asarray(document, np.uint16))
                count += len(document)
                used.append(file)
            if not ids:
                raise Problem(
                    "bad_request",
                    f"the corpus has no {language} files for {part}; install packages or give --jdk.",
                )
            np.concatenate(ids).tofile(folder / f"{language}-{part}.bin")
            summary["shards"][f"{language}-{part}"] = {"tokens": count, "files": len(used)}
            for file in used:
                key = f"{file.project} {file.version}"
                entry = summary["projects"].setdefault(
                    key, {"licence": file.licence, "part": part, "files": 0}
                )
                entry["files"] += 1
    (folder / "files.jsonl").write_text(
        "".join(json.dumps({k: v for k, v in asdict(f).items() if k != "text"}) + "\n" for f in order)
    )
    (folder / "corpus.json").write_text(json.dumps(summary, indent=1))
    return summary


def shuffled_and_capped(files: Sequence[SourceFile], seed: int) -> list[SourceFile]:
    """In an order drawn with `seed`, without what a project has beyond its share."""
    order = list(files)
    random.Random(seed).shuffle(order)
    sizes: dict[str, int] = {}
    kept = []
    for file in order:
        sizes[file.project] = sizes.get(file.project, 0) + len(file.text)
        if sizes[file.project] <= _MAX_PROJECT_CHARACTERS:
            kept.append(file)
    return kept


def open_shard(folder: Path, name: str) -> np.ndarray:
    """Memory-mapped token ids of one shard, e.g. "python-train"."""
    path = folder / f"{name}.bin"
    if not path.is_file():
        raise Problem("bad_request", f"{path} is missing; run `green-code adapt corpus` first.")
    return np.memmap(path, np.uint16, "r")
