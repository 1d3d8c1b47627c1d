"""What users pay while they type: whole editing sessions, with a warm cache, in each decoding mode.

A session types some lines of a real file again, in their place: the text before them and after them is there. The editor
asks as it does with people who pause: at the start of a line, and after every few characters. Where the suggestion is
the rest of the line, it is accepted; else typing goes on, and what is typed along a suggestion needs no engine, as in the
front. So the cache is warm as in life: a cold start once, then a few new tokens a request. Every mode gets the same
files; they take turns, forwards and backwards, file by file.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from green_code.cli.demo import samples
from green_code.engine.runtime import Runtime, load_runtime
from green_code.link.messages import CompletionParams
from green_code.lsp.type_through import TypeThrough
from green_code.models.bundle import early_thresholds
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem
from green_code.settings import PROMPT_TOKENS, TOKENS_PER_LINE, default_settings
from green_code_lab.agent.calibrate import held_out_documents
from green_code_lab.corpus import open_corpus
from green_code_lab.experiments.drafts import policy
from green_code_lab.experiments.provenance import provenance

LINES = 10  # that a session types
CHARACTERS = 4  # that are typed between two requests
FULL = "full depth"
_BEFORE_LINES = 30  # at least, before the first line that is typed
_DRAWS = 1000


@dataclass(frozen=True)
class Arm:
    name: str
    decoding: Literal["full", "exact", "fast"]
    policy: str
    threshold: float


@dataclass(frozen=True)
class File:
    """A place to type at: the text before it, the lines to type, the text after."""

    id: str
    language: str
    before: str
    lines: str
    after: str


@dataclass
class Session:
    """One file in one arm. `prompt_layers`: layer × position evaluations of prompts, over `prompt_positions` new ones."""

    file: str
    language: str
    arm: str
    requests: int = 0
    typed_along: int = 0  # requests that needed no engine
    joules: float = 0.0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    characters: int = 0
    accepted: int = 0
    tokens: int = 0
    prompt_layers: int = 0
    prompt_positions: int = 0
    texts: list[str] = field(default_factory=list)


def arms(runtime: Runtime) -> list[Arm]:
    """Full depth first. `exact` as the editor has it; `fast` at the editor's threshold and at the bundle's named stops,
    where it has an agent."""
    usual = default_settings().threshold
    found = [
        Arm(FULL, "full", "full", 1.0),
        Arm("exact", "exact", policy(runtime), usual),
    ]
    if runtime.agent is not None:
        found += [
            Arm(f"fast, {called}", "fast", "agent", threshold)
            for called, threshold in early_thresholds(runtime.calibration, usual).items()
        ]
    return found


def run(model: str, work: Path, limit: int, seed: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Measure; returns what goes into sessions.json.

    Raises:
        Problem: the model, its bundle or the corpus is missing or damaged, or no file is long enough.
    """
    report(f"loading {model}")
    runtime = load_runtime(model)
    files, source = choose_files(work / "corpus", runtime.vocabulary, limit, seed)
    measured: list[Session] = []
    compared = arms(runtime)
    type_file(runtime, compared[0], files[0])  # what is loaded at first use, is now
    for i, file in enumerate(files):
        measured += [type_file(runtime, arm, file) for arm in (compared if i % 2 == 0 else compared[::-1])]
        report(f"file {i + 1} of {len(files)}")
    return {
        **provenance(runtime, "sessions", {"model": Path(model), "limit": limit, "seed": seed}),
        "files": dict(Counter(file.language for file in files)),
        "files_from": source,
        "seed": seed,
        "lines": LINES,
        "characters": CHARACTERS,
        "layers": runtime.layers_total,
        "prefill_exit": runtime.prefill_exit,
        "energy_source": runtime.energy_source,
        "arms": [summary(arm, measured, seed) for arm in compared],
    }


def choose_files(corpus: Path, vocabulary: Vocabulary, limit: int, seed: int) -> tuple[list[File], str]:
    """At most `limit` files per language, drawn with `seed`, each with a place that is; and where they are from.

    Raises:
        Problem: the corpus cannot be read, or no file is long enough.
    """
    generator, chosen = random.Random(seed), list[File]()
    if corpus.is_dir():
        documents = list(held_out_documents(open_corpus(corpus, vocabulary, 1, 1), vocabulary))
        source = "files of the corpus' held-out projects"
    else:
        documents = [
            ("java" if name.endswith(".java") else "python", before + rest + after)
            for name, before, rest, after in samples()
        ]
        source = "the demo's files (too few for figures; make a corpus)"
    generator.shuffle(documents)
    for language in sorted({language for language, _ in documents}, reverse=True):  # Python before Java
        places = (
            _place(f"{language}-{i}", language, text, generator)
            for i, (own, text) in enumerate(documents)
            if own == language
        )
        chosen += [place for place in places if place is not None][:limit]
    if not chosen:
        raise Problem("bad_request", f"No file is long enough among {source}.")
    return chosen, source


