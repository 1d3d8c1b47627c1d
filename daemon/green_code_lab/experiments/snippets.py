"""Whether lines of other files of a project, put before the prompt as comments, make completions better.

Rows are lines of held-out projects' files, cut at random places and completed cold at full depth. The files that lie
nearest to a row's in its project stand for those that are open beside it. The snippet is the window of their lines whose
identifiers are the most like those of the lines before the cursor (Jaccard's index, as in Copilot's neighbouring tabs).
It comes at the expense of the text or on top of it, chosen for the cursor's own place; and as an editor could have it:
only where there is room left, and chosen while there was half as much text, as the beginning of a prompt must not change
while one types.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from green_code.engine.runtime import load_runtime
from green_code.link.messages import CompletionParams, CompletionResult
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem
from green_code.settings import PROMPT_TOKENS
from green_code_lab.corpus.files import SourceFile
from green_code_lab.corpus.installed import installed_files
from green_code_lab.corpus.jdk import jdk_files
from green_code_lab.corpus.report import Report
from green_code_lab.evaluation.datasets import Row, line_rows, rows_digest
from green_code_lab.evaluation.metrics import bootstrap_interval
from green_code_lab.evaluation.run import evaluate, summarise
from green_code_lab.experiments.provenance import provenance
from green_code_lab.experiments.rows import draw, from_layer

ROOM = 128  # that a snippet takes at most, or nearly so
_CHARACTERS = 400  # of a snippet at most: about 120 tokens
FILES = 20  # that count as open
_LINES = 400  # that are looked through of each, blank ones left out
WINDOW = 20  # lines
_HALF = WINDOW // 2  # the next window begins there
_COMMENTS = {"python": "# ", "java": "// "}
_IDENTIFIER = re.compile(r"[^\W\d]\w+")
TODAY, INSTEAD, ADDED, LEFT = "no snippet", "instead of text", "on top", "where room is left"
ARMS = (TODAY, INSTEAD, ADDED, LEFT)


class Beside(NamedTuple):
    """An open file."""

    name: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Place:
    """A row, and the files beside it."""

    row: Row
    files: Sequence[Beside]


def run(model: str, work: Path, limit: int, seed: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Measure; returns what goes into snippets.json.

    Raises:
        Problem: the model or the corpus is missing or damaged, or no project has two files.
    """
    places = choose_places(*project_files(work), limit, seed)
    report(f"loading {model}")
    runtime = load_runtime(model)
    base = [place.row for place in places]
    kept = work / "experiments" / f"snippets-{rows_digest(base, runtime.weights)}"
    # The prompts are cut here, to the line: the engine's own cut moves in steps.
    asked: CompletionParams = {**from_layer(model, 1), "decoding": "full", "policy": "full", "max_prompt_tokens": 1 << 20}  # fmt: skip
    done: dict[str, list[dict[str, Any]]] = {}
    known: dict[tuple[str, str], Any] = {}

    def complete(questions: Iterable[CompletionParams]) -> Iterator[CompletionResult]:
        for params in questions:  # many prompts are the same in several arms
            same = known.get((params["prefix"], params["suffix"]))
            yield same or runtime.new_session().complete(params, lambda: None, math.inf)

    for arm in ARMS:
        rows = [with_snippet(place, arm, runtime.vocabulary) for place in places]
        done[arm] = evaluate(runtime, rows, asked, lambda _: None, kept / arm.replace(" ", "-"), complete)
        known |= {(row.prefix, row.suffix): result for row, result in zip(rows, done[arm], strict=True)}
        report(f"{arm:18} edit similarity {summarise(done[arm])['all']['edit_similarity']:.2f}")
    short = {row.id for row in base if len(runtime.vocabulary.encode(row.prefix)) <= PROMPT_TOKENS - ROOM}
    languages = list(dict.fromkeys(row.language for row in base))
    return {
        **provenance(runtime, "snippets", {"model": Path(model), "limit": limit, "seed": seed}),
        "rows": dict(Counter(row.language for row in base)),
        "projects": {
            language: dict(Counter(row.id.partition("/")[0] for row in base if row.language == language))
            for language in languages
        },
        "seed": seed,
        "budget": PROMPT_TOKENS,
        "room": ROOM,
        "files": FILES,
        "window_lines": WINDOW,
        "max_tokens": asked["max_tokens"],
        "energy_source": runtime.energy_source,
        "arms": [
            {"name": arm, **summary}
            for arm in ARMS
            for summary in summaries(done[arm], done[TODAY], short)
        ],
    }  # fmt: skip


# --- rows -------------------------------------------------------------------------------------------------


def project_files(work: Path) -> tuple[list[SourceFile], set[str]]:
    """All files of the projects that the corpus holds out, and the names of those of them that the corpus has.

    It has some of them only (no copies of what is trained on, and no more than its share): rows are of these.

    Raises:
        Problem: there is no corpus in `work`.
    """
    try:
        lines = (work / "corpus" / "files.jsonl").read_text("utf-8").splitlines()
    except OSError as error:
        raise Problem(
            "bad_request", f"{work / 'corpus'} holds no corpus ({error.strerror}); run `make corpus` first."
        ) from error
    held = [entry for entry in map(json.loads, lines) if entry["part"] == "heldout"]
    names, projects = {f"{entry['project']}/{entry['path']}" for entry in held}, {e["project"] for e in held}
    archive = work / "openjdk-21-source" / "src.zip"
    java = jdk_files(archive, Report()) if archive.is_file() else ()
    return [f for source in (installed_files(Report()), java) for f in source if f.project in projects], names


