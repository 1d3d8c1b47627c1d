"""Token shards on disk, described by corpus.json.

A shard is `{language}-{train,heldout}.bin`: uint16 (uint32 where a vocabulary has more than 65,536 tokens),
little-endian, each document after its marker, memory-mapped. files.jsonl lists the files with project, version and
licence. A new corpus is written beside the old one and then moved; a folder without corpus.json is no corpus.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem
from green_code_lab.corpus.files import SourceFile
from green_code_lab.corpus.split import Parts

ABOUT = "corpus.json"
_FILES = "files.jsonl"
_PARTS = ("train", "heldout")
_HELD_OUT_SHARE = 20  # a held-out shard stops at a twentieth of what the training shard may have
LEAST_HELD_OUT = 4_096
"""Tokens of a language to score, to record rollouts and to calibrate on, at least."""
_CHARACTERS_PER_TOKEN = 2  # fewer than code has, so that the estimated room is enough
_RUN_AGAIN = "run `green-code adapt corpus` again"


def fingerprint(vocabulary: Vocabulary) -> str:
    """SHA-256, hexadecimal, of the special ids and each token's bytes."""
    digest = hashlib.sha256(f"{vocabulary.bos} {sorted(vocabulary.eos)}".encode())
    for token in vocabulary.token_bytes:
        digest.update(len(token).to_bytes(4, "little") + token)
    return digest.hexdigest()


def document_marker(vocabulary: Vocabulary) -> int:
    """The id before each document: bos, or the end-of-text id where a model has no bos."""
    return vocabulary.bos if vocabulary.bos is not None else min(vocabulary.eos, default=0)


def id_type(vocabulary: Vocabulary) -> np.dtype[Any]:
    """The type of ids in a shard."""
    return np.dtype("<u2" if len(vocabulary) <= 1 << 16 else "<u4")


