"""What the engines complete: real code, cut to a number of tokens at the start of a line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem
from green_code_lab.benchmark.peer import Prompt
from green_code_lab.evaluation.datasets import Row

_LINES = re.compile(r"[^\n]*\n+|[^\n]+")  # as the vocabulary parts text: a line owns the line breaks after it


@dataclass(frozen=True)
class Case:
    """One place in a file. `grown` is `short` with the next character typed, `long` has more text before it."""

    id: str
    short: Prompt
    grown: Prompt
    long: Prompt


def cases(rows: Sequence[Row], vocabulary: Vocabulary, short: int, long: int) -> Iterator[Case]:
    """A case for each row that has one, without end: after the last row the first one's comes again.

    Args:
        short, long: the most tokens of the prompts. Where a row has less, the rows before it stand before it.
    Raises:
        Problem: no row has a line break before its cursor.
    """
    found = [case for i in range(len(rows)) if (case := _case(rows, i, vocabulary, short, long))]
    if not found:
        raise Problem(
            "bad_request", "no row has a whole line before its cursor; give files of rows with --data."
        )
    return itertools.cycle(found)


def _case(rows: Sequence[Row], i: int, vocabulary: Vocabulary, short: int, long: int) -> Case | None:
    row = rows[i]
    before, newline, rest = row.prefix.rpartition("\n")
    typed = (rest if row.tokenised else rest + row.reference)[:1]
    if not newline or not typed.strip("\n"):
        return None
    text = before + newline
    near = _prompt(_tail(rows, i, text, vocabulary, short), vocabulary)
    grown = _prompt(near.text + typed, vocabulary)
    if grown.ids[:-1] != near.ids:
        return None  # the character takes several tokens, or another one before it
    return Case(row.id, near, grown, _prompt(_tail(rows, i, text, vocabulary, long), vocabulary))


def _prompt(text: str, vocabulary: Vocabulary) -> Prompt:
    start = () if vocabulary.bos is None else (vocabulary.bos,)
    return Prompt((*start, *vocabulary.encode(text)), text)


def _tail(rows: Sequence[Row], i: int, text: str, vocabulary: Vocabulary, tokens: int) -> str:
    """As many of the last lines as fit; at least one."""
    kept: list[str] = []
    room = tokens - (vocabulary.bos is not None)
    for part in (text, *(_whole(rows[i - back]) for back in range(1, len(rows)))):
        for line in reversed(_LINES.findall(part)):
            room -= len(vocabulary.encode(line))
            if room < 0 and kept:
                return "".join(reversed(kept))
            kept.append(line)
    return "".join(reversed(kept))


def _whole(row: Row) -> str:
    """What is source text of a row: CodeXGLUE's references are not."""
    text = row.prefix if row.tokenised else f"{row.prefix}{row.reference}{row.suffix}"
    return text.rstrip("\n") + "\n"