def _place(name: str, language: str, text: str, generator: random.Random) -> File | None:
    """Where `LINES` lines begin, the first of them not blank."""
    lines = text.splitlines(keepends=True)
    least = min(_BEFORE_LINES, len(lines) // 2)
    starts = [i for i in range(least, len(lines) - LINES) if lines[i].strip()]
    if not starts:
        return None
    start = generator.choice(starts)
    before, typed, after = lines[:start], lines[start : start + LINES], lines[start + LINES :]
    return File(name, language, "".join(before), "".join(typed), "".join(after))


def type_file(runtime: Runtime, arm: Arm, file: File) -> Session:
    """A session of its own types the file's lines, and accepts what is right."""
    session, given, done = (
        runtime.new_session(),
        TypeThrough(),
        Session(file.id, file.language, arm.name),
    )
    params: CompletionParams = {
        "session": "", "prefix": "", "suffix": "", "language": file.language, "model": runtime.model, "decoding": arm.decoding,
        "policy": arm.policy, "threshold": arm.threshold, "max_tokens": TOKENS_PER_LINE, "single_line": True, "max_lines": 1,
        "max_prompt_tokens": PROMPT_TOKENS,
    }  # fmt: skip
    for line, before, after in _lines(file):
        body = line.rstrip("\n")
        at = len(body) - len(body.lstrip())  # the editor indents
        done.characters += len(body) - at
        while at < len(body):
            asked: CompletionParams = {**params, "prefix": before + body[:at], "suffix": "\n" + after}
            if (shown := given.find(asked)) is not None:
                done.typed_along += 1
            else:
                shown = session.complete(asked, lambda: None, math.inf)
                _book(done, shown)
                given.remember(asked, shown)
            if shown["text"].rstrip() == body[at:].rstrip():
                done.accepted += len(body) - at
                break
            at += CHARACTERS
    return done


def _lines(file: File) -> list[tuple[str, str, str]]:
    """(line, all text before it, all text after the lines that are typed)."""
    lines = file.lines.splitlines(keepends=True)
    return [(line, file.before + "".join(lines[:i]), file.after) for i, line in enumerate(lines)]


def _book(done: Session, result: Any) -> None:
    done.requests += 1
    done.joules += result["energy_joules"]
    done.cpu_seconds += result["cpu_seconds"]
    done.wall_seconds += result["wall_seconds"]
    done.tokens += result["tokens"]
    done.prompt_layers += result["prompt_layers_run"]
    done.prompt_positions += result["prompt_tokens"] - result["prompt_reused"]
    done.texts.append(result["text"])


def summary(arm: Arm, measured: Sequence[Session], seed: int) -> dict[str, Any]:
    """An arm's sums over files, and beside full depth on the same files with 95 % bootstrap intervals over files."""
    own = [session for session in measured if session.arm == arm.name]
    full = {session.file: session for session in measured if session.arm == FULL}
    pairs = [(session, full[session.file]) for session in own]
    requests = sum(s.requests for s in own)
    return {
        **asdict(arm),
        "requests": requests,
        "typed_along": sum(s.typed_along for s in own),
        "tokens": sum(s.tokens for s in own),
        "joules_per_request": sum(s.joules for s in own) / requests,
        "cpu_seconds_per_request": sum(s.cpu_seconds for s in own) / requests,
        "wall_seconds_per_request": sum(s.wall_seconds for s in own) / requests,
        "ratio": _ratio(pairs, lambda s, f: (f.joules, s.joules), seed),
        "cpu_ratio": _ratio(pairs, lambda s, f: (f.cpu_seconds, s.cpu_seconds), seed),
        "accepted": _ratio(pairs, lambda s, _: (s.accepted, s.characters), seed),
        "same_texts": sum(s.texts == f.texts for s, f in pairs) / len(pairs),
        "prompt_depth": sum(s.prompt_layers for s in own) / sum(s.prompt_positions for s in own),
    }


def _ratio(
    pairs: Sequence[tuple[Session, Session]],
    parts: Callable[[Session, Session], tuple[float, float]],
    seed: int,
) -> dict[str, float]:
    """Σ over files of the first part over Σ of the second."""

    def of(drawn: Sequence[tuple[float, float]]) -> float:
        return sum(above for above, _ in drawn) / sum(below for _, below in drawn)

    values, generator = [parts(*pair) for pair in pairs], random.Random(seed)
    drawn = sorted(of(generator.choices(values, k=len(values))) for _ in range(_DRAWS))
    return {"value": of(values), "low": drawn[int(0.025 * _DRAWS)], "high": drawn[int(0.975 * _DRAWS)]}
