"""Places at which files are typed again: a span of lines, with the file before and after it.

Held-out projects are divided once. What is learned from replays is learned on training projects, every choice is made on
`choice`, and the projects of `final` are kept away from all choices.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from green_code.models.vocabulary import Vocabulary
from green_code_lab.corpus import Corpus

Part = Literal["train", "choice", "final"]
FINAL_PROJECTS = frozenset(("networkx", "java.net.http", "java.prefs"))
"""In the languages in which they are; see `kept_away`."""
_BEFORE_LINES = 10  # at least, before the first line that is typed
_LINE_CHARACTERS = 400  # longer lines are data
_AT_END = 4  # one span of so many is typed at the end of its file


@dataclass(frozen=True)
class Span:
    """`text` is typed between `before` and `after`; it ends without a line break."""

    project: str
    language: str
    before: str
    text: str
    after: str

    @cached_property
    def cursors(self) -> tuple[int, ...]:
        """Ascending offsets into `text` at which the cursor rests: before the first key and after each.

        A key is a character. The editor indents, so that a line break and the indentation after it are one key.
        """
        found, i = [_indentation(self.text, 0)], _indentation(self.text, 0)
        while i < len(self.text):
            i = _indentation(self.text, i + 1) if self.text[i] == "\n" else i + 1
            found.append(i)
        return tuple(found)

    def document_at(self, cursor: int) -> tuple[list[str], int, int]:
        """The lines of the document when the cursor rests there, the cursor's line, and its place in it."""
        typed = self.before + self.text[: self.cursors[cursor]]
        head = typed.splitlines(keepends=True) if typed else [""]
        if head[-1].endswith("\n"):
            head.append("")
        rest, newline, after = self.after.partition("\n")
        lines = [*head[:-1], head[-1] + rest + newline, *after.splitlines(keepends=True)]
        return lines, len(head) - 1, len(head[-1])

    @property
    def keys(self) -> int:
        return len(self.cursors) - 1


def _indentation(text: str, start: int) -> int:
    """The end of the indentation that begins at `start`."""
    while start < len(text) and text[start] in " \t":
        start += 1
    return start


class Document(NamedTuple):
    """A file of the corpus; `text` decodes it."""

    project: str
    language: str
    text: Callable[[], str]


def documents(corpus: Corpus, folder: Path, vocabulary: Vocabulary, part: Part) -> list[Document]:
    """A part's files, in the order of the shards."""
    of = "train" if part == "train" else "heldout"
    projects: dict[str, list[str]] = {}
    for line in (folder / "files.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        if entry["part"] == of:
            projects.setdefault(entry["language"], []).append(entry["project"])
    found = list[Document]()
    for language in corpus.languages:
        ids, own = corpus.shards[language, of], projects[language]
        bounds = itertools.pairwise([*corpus.document_starts(language, of).tolist(), len(ids)])
        away = kept_away(own)
        for project, (start, end) in zip(own, bounds, strict=True):
            if part == "train" or (project in away) == (part == "final"):
                found.append(Document(project, language, partial(_decoded, vocabulary, ids, start + 1, end)))
    return found


def _decoded(vocabulary: Vocabulary, ids: np.ndarray, start: int, end: int) -> str:
    return vocabulary.decode(ids[start:end].tolist())


def kept_away(projects: Iterable[str]) -> frozenset[str]:
    """Of a language's held-out projects those of the part `final`: the named ones, else every second one."""
    held_out = sorted(set(projects), key=lambda project: hashlib.sha256(project.encode()).digest())
    return FINAL_PROJECTS.intersection(held_out) or frozenset(held_out[1::2])


def draw_spans(files: Sequence[Document], per_language: int, lines: int, seed: int) -> list[Span]:
    """At most one span of each file, at most `per_language` of each language; drawn with `seed`.

    The languages take turns, so that the first spans are balanced over them, and those of fewer are the first of those of more.
    """
    by_language = dict[str, list[Document]]()
    for file in files:
        by_language.setdefault(file.language, []).append(file)
    drawn = [_draw_from(own, per_language, lines, f"{seed} {language}") for language, own in by_language.items()]
    return [span for turn in itertools.zip_longest(*drawn) for span in turn if span is not None]


def _draw_from(files: list[Document], count: int, lines: int, seed: str) -> list[Span]:
    """Of one language. No more files are decoded than are needed."""
    generator = random.Random(seed)
    drawn = (
        _draw(file, lines, random.Random(f"{seed} {number}"))
        for number, file in enumerate(generator.sample(files, len(files)))
    )
    return list(itertools.islice((span for span in drawn if span is not None), count))


def _draw(file: Document, lines: int, generator: random.Random) -> Span | None:
    """Begins and ends with a line that is not blank; None where the file has no such place."""
    every = file.text().splitlines(keepends=True)
    starts = [
        i
        for i in range(_BEFORE_LINES, len(every) - lines)
        if every[i].strip()
        and every[i + lines - 1].strip()
        and all(len(line) <= _LINE_CHARACTERS for line in every[i : i + lines])
    ]
    if not starts:
        return None
    start = generator.choice(starts)
    end = start + lines
    at_end = generator.randrange(_AT_END) == 0
    typed = "".join(every[start:end]).rstrip("\n")
    return Span(
        file.project, file.language, "".join(every[:start]), typed, "" if at_end else "\n" + "".join(every[end:])
    )