def write_shards(
    folder: Path,
    parts: Parts,
    vocabulary: Vocabulary,
    tokens_per_language: int,
    minimum_tokens: int,
    minimum_held_out: int,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Encode into shards, files.jsonl and corpus.json; returns the latter's content.

    Raises Problem where no language has enough, or the disk is full; an older corpus then stays intact.

    Args:
        tokens_per_language: where a training shard stops, so that languages are balanced.
        minimum_tokens, minimum_held_out: a language with fewer tokens of a part is left out.
        about: more content of corpus.json.
    """
    needed = _room_needed(parts, tokens_per_language, id_type(vocabulary).itemsize)
    shards: dict[str, dict[str, int]] = {}
    left_out: dict[str, dict[str, int]] = {}
    projects: dict[str, dict[str, Any]] = {}
    with _writing(folder, needed), (folder / f"{_FILES}.part").open("w", encoding="utf-8") as listed:
        for language in sorted({language for language, _ in parts}):
            written = {}
            for part in _PARTS:
                limit = tokens_per_language
                if part == "heldout":
                    limit = max(limit // _HELD_OUT_SHARE, minimum_held_out)
                path = folder / f"{language}-{part}.bin.part"
                written[part] = _write_shard(path, parts[language, part], vocabulary, limit)
            if written["train"][0] < minimum_tokens or written["heldout"][0] < minimum_held_out:
                left_out[language] = {part: tokens for part, (tokens, _) in written.items()}
                continue
            for part, (tokens, files) in written.items():
                shards[f"{language}-{part}"] = {"tokens": tokens, "files": len(files)}
                for file in files:
                    entry = {"part": part, **asdict(file)}
                    del entry["text"]
                    listed.write(json.dumps(entry) + "\n")
                    key = f"{file.project} {file.version}".strip()
                    project = projects.setdefault(key, {"licence": file.licence, "parts": {}})
                    project["parts"][part] = project["parts"].get(part, 0) + 1
        if not shards:
            found = ", ".join(
                f"{tokens['train']} tokens of {language} and {tokens['heldout']} held out"
                for language, tokens in left_out.items()
            )
            raise Problem(
                "bad_request",
                f"the corpus is too small: {found or 'no tokens'}, and at least {minimum_tokens} of a language to train on and {minimum_held_out} in projects to hold out are needed; give more code (--from, --sources).",
            )
        summary = {
            "vocabulary": {"size": len(vocabulary), "fingerprint": fingerprint(vocabulary)},
            **about,
            "left_out": left_out,
            "shards": shards,
            "projects": projects,
        }
        (folder / f"{ABOUT}.part").write_text(json.dumps(summary, indent=1), "utf-8")
        listed.close()
        _move_into_place(folder, [*(f"{name}.bin" for name in shards), _FILES, ABOUT])
    return summary


def _room_needed(parts: Parts, tokens_per_language: int, bytes_per_token: int) -> int:
    """Bytes: the tokens, and a line of files.jsonl a file."""
    characters = [sum(len(file.text) for file in files) for files in parts.values()]
    tokens = sum(min(tokens_per_language, count // _CHARACTERS_PER_TOKEN) for count in characters)
    return bytes_per_token * tokens + 500 * sum(map(len, parts.values()))


@contextmanager
def _writing(folder: Path, needed: int) -> Iterator[None]:
    """Removes unfinished parts where writing fails; the Problem names the needed room."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise OSError(f"{free / 1e6:.0f} MB are free")
        yield
    except BaseException as error:
        _remove(folder.glob("*.part"))
        if not isinstance(error, OSError):
            raise
        raise Problem(
            "cache_unwritable",
            f"the corpus cannot be written to {folder} ({error.strerror or error}); it needs about {needed / 1e6:.0f} MB: free some space, or use another --work folder.",
        ) from error


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _write_shard(
    path: Path, files: Sequence[SourceFile], vocabulary: Vocabulary, limit: int
) -> tuple[int, list[SourceFile]]:
    """Writes whole files until the limit is passed; returns the tokens and the files."""
    marker, tokens, used = document_marker(vocabulary), 0, []
    with path.open("wb") as shard:
        for file in files:
            if tokens >= limit:
                break
            document = np.array([marker, *vocabulary.encode(file.text)], id_type(vocabulary))
            shard.write(document.tobytes())
            tokens += len(document)
            used.append(file)
    return tokens, used


def _move_into_place(folder: Path, names: Sequence[str]) -> None:
    (folder / ABOUT).unlink(missing_ok=True)
    _remove(folder.glob("*.bin"))
    for name in names:
        (folder / f"{name}.part").replace(folder / name)
    _remove(folder.glob("*.part"))  # of languages left out


@dataclass(frozen=True)
class Corpus:
    """An opened corpus: (tokens,) ids, memory-mapped, by (language, "train" or "heldout")."""

    shards: Mapping[tuple[str, str], np.ndarray]
    document_marker: int

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(sorted({language for language, _ in self.shards}))

    def token_counts(self) -> np.ndarray:
        """(K,) occurrences of each id in the training shards; ids from K on have none."""
        counts = np.zeros(0, np.int64)
        for language in self.languages:
            own = np.bincount(self.shards[language, "train"], minlength=len(counts))
            own[: len(counts)] += counts
            counts = own
        return counts

    def document_starts(self, language: str, part: str) -> np.ndarray:
        """(documents,) places of the markers in a shard, ascending."""
        return np.flatnonzero(self.shards[language, part] == self.document_marker)


def open_corpus(folder: Path, vocabulary: Vocabulary, train_tokens: int, heldout_tokens: int) -> Corpus:
    """The corpus of `folder`, checked as a whole; the token counts are minima of its shards.

    Raises Problem where there is no corpus, or it is of another tokenizer, empty, too small, or incomplete.
    """
    digest, shard_tokens = _about(folder)
    if digest != fingerprint(vocabulary):
        raise Problem(
            "bad_request",
            f"the corpus in {folder} was encoded with another tokenizer than the bundle's; {_RUN_AGAIN}, or use the bundle's --work folder.",
        )
    if not shard_tokens:
        raise Problem(
            "bad_request", f"the corpus in {folder} is empty; {_RUN_AGAIN} with more code (--from, --sources)."
        )
    shards, stored = {}, id_type(vocabulary)
    for name, tokens in shard_tokens.items():
        language, part = name.rsplit("-", 1)
        path = folder / f"{name}.bin"
        size = path.stat().st_size if path.is_file() else 0
        if size != (expected := stored.itemsize * tokens):
            raise Problem("bad_request", f"{path} has {size} bytes instead of {expected}; {_RUN_AGAIN}.")
        least = train_tokens if part == "train" else heldout_tokens
        if tokens < max(1, least):
            raise Problem(
                "bad_request",
                f"{path} has {tokens} tokens, and at least {max(1, least)} are needed; {_RUN_AGAIN} with more code (--from, --sources).",
            )
        shards[language, part] = np.memmap(path, stored, "r")
    return Corpus(shards, document_marker(vocabulary))


def corpus_digest(folder: Path) -> str:
    """SHA-256, hexadecimal, of corpus.json: changes when the shards do."""
    return hashlib.sha256((folder / ABOUT).read_bytes()).hexdigest()


def _about(folder: Path) -> tuple[str, dict[str, int]]:
    """Fingerprint of the vocabulary, and tokens by shard, from corpus.json."""
    path = folder / ABOUT
    if not path.is_file():
        raise Problem("bad_request", f"{folder} has no corpus; run `green-code adapt corpus` first.")
    try:
        content = json.loads(path.read_text("utf-8"))
        tokens = {str(name): int(shard["tokens"]) for name, shard in content["shards"].items()}
        return content["vocabulary"]["fingerprint"], tokens
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Problem("bad_request", f"{path} is damaged or of an older version ({error!r}); {_RUN_AGAIN}.") from error
