"""Which rows an experiment decodes: a file's, else held-out projects' of the corpus, else the demo's files."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from green_code.adaptation.corpus import open_corpus
from green_code.agent.calibrate import held_out_documents
from green_code.evaluation.datasets import Row, line_rows, load_rows
from green_code.evaluation.demo import samples
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem


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
        opened = open_corpus(corpus, vocabulary, 1, 1)
        documents = list(held_out_documents(opened, vocabulary))
        rows = line_rows(iter(documents), len(documents), seed)
        source = "lines of the corpus' held-out projects, cut at random places"
    else:
        rows = [_sample_row(*sample) for sample in samples()]
        source = "the demo's files (too few for figures; give `--data`)"
    if not rows:
        raise Problem("bad_request", f"There are no {source}; give files that hold rows with --data.")
    generator, drawn = random.Random(seed), list[Row]()
    for language in sorted({row.language for row in rows}, reverse=True):  # Python before Java
        own = [row for row in rows if row.language == language]
        drawn += generator.sample(own, min(limit, len(own)))
    return drawn, source


def _sample_row(name: str, before: str, rest: str, after: str) -> Row:
    return Row(name, "java" if name.endswith(".java") else "python", before, after, rest)