def choose_places(files: Sequence[SourceFile], names: set[str], limit: int, seed: int) -> list[Place]:
    """At most `limit` files per language, drawn with `seed`, each with a line of it and what lies beside it.

    Raises:
        Problem: no project has two files of a language.
    """
    beside: dict[str, list[Beside]] = {}
    rows = list[Row]()
    for number, file in enumerate(files):
        others = [f for f in files if (f.project, f.language) == (file.project, file.language) and f != file]
        if others and file.name in names:
            beside[file.name] = nearest(file, others)
            lines = line_rows(iter([(file.language, file.text)]), 1, seed * len(files) + number)
            rows += [replace(row, id=file.name) for row in lines]
    if not rows:
        raise Problem("bad_request", "No held-out project has two files; make a larger corpus.")
    return [Place(row, beside[row.id]) for row in draw(rows, limit, seed)]


def nearest(file: SourceFile, others: Iterable[SourceFile]) -> list[Beside]:
    """The files that share the most folders with this one, then those nearest by name."""

    def distance(other: SourceFile) -> tuple[int, int, str]:
        return (
            -_shared(file.path.split("/"), other.path.split("/")),
            -_shared(file.path, other.path),
            other.path,
        )

    chosen = sorted(others, key=distance)[:FILES]
    return [Beside(PurePosixPath(other.path).name, other.text.split("\n")) for other in chosen]


def _shared(some: Sequence[str], others: Sequence[str]) -> int:
    """How many items two sequences begin with alike."""
    return sum(
        1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(some, others, strict=False))
    )


# --- prompts ----------------------------------------------------------------------------------------------


def with_snippet(place: Place, arm: str, vocabulary: Vocabulary) -> Row:
    """The row with the prompt that an arm gives it."""
    row, text = place.row, place.row.prefix
    if arm == LEFT:
        fits = len(vocabulary.encode(text)) <= PROMPT_TOKENS - ROOM
        first = snippet(row.language, text[: len(text) // 2], place.files) if fits else ""
    else:
        first = "" if arm == TODAY else snippet(row.language, text, place.files)
    left = PROMPT_TOKENS - len(vocabulary.encode(first)) if arm == INSTEAD else PROMPT_TOKENS
    return replace(row, prefix=first + last_lines(text, left, vocabulary))


def snippet(language: str, text: str, files: Sequence[Beside]) -> str:
    """As many lines of the window most like the end of `text` as fit, as comments under its file's name; or nothing."""
    wanted = _identifiers(text.split("\n")[-WINDOW:])
    most, name, chosen = 0.0, "", list[str]()
    for file in files:
        code = [line.rstrip() for line in file.lines[:_LINES] if line.strip()]
        halves = [_identifiers(code[start : start + _HALF]) for start in range(0, len(code), _HALF)]
        for i in range(max(1, len(halves) - 1)):
            if (likeness := _jaccard(set().union(*halves[i : i + 2]), wanted)) > most:
                most, name, chosen = likeness, file.name, code[i * _HALF : i * _HALF + WINDOW]
    mark = _COMMENTS[language]
    title = comment = f"{mark}{name}:\n"
    for line in chosen:
        if len(comment) + len(mark) + len(line) >= _CHARACTERS:
            break
        comment += f"{mark}{line}\n"
    return "" if comment == title else comment


def _identifiers(lines: Iterable[str]) -> set[str]:
    return {word for line in lines for word in _IDENTIFIER.findall(line)}


def _jaccard(some: set[str], others: set[str]) -> float:
    return len(some & others) / max(1, len(some | others))


def last_lines(text: str, tokens: int, vocabulary: Vocabulary) -> str:
    """The last whole lines of so many tokens at most; of a line that is longer alone, its end."""
    ids = vocabulary.encode(text)
    if len(ids) <= tokens:
        return text
    end, before = vocabulary.decode(ids[-tokens:]), vocabulary.decode(ids[:-tokens])
    return end if before.endswith("\n") or "\n" not in end else end.partition("\n")[2]


# --- results ----------------------------------------------------------------------------------------------


def summaries(
    done: Sequence[dict[str, Any]], today: Sequence[dict[str, Any]], short: set[str]
) -> list[dict[str, Any]]:
    """A language each: scores, cost, and paired differences from today's prompt with their intervals.

    `short`: rows whose text leaves room for a snippet in the budget; the differences are given of either kind as well.
    """
    found = []
    for language in dict.fromkeys(row["language"] for row in done):
        pairs = [(row, other) for row, other in zip(done, today, strict=True) if row["language"] == language]
        means = summarise([row for row, _ in pairs])[language]
        found.append({
            "language": language,
            "edit_similarity": means["edit_similarity"],
            "exact_match": means["exact_match"],
            "prompt_tokens": statistics.fmean(row["prompt_tokens"] for row, _ in pairs),
            "joules": means["energy_joules"] / len(pairs),
            "all": _difference(pairs),
            "short": _difference([pair for pair in pairs if pair[0]["id"] in short]),
            "long": _difference([pair for pair in pairs if pair[0]["id"] not in short]),
        })  # fmt: skip
    return found


def _difference(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any] | None:
    """Mean of edit similarity less today's, with its 95 % bootstrap interval over rows; None without rows."""
    values = [row["edit_similarity"] - other["edit_similarity"] for row, other in pairs]
    if not values:
        return None
    return {"rows": len(values), "mean": statistics.fmean(values), "interval": bootstrap_interval(values)}
