"""A limit on each project's share, and the split into training and held-out files, by whole projects.

Some projects that every corpus has are held out by name, so that the scores of different runs compare. Otherwise, and
among a user's own projects, they are drawn. Where one project is most of the code, its folders are drawn instead (those
below its root, else the innermost ones), and where one folder is most of it, files.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, takewhile
from operator import attrgetter
from pathlib import PurePosixPath

from green_code_lab.corpus.files import Report, SourceFile

_project, _name = attrgetter("project"), attrgetter("name")
Parts = dict[tuple[str, str], list[SourceFile]]
"""Files by (language, "train" or "heldout")."""

HELD_OUT = frozenset(
    (
        *("numpy", "networkx", "pip", "java.logging", "java.net.http", "jdk.jshell", "jdk.jfr"),
        *(
            "java.prefs",
            "ajv",
            "redux",
            "semver",
            "d3-scale",
            "koa",
            "underscore",
            "nlohmann-json3-dev",
            "libcli11-dev",
        ),
        *(
            "golang-github-spf13-cobra-dev",
            "golang-github-gorilla-mux-dev",
            "librust-serde-json-dev",
            "librust-url-dev",
        ),
        *("ruby-thor", "ruby-rack", "php-monolog", "php-twig"),
    )
)
"""Projects (of the JDK: modules) that are never trained on."""

# Characters of a project; Java has few projects, the JDK's modules.
_MAX_CHARACTERS = {"java": 12_000_000}
_OTHERS_MAX_CHARACTERS = 2_000_000
_UNITS = ("project", "folder", "file")
_SHARE = 0.05  # of the characters, where units are drawn
_LEAST, _MOST = 0.01, 0.10  # accepted deviations from that share


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
            if size <= _MAX_CHARACTERS.get(file.language, _OTHERS_MAX_CHARACTERS):
                yield file
            else:
                report.drop("beyond a project's share", file.name)


def split(files: Iterable[SourceFile], seed: int) -> tuple[Parts, dict[str, str]]:
    """Files by part, in an order drawn with `seed`, and the unit by which each language was split.

    The unit is "project", "folder" or "file": the finest that was needed.
    """
    order = list(files)
    random.Random(seed).shuffle(order)
    parts: Parts = {}
    units: dict[str, str] = {}
    for language in sorted({file.language for file in order}):
        chosen = [file for file in order if file.language == language]
        held, found = set[int](), set[str]()
        for own in {file.own for file in chosen}:
            unit, files = _held_out([file for file in chosen if file.own == own], seed)
            held |= set(map(id, files))
            found.add(unit)
        units[language] = max(found, key=_UNITS.index)
        for part in ("train", "heldout"):
            parts[language, part] = [f for f in chosen if (id(f) in held) == (part == "heldout")]
    return parts, units


def _held_out(files: Sequence[SourceFile], seed: int) -> tuple[str, list[SourceFile]]:
    """The unit of the split, and the files that are held out."""
    if named := HELD_OUT & {file.project for file in files if not file.own}:
        return "project", [file for file in files if file.project in named]
    folders = ("folder", _first_folder(files)), ("folder", _folder)
    for unit, key in (("project", _project), *folders, ("file", _name)):
        if drawn := _draw(files, key, seed):
            return unit, [file for file in files if key(file) in drawn]
    smallest = min(files, key=lambda file: len(file.text)).name
    several = len({file.name for file in files}) > 1
    return "file", [file for file in files if several and file.name == smallest]


def _draw(files: Sequence[SourceFile], key: Callable[[SourceFile], str], seed: int) -> frozenset[str]:
    """Units with about a twentieth of the text, in the order of a seeded hash; none where units are too large."""
    sizes: dict[str, int] = {}
    for file in files:
        sizes[key(file)] = sizes.get(key(file), 0) + len(file.text)
    total, drawn, held = sum(sizes.values()), 0, set()

    def order(unit: str) -> bytes:
        return hashlib.sha256(f"{seed} {unit}".encode(errors="surrogateescape")).digest()

    for unit in sorted(sizes, key=order):
        if drawn < _SHARE * total and drawn + sizes[unit] <= _MOST * total:
            drawn += sizes[unit]
            held.add(unit)
    return frozenset(held) if drawn >= _LEAST * total else frozenset()


def _folder(file: SourceFile) -> str:
    return str(PurePosixPath(file.name).parent)


def _first_folder(files: Sequence[SourceFile]) -> Callable[[SourceFile], str]:
    """A file's first folder below the one that holds all of its project's files."""
    roots: dict[str, tuple[str, ...]] = {}
    for file in files:
        folders = PurePosixPath(file.path).parts[:-1]
        pairs = zip(roots.get(file.project, folders), folders, strict=False)
        roots[file.project] = tuple(folder for folder, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def first_folder(file: SourceFile) -> str:
        folders = PurePosixPath(file.path).parts[:-1]
        return "/".join((file.project, *folders[: len(roots[file.project]) + 1]))

    return first_folder
