"""What training does to full depth, where code is like the corpus and where it is not.

Rows are lines of held-out projects, and lines of small functions of our own in ten languages, `unlike.txt`, which are in no corpus. Each is
completed at full depth before and after. What loses beyond chance on rows of one kind, and more than what an SVD head may cost, is not shipped.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from green_code.decoding.kv_cache import KVCache
from green_code.models.backend import Backend
from green_code.models.vocabulary import Vocabulary, text_of
from green_code.problems import Problem
from green_code_lab.corpus import Corpus
from green_code_lab.evaluation.datasets import Row, line_rows
from green_code_lab.evaluation.held_out import held_out_documents
from green_code_lab.evaluation.metrics import bootstrap_interval, edit_similarity, mean

HELD_OUT, UNLIKE = "held-out projects", "unlike the corpus"
NOTICEABLE = 0.5
"""Points of edit similarity. With hundreds of rows a smaller loss can be beyond chance; it is recorded, and the bundle may ship."""
_FILE = Path(__file__).with_name("unlike.txt")
_LINES = 160  # of held-out projects, of all languages
_MOST_TOKENS = 24  # of a line
_CONTEXT = 512  # tokens before it


@dataclass(frozen=True)
class Change:
    """Mean edit similarities (0 … 100) of one kind of rows, and the 95 % interval of the mean difference by row."""

    rows: int
    before: float
    after: float
    interval: tuple[float, float]

    @classmethod
    def between(cls, before: Sequence[float], after: Sequence[float]) -> Change:
        """Of edit similarities of the same rows."""
        differences = [b - a for a, b in zip(before, after, strict=True)]
        return cls(len(differences), mean(before), mean(after), bootstrap_interval(differences))

    @property
    def loses(self) -> bool:
        """More than chance explains, and more than anybody would notice."""
        return self.interval[1] < 0 and self.before - self.after > NOTICEABLE


Changes = Mapping[str, Change]
"""By kind of rows."""


def texts() -> list[tuple[str, str]]:
    """(language, text) of the functions that are in no corpus."""
    blocks = _FILE.read_text("utf-8").removeprefix("### ").split("\n### ")
    return [(language, text.strip("\n")) for language, _, text in (block.partition("\n") for block in blocks)]


def unlike_rows() -> list[Row]:
    """Each line of the functions that has four or more characters, but the two with which one begins."""
    rows = list[Row]()
    for number, (language, text) in enumerate(texts()):
        lines = text.split("\n")
        for i, line in enumerate(lines[2:], 2):
            if len(line.strip()) >= 4:
                prefix, suffix = "\n".join([*lines[:i], ""]), "\n".join(["", *lines[i + 1 :]])
                rows.append(Row(f"{language}-{number}-{i}", language, prefix, suffix, line))
    return rows


def held_out_lines(corpus: Corpus, vocabulary: Vocabulary, seed: int) -> list[Row]:
    """Lines of the corpus's held-out documents, about as many of each language."""
    documents = list(held_out_documents(corpus, vocabulary))
    random.Random(seed).shuffle(documents)
    return line_rows(iter(documents), max(1, _LINES // len(corpus.languages)), seed)


def watch(
    before: Backend, after: Backend, vocabulary: Vocabulary, corpus: Corpus, seed: int, report: Callable[[str], None]
) -> Changes:
    """Complete the rows with both at full depth."""
    changes = {
        HELD_OUT: compare(before, after, vocabulary, held_out_lines(corpus, vocabulary, seed)),
        UNLIKE: compare(before, after, vocabulary, unlike_rows()),
    }
    for kind, change in changes.items():
        low, high = change.interval
        report(
            f"full depth on {change.rows} lines, {kind}: edit similarity {change.before:.1f} before, {change.after:.1f} after (difference {low:+.1f} to {high:+.1f})"
        )
    return changes


def check(changes: Changes) -> None:
    """Raises Problem where a kind of rows loses."""
    if lost := [kind for kind, change in changes.items() if change.loses]:
        raise Problem(
            "bad_request",
            f"full depth completes {' and '.join(f'lines of the kind {kind!r}' for kind in lost)} worse than before, beyond chance: this training is not shipped. Keep the layers frozen (--recipe frozen), or train on more and other code with a lower --rate.",
        )


def record(changes: Changes) -> dict[str, dict[str, Any]]:
    """For a manifest."""
    return {kind: {**vars(change), "interval": list(change.interval)} for kind, change in changes.items()}


def compare(before: Backend, after: Backend, vocabulary: Vocabulary, rows: Sequence[Row]) -> Change:
    """Both on the same rows, each line from its beginning: within a word, tokens would have to be healed."""
    lines = [(above, begun + row.reference) for row in rows for above, _, begun in [row.prefix.rpartition("\n")]]
    scores = [
        [edit_similarity(complete_line(decoder, vocabulary, above + "\n"), line) for above, line in lines]
        for decoder in (before, after)
    ]
    return Change.between(*scores)


def complete_line(decoder: Backend, vocabulary: Vocabulary, prefix: str) -> str:
    """The line that follows, greedy, at full depth, from the text above it alone."""
    start = [] if vocabulary.bos is None else [vocabulary.bos]
    cache, layers, data = KVCache(decoder), decoder.config.layers, b""
    context = min(_CONTEXT, decoder.config.max_positions - _MOST_TOKENS - len(start))
    cache.append([*start, *vocabulary.encode(prefix)[-context:]])
    for _ in range(_MOST_TOKENS):
        position = len(cache) - 1
        cache.advance(position, layers, position)
        token = cache.top_tokens([position], layers)[0].token
        if token in vocabulary.eos or token >= len(
            vocabulary
        ):  # some checkpoints pad the head with rows that are no tokens
            break
        data += vocabulary.token_bytes[token]
        if b"\n" in data.lstrip(b" \t\n"):
            break
        cache.append([token])
    return text_of(data).strip().partition("\n")[0]
