"""Which rows an experiment decodes, and how: a file's, else held-out projects' of the corpus, else the demo's files."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from green_code.cli.demo import samples
from green_code.link.messages import CompletionParams, Decoding
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem
from green_code.settings import PROMPT_TOKENS, TOKENS_PER_LINE
from green_code_lab.agent.calibrate import held_out_documents
from green_code_lab.corpus import Corpus, open_corpus
from green_code_lab.evaluation.datasets import Row, line_rows, load_rows


def choose_rows(
    data: Sequence[Path], corpus: Path, vocabulary: Vocabulary, limit: int, seed: int
) -> tuple[list[Row], str]:
    """At most `limit` rows per language, drawn with `seed`, and a phrase that says where they are from.

    Raises:
        Problem: a file or the corpus cannot be read, or there are no rows.
    """
    if data:
        rows = [row for path in data for row in load_rows(path)]
        source = f"rows of {' and '.join(path.name for path in data)}"
    elif corpus.is_dir():
        rows = held_out_lines(open_corpus(corpus, vocabulary, 1, 1), vocabulary, seed)
        source = "lines of the corpus' held-out projects, cut at random places"
    else:
        rows = [_sample_row(*sample) for sample in samples()]
        source = "the demo's files (too few for figures; give `--data`)"
    if not rows:
        raise Problem("bad_request", f"There are no {source}; give files that hold rows with --data.")
    return draw(rows, limit, seed), source


def held_out_lines(corpus: Corpus, vocabulary: Vocabulary, seed: int) -> list[Row]:
    """A line of each held-out document that has one, cut at a random place."""
    documents = list(held_out_documents(corpus, vocabulary))
    return line_rows(iter(documents), len(documents), seed)


def draw(rows: Sequence[Row], limit: int, seed: int) -> list[Row]:
    """At most `limit` rows per language, drawn with `seed`."""
    generator, drawn = random.Random(seed), list[Row]()
    for language in sorted({row.language for row in rows}, reverse=True):  # Python before Java
        own = [row for row in rows if row.language == language]
        drawn += generator.sample(own, min(limit, len(own)))
    return drawn


def facts(rows: Sequence[Row], source: str, seed: int) -> dict[str, Any]:
    """What pages say of the rows that `choose_rows` gave, and of how they are completed."""
    return {
        "rows": dict(Counter(row.language for row in rows)),
        "rows_from": source,
        "seed": seed,
        "max_tokens": TOKENS_PER_LINE,
        "max_prompt_tokens": PROMPT_TOKENS,
    }


def from_layer(model: str, layer: int) -> CompletionParams:
    """How a row's line is completed with every token from one fixed layer."""
    return by_policy(model, "fast", f"fixed:{layer}", 1.0)


def by_policy(model: str, decoding: Decoding, policy: str, threshold: float) -> CompletionParams:
    """How a row's line is completed."""
    return {
        "session": "", "prefix": "", "suffix": "", "language": "", "model": model, "decoding": decoding, "policy": policy,
        "threshold": threshold, "max_tokens": TOKENS_PER_LINE, "single_line": True, "max_lines": 1, "max_prompt_tokens": PROMPT_TOKENS,
    }  # fmt: skip


def _sample_row(name: str, before: str, rest: str, after: str) -> Row:
    return Row(name, "java" if name.endswith(".java") else "python", before, after, rest)
