"""Rows of the projects that every corpus holds out (`corpus.split.HELD_OUT`): lines of their files, cut at random places; and a corpus's
held-out documents.

The packages are those of the corpus's lists, cached in its folder; Python and C are those of installed packages.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from green_code.models.vocabulary import Vocabulary
from green_code_lab.corpus import Corpus, debian, npm
from green_code_lab.corpus.debian import debian_files
from green_code_lab.corpus.files import Report, SourceFile
from green_code_lab.corpus.installed import installed_files
from green_code_lab.corpus.jdk import jdk_files
from green_code_lab.corpus.npm import npm_files
from green_code_lab.corpus.split import HELD_OUT
from green_code_lab.evaluation.datasets import Row, line_rows


def held_out_documents(corpus: Corpus, vocabulary: Vocabulary) -> Iterator[tuple[str, str]]:
    """(language, text) of the held-out shards' documents."""
    for language in corpus.languages:
        ids = corpus.shards[language, "heldout"]
        for start, end in itertools.pairwise([*corpus.document_starts(language, "heldout"), len(ids)]):
            yield language, vocabulary.decode(int(i) for i in ids[start + 1 : end])


def held_out_files(work: Path, jdk: Sequence[Path], report: Report) -> Iterator[SourceFile]:
    """All files of held-out projects. Packages that are missing in `work` are downloaded.

    Args:
        work: the corpus's folder, with `npm` and `debian` in it. jdk: archives like the JDK's src.zip; without them there is no Java.
    Raises:
        Problem: an archive is missing or damaged, or npm or apt is missing.
    """
    scripts = [(name, version) for name, version in npm.listed(npm.LIST.read_text("utf-8")) if name in HELD_OUT]
    packages = [name for name in debian.listed(debian.LIST.read_text("utf-8")) if name in HELD_OUT]
    yield from installed_files(report, HELD_OUT)
    yield from npm_files(scripts, work / "npm", report)
    yield from debian_files(packages, work / "debian", report)
    for archive in jdk:
        yield from (file for file in jdk_files(archive, report) if file.project in HELD_OUT)


def held_out_rows(files: Iterable[SourceFile], per_language: int, seed: int) -> list[Row]:
    """At most `per_language` rows. Projects take turns, and so do the files of each, so that none has more rows than it must."""
    languages: dict[str, dict[str, list[SourceFile]]] = {}
    for file in files:
        languages.setdefault(file.language, {}).setdefault(file.project, []).append(file)
    rows: list[Row] = []
    for language in sorted(languages):
        projects, generator = list(languages[language].values()), random.Random(f"{seed} {language}")
        for own in projects:
            generator.shuffle(own)
        turns = [file for turn in itertools.zip_longest(*projects) for file in turn if file is not None]
        often = itertools.islice(itertools.cycle(turns), max(per_language, len(turns)))
        cut = line_rows(((language, file.text) for file in often), per_language, seed)
        rows += {row.prefix: row for row in cut}.values()  # no place twice
    return rows
