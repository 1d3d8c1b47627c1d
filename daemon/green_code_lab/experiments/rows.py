"""Which rows and files an experiment completes, and how: given files, else held-out projects of the corpus, else the demo's."""

from __future__ import annotations

import argparse
import random
from collections import Counter
from typing import Any

from green_code.engine.loading import Runtime

from green_code.cli.demo import samples
from green_code.link.messages import CompletionParams, Decoding
from green_code.problems import Problem
from green_code.settings import PROMPT_TOKENS, TOKENS_PER_LINE
from green_code_lab.agent.calibrate import held_out_documents
from green_code_lab.corpus import open_corpus
from green_code_lab.evaluation.datasets import Row, line_rows, load_rows
from green_code_lab.experiments.pages import language_name


def choose_rows(runtime: Runtime, args: argparse.Namespace) -> tuple[list[Row], dict[str, Any]]:
    """At most `args.limit` rows per language, drawn with `args.seed`, and settings for the page that say which.

    Raises:
        Problem: a file or the corpus cannot be read, or there are no rows.
    """
    generator, drawn = random.Random(args.seed), list[Row]()
    if args.data:
        rows = [row for path in args.data for row in load_rows(path)]
        source = f"rows of {' and '.join(path.name for path in args.data)}"
    else:
        texts, source = documents(runtime, args)
        rows, source = (
            line_rows(iter(texts), len(texts), args.seed),
            f"lines of {source}, cut at random places",
        )
    if not rows:
        raise Problem("bad_request", f"There are no {source}; give files that hold rows with --data.")
    for language in sorted({row.language for row in rows}, reverse=True):  # Python before Java
        own = [row for row in rows if row.language == language]
        drawn += generator.sample(own, min(args.limit, len(own)))
    completion = f"at most {TOKENS_PER_LINE} tokens, after at most {PROMPT_TOKENS} tokens of prompt"
    return drawn, {
        "data": drawn_from(source, [row.language for row in drawn], args.seed),
        "completion": completion,
    }


def documents(runtime: Runtime, args: argparse.Namespace) -> tuple[list[tuple[str, str]], str]:
    """(language, text) of whole files, in their own order; and where they are from."""
    corpus, vocabulary = args.work / "corpus", runtime.vocabulary
    if corpus.is_dir():
        found = list(held_out_documents(open_corpus(corpus, vocabulary, 1, 1), vocabulary))
        source = "files of held-out projects of the corpus"
    else:
        found = [
            ("java" if name.endswith(".java") else "python", before + rest + after)
            for name, before, rest, after in samples()
        ]
        source = "the demo's files (too few for figures: make a corpus)"
    return found, source


def shuffled(texts: list[tuple[str, str]], generator: random.Random) -> list[tuple[str, str]]:
    """Python before Java, each in an order drawn at random."""
    generator.shuffle(texts)
    return sorted(texts, key=lambda text: text[0], reverse=True)


def drawn_from(source: str, languages: list[str], seed: int) -> str:
    """For the page: `rows of x.jsonl; 50 of Python and 50 of Java, drawn with seed 0`."""
    counts = (f"{number} of {language_name(name)}" for name, number in Counter(languages).items())
    return f"{source}; {' and '.join(counts)}, drawn with seed {seed}"


def by_policy(model: str, decoding: Decoding, policy: str, threshold: float = 1.0) -> CompletionParams:
    """How a line is completed."""
    return {
        "session": "", "prefix": "", "suffix": "", "language": "", "model": model, "decoding": decoding, "policy": policy,
        "threshold": threshold, "max_tokens": TOKENS_PER_LINE, "single_line": True, "max_lines": 1, "max_prompt_tokens": PROMPT_TOKENS,
    }  # fmt: skip
