"""What the engines complete: real code, cut to a number of tokens at the start of a line."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from green_code.cli.demo import samples
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem
from green_code_lab.benchmark.peers import Prompt
from green_code_lab.evaluation.datasets import Row, load_rows

SHORT, LONG = 256, 1024  # tokens
_LINES = re.compile(r"[^\n]*\n+|[^\n]+")  # as the vocabulary splits text


@dataclass(frozen=True)
class Case:
    """One place in a file. `grown` is `short` with the next character typed; `long` has more text before it."""

    id: str
    short: Prompt
    grown: Prompt
    long: Prompt


def choose_rows(data: Sequence[Path], seed: int) -> list[Row]:
    """Rows of the files, drawn with `seed`; without files, the demo's. Raises Problem, as `load_rows` does."""
    if not data:
        return [Row(name, "", before, after, rest) for name, before, rest, after in samples()]
    rows = [row for path in data for row in load_rows(path)]
    return random.Random(seed).sample(rows, min(48, len(rows)))  # more than rounds: some have no case


def cases(rows: Sequence[Row], vocabulary: Vocabulary, short: int = SHORT, long: int = LONG) -> list[Case]:
    """A case for each row that has one. A row with fewer tokens than `short` or `long` continues the rows before it.

    Raises:
        Problem: no row has a line break before its cursor.
    """
    found = [case for i in range(len(rows)) if (case := _case(rows, i, vocabulary, short, long))]
    if not found:
        raise Problem("bad_request", "no row has a whole line before its cursor; give other rows with --data")
    return found


def _case(rows: Sequence[Row], i: int, vocabulary: Vocabulary, short: int, long: int) -> Case | None:
    row = rows[i]
    before, newline, rest = row.prefix.rpartition("\n")
    typed = (rest if row.tokenised else rest + row.reference)[:1]
    if not newline or not typed.strip("\n"):
        return None
    # The nearest text first: this row's, then that of the rows before it.
    texts = [before + newline, *(_source(rows[i - back]) for back in range(1, len(rows)))]
    near = _prompt(_tail(texts, vocabulary, short), vocabulary)
    grown = _prompt(near.text + typed, vocabulary)
    if grown.ids[:-1] != near.ids:
        return None  # the character takes several tokens, or changes the one before it
    return Case(row.id, near, grown, _prompt(_tail(texts, vocabulary, long), vocabulary))


def _prompt(text: str, vocabulary: Vocabulary) -> Prompt:
    start = () if vocabulary.bos is None else (vocabulary.bos,)
    return Prompt((*start, *vocabulary.encode(text)), text)


def _tail(texts: Sequence[str], vocabulary: Vocabulary, tokens: int) -> str:
    """As many of the last lines as fit; at least one."""
    kept, room = "", tokens - (vocabulary.bos is not None)
    for line in chain.from_iterable(reversed(_LINES.findall(text)) for text in texts):
        room -= len(vocabulary.encode(line))
        if room < 0 and kept:
            break
        kept = line + kept
    return kept


def _source(row: Row) -> str:
    """The source text of a row; CodeXGLUE's references are not source text."""
    text = row.prefix if row.tokenised else f"{row.prefix}{row.reference}{row.suffix}"
    return text.rstrip("\n") + "\n"
