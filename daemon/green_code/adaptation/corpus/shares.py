"""No project is more than its share of a corpus, so that the habits of a few do not become the model's."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import groupby

from green_code.adaptation.corpus.files import SourceFile
from green_code.adaptation.corpus.report import Report

_MAX_CHARACTERS = {
    "python": 2_000_000,
    "java": 12_000_000,
}  # a project; Java has fewer, they are the JDK's modules


def within_share(files: Iterable[SourceFile], seed: int, report: Report) -> Iterator[SourceFile]:
    """Files up to each project's share, drawn with `seed`; a user's own code is taken whole.

    Files of one project must follow each other.
    """
    for (project, own), group in groupby(files, lambda file: (file.project, file.own)):
        if own:
            yield from group
            continue
        order, sizes = list(group), dict.fromkeys(_MAX_CHARACTERS, 0)
        random.Random(f"{seed} {project}").shuffle(order)
        for file in order:
            sizes[file.language] += len(file.text)
            if sizes[file.language] <= _MAX_CHARACTERS[file.language]:
                yield file
            else:
                report.drop("beyond a project's share", file.name)
