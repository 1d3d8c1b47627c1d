"""Brackets, strings and comments of a text, read from the left with the signs of its language.

It is no grammar: an apostrophe inside a word is taken for prose, and a regular expression is recognised by what stands before it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from green_code.languages import Language
from green_code.lexical import CLOSERS, OPENERS

_WORD = re.compile(r"\w+$")
_STRING_PREFIXES = frozenset(["r", "u", "b", "f", "br", "rb", "fr", "rf"])  # of Python's strings


@dataclass(frozen=True)
class Reading:
    """
    Args:
        brackets: with their places; those in strings are left out, and those in comments, except in the one in which the text begins.
        spans: beginning and end of each string and comment; one that does not end goes to the text's end.
        inside: what began the string or comment in which the text ends; "" in code.
        broken: where strings began that a line break ended.
    """

    brackets: list[tuple[int, str]]
    spans: list[tuple[int, int]]
    inside: str
    broken: list[int]

    def within(self, place: int) -> bool:
        """Whether a string or comment goes over a place."""
        return any(start < place < end for start, end in self.spans)


def read(text: str, language: Language, inside: str = "") -> Reading:
    """
    Args:
        inside: of the text before it.
    """
    brackets, spans, place, begun = list[tuple[int, str]](), list[tuple[int, int]](), 0, 0
    broken = list[int]()
    counts = inside in language.line_comments or inside in dict(language.block_comments)
    signs = _signs(language)
    while True:
        sign = (_ends(language, inside) if inside else signs).search(text, place)
        if sign is None:
            break
        written, start, place = sign.group(), sign.start(), sign.end()
        if inside:
            if written in OPENERS + CLOSERS:
                if counts:
                    brackets.append((start, written))
            elif not written.startswith("\\"):
                spans.append((begun, place))
                if written == "\n" and inside in language.quotes:
                    broken.append(begun)
                inside, counts = "", False
        elif written in OPENERS or written in CLOSERS:
            brackets.append((start, written))
        elif _begins(written, language) and not _is_apostrophe(written, text, start):
            inside, begun = written, start
    if inside:
        spans.append((begun, len(text) + 1))
    return Reading(brackets, spans, inside, broken)


def opened(brackets: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Those that are left open, the outer ones first."""
    left: list[tuple[int, str]] = []
    for place, bracket in brackets:
        if bracket in OPENERS:
            left.append((place, bracket))
        elif left:
            left.pop()
    return left


def unowned(brackets: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Those that close what the text has not opened."""
    depth, found = 0, []
    for place, bracket in brackets:
        if bracket in OPENERS:
            depth += 1
        elif depth:
            depth -= 1
        else:
            found.append((place, bracket))
    return found


def _begins(written: str, language: Language) -> bool:
    comments = (*language.line_comments, *(start for start, _ in language.block_comments))
    return written in comments or written in language.quotes or written in language.long_quotes


def _is_apostrophe(written: str, text: str, place: int) -> bool:
    """Whether it stands inside a word, as in comments and prose."""
    if written != "'" or not text[place + 1 : place + 2].isalpha():
        return False
    before = _WORD.search(text, max(0, place - 8), place)
    return before is not None and before.group().lower() not in _STRING_PREFIXES


@lru_cache
def _signs(language: Language) -> re.Pattern[str]:
    fixed = [
        *language.line_comments, *(start for start, _ in language.block_comments), *language.long_quotes, *language.quotes,
        *OPENERS, *CLOSERS,
    ]  # fmt: skip
    signs = map(re.escape, sorted(set(fixed), key=len, reverse=True))
    return re.compile("|".join([r"\\.", *filter(None, [language.literals]), *signs]), re.DOTALL)


@lru_cache
def _ends(language: Language, inside: str) -> re.Pattern[str]:
    """What ends a string or comment, and what stands inside it."""
    if (end := dict(language.block_comments).get(inside)) is not None:
        return re.compile(f"{re.escape(end)}|[][(){{}}]")
    if inside in language.line_comments:
        return re.compile(r"\n|[][(){}]")
    line_end = "" if inside in language.long_quotes else r"|\n"
    return re.compile(rf"\\.|{re.escape(inside)}{line_end}", re.DOTALL)
