"""A limit on each project's share of a corpus, so that no project dominates it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import groupby

from green_code_lab.corpus.files import SourceFile
from green_code_lab.corpus.report import Report

# Of a project; Java has few, the JDK's modules.
_MAX_CHARACTERS = {"python": 2_000_000, "java": 12_000_000}


def within_share(files: Iterable[SourceFile], seed: int, report: Report) -> Iterator[SourceFile]:
    """Files up to each project's share, drawn with `seed`; a user's own code without a limit.

    A project may come in several runs (installed, and as a source distribution); they have one share together.
    """
    sizes: dict[tuple[str, str], int] = {}
    for (project, own), group in groupby(files, lambda file: (file.project, file.own)):
        if own:
            yield from group
            continue
        order = list(group)
        random.Random(f"{seed} {project}").shuffle(order)
        for file in order:
            size = sizes[project, file.language] = sizes.get((project, file.language), 0) + len(file.text)
            if size <= _MAX_CHARACTERS[file.language]:
                yield file
            else:
                report.drop("beyond a project's share", file.name)
