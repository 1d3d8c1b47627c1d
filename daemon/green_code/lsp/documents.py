"""Open documents as lists of lines, which the editor's edits change in place.

LSP ends lines at \\n, \\r\\n and \\r only. pygls's own documents use str.splitlines, which also ends lines at form feeds
and other characters that source files contain. An edit costs as much as the lines that it touches, in a file of any size.
Must not know: prompts, guards, or the protocol's types beyond positions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal
from urllib.parse import unquote, urlparse

Encoding = Literal["utf-8", "utf-16", "utf-32"]

_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\n|\r|\Z)")


def split_lines(text: str) -> list[str]:
    """Lines with their ends. The last line has no end and may be empty, so there is always one line."""
    lines: list[str] = _LINE.findall(text)
    if len(lines) > 1 and lines[-2][-1:] not in ("\n", "\r"):
        lines.pop()  # the pattern also matches the empty string after a last line without an end
    return lines


def with_newlines(text: str) -> str:
    """The text with \\n as the only line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def uri_path(uri: str) -> str:
    """The path of a URI as it is written there; empty where it has none or is no URI."""
    try:
        return urlparse(uri).path
    except ValueError:
        return ""


def units_to_index(line: str, units: int, encoding: Encoding) -> int:
    """Code points of `line` before a column in the client's units; a column inside a character counts as before it."""
    if encoding == "utf-32" or (line.isascii() and units >= 0):
        return max(0, min(units, len(line)))
    seen = 0
    for index, point in enumerate(map(ord, line)):
        if encoding == "utf-16":
            seen += 2 if point > 0xFFFF else 1
        else:
            seen += 1 if point < 0x80 else 2 if point < 0x800 else 3 if point < 0x10000 else 4
        if seen > units:
            return index
    return len(line)


def units_of(text: str, encoding: Encoding) -> int:
    """The length of a text in the client's units; it may have lone surrogates, as an editor's may."""
    if encoding == "utf-32" or text.isascii():
        return len(text)
    length = len(text.encode("utf-8" if encoding == "utf-8" else "utf-16-le", "surrogatepass"))
    return length if encoding == "utf-8" else length // 2


@dataclass(frozen=True)
class Span:
    """An edit's range in the client's units, lines from 0."""

    start_line: int
    start_units: int
    end_line: int
    end_units: int


@dataclass(frozen=True)
class Edit:
    """The effect of an edit on line numbers: lines `first` to `last` became `lines` lines."""

    first: int
    last: int
    lines: int

    @property
    def added(self) -> int:
        """Lines added; negative if lines were removed."""
        return self.lines - (self.last - self.first + 1)


class Document:
    """One open document."""

    def __init__(self, uri: str, language: str, text: str, encoding: Encoding) -> None:
        self.uri = uri
        self.language = language
        self._encoding = encoding
        self.replace(text)

    @property
    def path(self) -> str:
        """The path, unescaped and with slashes; the name if the document was never saved."""
        return str(PurePosixPath(unquote(uri_path(self.uri) or self.uri).replace("\\", "/")))

    def replace(self, text: str) -> None:
        """Replace the whole text."""
        self.lines = split_lines(text)
        self.characters = len(text)
        self.nul_characters = text.count("\0")

    def apply(self, span: Span, text: str) -> Edit:
        """Replace a range; a position beyond the text means its end, as in LSP."""
        first, start = self.locate(span.start_line, span.start_units)
        last, end = self.locate(span.end_line, span.end_units)
        if (last, end) < (first, start):
            first, start, last, end = last, end, first, start
        old = self.lines[first : last + 1]
        joined = self.lines[first][:start] + text + self.lines[last][end:]
        if joined.endswith("\r") and last + 1 < len(self.lines) and self.lines[last + 1].startswith("\n"):
            last += 1  # a \r directly before a \n is one line end with it
            old.append(self.lines[last])
            joined += self.lines[last]
        if first > 0 and self.lines[first - 1].endswith("\r") and joined.startswith("\n"):
            first -= 1
            old.insert(0, self.lines[first])
            joined = self.lines[first] + joined
        new = split_lines(joined)
        if last + 1 < len(self.lines) and new[-1] == "":
            new.pop()  # what follows the last line end is the next line, which is not replaced
        self.lines[first : last + 1] = new
        self.characters += len(joined) - sum(map(len, old))
        self.nul_characters += joined.count("\0") - sum(line.count("\0") for line in old)
        return Edit(first, last, len(new))

    def locate(self, line: int, units: int) -> tuple[int, int]:
        """Line and code point index of a position in the client's units, clamped to the text."""
        if line < 0:
            return 0, 0
        if line >= len(self.lines):
            return len(self.lines) - 1, len(self.lines[-1])
        text = self.lines[line]
        index = units_to_index(text, units, self._encoding)
        return line, min(index, len(text.rstrip("\r\n")) if text[-1:] in ("\n", "\r") else len(text))
