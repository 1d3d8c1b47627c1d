"""Places at which files are typed again: a span of lines, with the file before and after it.

Held-out projects are divided once. What is learned from replays is learned on training projects, every choice is made on
`CHOICE`, and the projects of `FINAL` are kept away from all choices.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from green_code.models.vocabulary import Vocabulary
from green_code_lab.corpus import Corpus

Part = Literal["train", "choice", "final"]
FINAL_PROJECTS = frozenset(("networkx", "java.net.http", "java.prefs"))
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


def documents(corpus: Corpus, folder: Path, vocabulary: Vocabulary, part: Part) -> Iterator[tuple[str, str, str]]:
    """(project, language, text) of a part's files, in the order of the shards."""
    of = "train" if part == "train" else "heldout"
    projects: dict[str, list[str]] = {}
    for line in (folder / "files.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        if entry["part"] == of:
            projects.setdefault(entry["language"], []).append(entry["project"])
    for language in corpus.languages:
        ids = corpus.shards[language, of]
        bounds = itertools.pairwise([*corpus.document_starts(language, of), len(ids)])
        for project, (start, end) in zip(projects[language], bounds, strict=True):
            if part == "train" or (project in FINAL_PROJECTS) == (part == "final"):
                yield project, language, vocabulary.decode(int(i) for i in ids[start + 1 : end])


def draw_spans(files: Iterator[tuple[str, str, str]], per_language: int, lines: int, seed: int) -> list[Span]:
    """At most one span of each file, at most `per_language` of each language, drawn with `seed`."""
    generator, order, counts = random.Random(seed), list(files), dict[str, int]()
    generator.shuffle(order)
    found = []
    for project, language, text in order:
        if counts.get(language, 0) < per_language and (span := _draw(project, language, text, lines, generator)):
            counts[language] = counts.get(language, 0) + 1
            found.append(span)
    return found


def _draw(project: str, language: str, text: str, lines: int, generator: random.Random) -> Span | None:
    """Begins and ends with a line that is not blank; None where the file has no such place."""
    every = text.splitlines(keepends=True)
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
    return Span(project, language, "".join(every[:start]), typed, "" if at_end else "\n" + "".join(every[end:]))
