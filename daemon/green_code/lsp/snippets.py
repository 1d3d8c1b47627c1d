"""Snippets: lines of other open files that resemble those around the cursor, for models that were trained on whole repositories.

A snippet is a window of lines. Windows are ranked by the Jaccard similarity of their words with those before the cursor, as in
Copilot ("Copilot Internals", Thakkar 2022) and RepoCoder (arXiv 2303.12570). They stand at the front of the prompt, so they stay until
the prompt's window moves: a change there would cost the whole KV cache. Each request reads some lines at most, and a file's words are
kept until it changes.
Must not know: the engine, or how a prompt is laid out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, TypedDict

from green_code.globs import matching_glob
from green_code.languages import OTHER, language_of
from green_code.link.messages import Snippet
from green_code.lsp.documents import with_newlines
from green_code.settings import Settings

if TYPE_CHECKING:
    from green_code.lsp.open_document import OpenDocument

SNIPPETS_AT_MOST: Final = 3
FILES_AT_MOST: Final = 4
"""Those edited last."""
LINES_AT_MOST: Final = 400
"""Of a file, around its last edit."""
LINES_A_REQUEST: Final = 400
"""Whose words are read at most, in about a millisecond."""
LINE_CHARACTERS: Final = 200
"""Of a line, in what is compared and in what is sent."""
_BLOCK: Final = 6  # lines; a window is two blocks
_NEAR: Final = 24  # lines before the cursor that are compared
_LEAST: Final = 0.1  # similarity
_WORD: Final = re.compile(r"[^\W\d]\w\w+")


class Context(TypedDict):
    """Parameters of a request."""

    path: str
    snippets: list[Snippet]


@dataclass
class Words:
    """The words of a document's blocks of lines, read piece by piece."""

    blocks: list[frozenset[str]] = field(default_factory=list)
    _changes: int = -1
    _first: int = 0
    _end: int = 0

    def read(self, entry: OpenDocument, lines_at_most: int) -> int:
        """Go on with about so many lines; returns how many were read. Those of an earlier text are forgotten."""
        lines = entry.document.lines
        if self._changes != entry.changes:
            self._changes, self.blocks = entry.changes, []
            self._first = max(0, min(entry.edited_line - LINES_AT_MOST // 2, len(lines) - LINES_AT_MOST))
            self._end = min(len(lines), self._first + LINES_AT_MOST)
        places = range(self._next, min(self._end, self._next + max(0, lines_at_most)), _BLOCK)
        self.blocks += [_words(lines[place : place + _BLOCK]) for place in places]
        return _BLOCK * len(places)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to read."""
        return self._next >= self._end

    @property
    def _next(self) -> int:
        return self._first + _BLOCK * len(self.blocks)

    def best(self, entry: OpenDocument, words: frozenset[str]) -> tuple[float, str]:
        """The highest similarity of a window, and its text."""
        pairs = zip(self.blocks, [*self.blocks[1:], frozenset[str]()], strict=True)
        scored = [(_similarity(one | other, words), place) for place, (one, other) in enumerate(pairs)]
        score, place = max(scored, key=lambda each: each[0], default=(0.0, 0))
        begin = self._first + _BLOCK * place
        lines = (line[:LINE_CHARACTERS] for line in entry.document.lines[begin : begin + 2 * _BLOCK])
        return score, "\n".join(with_newlines(line).rstrip("\n") for line in lines).rstrip("\n")


@dataclass
class Snippets:
    """Those of one document."""

    _asked: object = None
    _kept: list[Snippet] | None = None

    def context(
        self, entry: OpenDocument, line: int, others: Iterable[OpenDocument], settings: Settings, folders: Sequence[str]
    ) -> Context:
        """For a cursor in a document; empty until the other documents have been read.

        Args:
            others: all open documents. folders: of the workspace.
        """
        path = _relative(entry.document.path, folders)
        window = entry.window if entry.notebook is None else entry.notebook.window
        asked = window.moves, settings, tuple(folders)
        if self._kept is None or self._asked != asked:
            chosen = _candidates(entry, others, settings, folders)
            self._asked, self._kept, left = asked, None, LINES_A_REQUEST
            for other in chosen:
                left -= other.words.read(other, left)
            if all(other.words.is_complete for other in chosen):
                self._kept = _most_similar(entry, line, chosen, folders)
        return Context(path=path, snippets=self._kept or [])


def _candidates(
    entry: OpenDocument, others: Iterable[OpenDocument], settings: Settings, folders: Sequence[str]
) -> list[OpenDocument]:
    """Other files of the same language, the one edited last first. What the user excludes is none of them."""
    own = entry.document.language
    language = language_of(own)
    found = [
        other
        for other in others
        if other is not entry
        and (other.notebook is None or other.notebook is not entry.notebook)
        and other.document.language in settings.languages
        and (other.document.language == own or language_of(other.document.language) is language is not OTHER)
        and not other.document.nul_characters
        and matching_glob(settings.excluded_files, other.document.path, folders) is None
    ]
    return sorted(found, key=lambda other: -other.edited_seconds)[:FILES_AT_MOST]


def _most_similar(
    entry: OpenDocument, line: int, others: Sequence[OpenDocument], folders: Sequence[str]
) -> list[Snippet]:
    """The best window of each, the most similar one last."""
    words = _words(entry.document.lines[max(0, line - _NEAR) : line + 1])
    found = [(*other.words.best(other, words), other) for other in others]
    ranked = sorted((each for each in found if each[0] >= _LEAST), key=lambda each: each[0])
    return [
        Snippet(path=_relative(other.document.path, folders), text=text)
        for _, text, other in ranked[-SNIPPETS_AT_MOST:]
    ]


def _words(lines: Iterable[str]) -> frozenset[str]:
    return frozenset(word for line in lines for word in _WORD.findall(line[:LINE_CHARACTERS]))


def _similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard's: what both have of what either has."""
    both = len(one & other)
    return both / (len(one) + len(other) - both) if both else 0.0


def _relative(path: str, folders: Sequence[str]) -> str:
    """A path in a workspace folder; else its name."""
    pure = PurePosixPath(path)
    return next((str(pure.relative_to(folder)) for folder in folders if pure.is_relative_to(folder)), pure.name)
