"""Which model should be the default: what does each give and cost while typing, in each mode and with each stop?

Some lines of each file are typed again in their place, as for *sessions*, and the engine's own sessions serve them. All models, modes and stops meet the
same typing of the same lines. Joules are counted from the work done. Whether the next key overtakes a request is decided by its joules as
well, as on one thread, so that neither threads nor other programs change what is accepted.

Files are replayed by as many processes as there are cores. The first ones are then replayed again for their times, alone, with each number of
threads. A request counts there unless the next key overtook it. *Cold* is the request that brings the text before the lines into the empty
cache.

No corpus was made of the files' projects. Where a language has projects that were kept away from every choice, the files are of those.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np

from green_code.engine.loading import Runtime, load_measured
from green_code.kernels import thread_pool
from green_code.kernels.thread_pool import most_workers
from green_code.models import store
from green_code.models.rows import KNOWN_AS, ROWS
from green_code.problems import Problem
from green_code.settings import PROMPT_TOKENS, STOPS, default_settings
from green_code_lab.benchmark.starts import engine_start
from green_code_lab.corpus.files import Report as Left
from green_code_lab.corpus.files import SourceFile
from green_code_lab.evaluation.held_out import held_out_files
from green_code_lab.evaluation.parallel import jobs_for, processes
from green_code_lab.experiments.common import drafting_policy
from green_code_lab.experiments.experiment import (
    Args,
    Experiment,
    Found,
    Report,
    Table,
    cell,
    interval_figure,
    ratio_figure,
)
from green_code_lab.experiments.interim import Interim
from green_code_lab.experiments.plots import Bars, language_name
from green_code_lab.experiments.sessions import Sums, key, sums, version
from green_code_lab.replay.service import Arm, timed_span
from green_code_lab.replay.spans import Document, Span, draw_spans, kept_away

LINES = 5  # of a span
NONE = "none"
_THREADS = (1, 2, 4)
_TIMED = 2  # spans
_USUAL = default_settings().suggestions


def arms(runtime: Runtime) -> dict[tuple[str, str], Arm]:
    """By mode and stop; `fast` only where there is an agent."""
    policies = {"full": "full", "exact": drafting_policy(runtime)}
    if runtime.agent is not None:
        policies["fast"] = "agent"
    return {
        (mode, stop): Arm(f"{mode}, {stop}", mode, policy, stop=0.0 if stop == NONE else stop, gated=stop != NONE)  # type: ignore[arg-type]
        for mode, policy in policies.items() for stop in (NONE, *STOPS)
    }  # fmt: skip


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    names: list[str] = args.models or [name for name in KNOWN_AS if store.state_of(ROWS[name]) == "downloaded"]
    spans = draw(held_out_files(args.work, args.jdk, Left()), args.spans, args.seed)
    if not spans:
        raise Problem(
            "bad_request", f"{args.work} has no file of held-out projects; give the corpus's folder with --work."
        )
    runtimes = {
        name: runtime if name == runtime.model else load_measured(name, device=runtime.device) for name in names
    }
    memory = {name: engine_start(name, {}) for name in names}
    done, whole = _serve(runtimes, spans, args, report)
    counts = Counter(language_name(span.language) for span in whole)
    found: Found = {
        "settings": {
            "data": f"files of held-out projects: {', '.join(f'{n} of {name}' for name, n in sorted(counts.items()))}; drawn with seed {args.seed}",
            "typing": f"{LINES} lines of each file, {sum(span.keys for span in whole):,} keys; prompts of at most {PROMPT_TOKENS} tokens",
            "joules": f"what was computed times fitted costs (sources: {', '.join(sorted({r.energy_source for r in runtimes.values()}))}), no reading of a meter",
            "weights": "; ".join(f"{Path(name).name} {r.weights[:12]}" for name, r in runtimes.items()),
        },
        "models": [], "arms": [], "languages": [],
    }  # fmt: skip
    for name in runtimes:
        about = {"model": Path(name).name, "known_as": KNOWN_AS.get(name, "–")}
        by_arm = done[name]
        found["models"].append({**about, **_of_model(name, memory[name], by_arm)})
        for mode, stop in by_arm:
            arm = {**about, "arm": f"{about['model']}, {mode}, {stop}", "mode": mode, "stop": stop}
            found["arms"].append({**arm, **summary((mode, stop), by_arm, done[names[0]], args.seed)})
        served = list(zip(whole, by_arm["exact", _USUAL].sums, strict=True))
        for language in counts:
            rows = [row for span, row in served if language_name(span.language) == language]
            found["languages"].append({**about, "language": language, **_figures(rows, args.seed)})
    return {**found, "sides": sides(found), "choices": choices(found)}


def sides(found: Found) -> list[Found]:
    """Light and standard side by side, as people choose between them; empty unless both were measured."""
    models = {model["known_as"]: model for model in found["models"] if model["known_as"] in KNOWN_AS.values()}
    if len(models) < len(KNOWN_AS):
        return []
    served = {arm["known_as"]: arm for arm in found["arms"] if (arm["mode"], arm["stop"]) == ("exact", _USUAL)}
    threads = max(count for count in _THREADS if all(f"cold_{count}" in model for model in models.values()))
    cold = f"cold_{threads}"
    lines: dict[str, Callable[[str], str]] = {
        "model": lambda name: ROWS[models[name]["model"]].title,
        "licence": lambda name: models[name]["license"],
        "download": lambda name: f"{cell(models[name]['download_mb'], '0')} MB",
        "memory": lambda name: f"{cell(models[name]['resident_mb'], '0')} MB",
        f"first prompt of a file, {threads} thread{'s' * (threads > 1)}": lambda name: (
            cell(models[name][cold], "1") + " s"
        ),
        "joules per accepted character": lambda name: cell(served[name]["joules_per_character"], "2"),
        "characters accepted": lambda name: cell(served[name]["accepted"], "%1"),
        "suggestions right": lambda name: cell(served[name]["right"], "%0"),
    }
    return [{"line": line, **{name: of(name) for name in KNOWN_AS.values()}} for line, of in lines.items()]


def choices(found: Found) -> list[Found]:
    """Light and standard in each mode with each stop; empty unless both were measured."""
    both, rows = set(KNOWN_AS.values()), dict[tuple[str, str], Found]()
    if not both <= {model["known_as"] for model in found["models"]}:
        return []
    for arm in found["arms"]:
        if arm["known_as"] in both:
            row = rows.setdefault((arm["mode"], arm["stop"]), {"mode": arm["mode"], "stop": arm["stop"]})
            row |= {f"{arm['known_as']}_{name}": arm[name] for name in ("joules_per_character", "accepted", "right")}
    return list(rows.values())


def draw(files: Iterable[SourceFile], per_language: int, seed: int) -> list[Span]:
    """At most so many spans of each language, a file each; languages take turns."""
    own: dict[str, list[Document]] = {}
    for file in sorted(files, key=lambda file: (file.language, file.name)):
        own.setdefault(file.language, []).append(Document(file.project, file.language, partial(str, file.text)))
    chosen = list[Document]()
    for documents in own.values():
        away = kept_away(document.project for document in documents)
        chosen += [document for document in documents if document.project in away] or documents
    return draw_spans(chosen, per_language, LINES, seed)


@dataclass(frozen=True)
class Replays:
    """Of an arm: `sums` by span, and by threads, by timed span, the seconds of its requests, the cold one first."""

    sums: list[Sums]
    waits: dict[int, list[list[float]]]


def _serve(
    runtimes: Mapping[str, Runtime], spans: Sequence[Span], args: Args, report: Report
) -> tuple[dict[str, dict[tuple[str, str], Replays]], list[Span]]:
    """By model, and by mode and stop, the replays of the spans that all have; and these spans.

    What an earlier run has measured is read from WORK/defaults.jsonl. No span is begun after `args.minutes`.
    """
    counts = [count for count in _THREADS if count <= most_workers()]
    kept = Interim(args.work / "defaults.jsonl")
    compared = {model: arms(runtime) for model, runtime in runtimes.items()}
    versions = {
        (model, arm): version(runtime, compared[model][arm], args.seed)
        for model, runtime in runtimes.items() for arm in compared[model]
    }  # fmt: skip

    def name(model: str, arm: tuple[str, str], what: str, span: Span) -> str:
        return f"{versions[model, arm]} {what} {key(span)}"

    whole, end = list[Span](), time.monotonic() + 60 * args.minutes
    with contextlib.ExitStack() as stack:
        pools = {
            model: stack.enter_context(processes(runtime, jobs_for(runtime), _replay))
            for model, runtime in runtimes.items()
        }
        for number, span in enumerate(spans, 1):
            todo = [each for each in versions if name(*each, "sums", span) not in kept]
            if todo and time.monotonic() > end:
                continue
            for model, replay in pools.items():
                own = [arm for of, arm in todo if of == model]
                jobs = [(span, compared[model][arm], args.seed, 1) for arm in own]
                for arm, (row, _) in zip(own, replay(jobs), strict=True):
                    kept[name(model, arm, "sums", span)] = row
            whole.append(span)
            report(f"{number} of {len(spans)} files: {span.language}")
    if not whole:
        raise Problem("bad_request", f"no file was replayed in {args.minutes:g} minutes; give more --minutes.")
    timed = list(itertools.product(counts, whole[:_TIMED]))
    for count, span in timed:
        report(f"times of {span.language}, {count} thread{'s' * (count > 1)}")
        for model, arm in versions:
            if name(model, arm, str(count), span) not in kept:
                _, waits = _replay(runtimes[model], (span, compared[model][arm], args.seed, count))
                kept[name(model, arm, str(count), span)] = waits

    def replays(model: str, arm: tuple[str, str]) -> Replays:
        waits: dict[int, list[list[float]]] = {count: [] for count in counts}
        for count, span in timed:
            waits[count].append(kept[name(model, arm, str(count), span)])
        return Replays([kept[name(model, arm, "sums", span)] for span in whole], waits)

    return {model: {arm: replays(model, arm) for arm in of_model} for model, of_model in compared.items()}, whole


def _replay(runtime: Runtime, job: tuple[Span, Arm, int, int]) -> tuple[Sums, list[float]]:
    """A span by an arm, with a seed and a number of threads: sums as in `sessions`, and the requests' seconds."""
    span, arm, seed, threads = job
    usual = thread_pool.workers_for
    with patch.object(thread_pool, "workers_for", lambda rows, most: min(threads, usual(rows, most))):
        typed, waits = timed_span(runtime, span, arm, seed)
    return sums(typed), [round(wait, 5) for wait in waits]


def summary(
    arm: tuple[str, str], by_arm: Mapping[tuple[str, str], Replays], reference: Mapping[tuple[str, str], Replays], seed: int
) -> Found:  # fmt: skip
    """An arm's figures with intervals over files.

    Args:
        by_arm: replays of the model. reference: of the first model, in the same order of spans.
    """
    own = by_arm[arm].sums
    full, first = by_arm.get(("full", arm[1])), reference.get(arm)
    found = _figures(own, seed)
    if full is not None and _accepted(full.sums):
        pairs = list(zip(own, full.sums, strict=True))
        found["kept"] = _more(pairs, seed)
        if _accepted(own):
            found["cheaper"] = interval_figure(
                pairs, lambda drawn: _cost(b for _, b in drawn) / _cost(a for a, _ in drawn), seed
            )
    if first is not None and _accepted(first.sums):
        found["more"] = _more(list(zip(own, first.sums, strict=True)), seed)
    for count, by_span in by_arm[arm].waits.items():
        waits = [wait for own_waits in by_span for wait in own_waits[1:]]
        if waits:
            found[f"p50_{count}"], found[f"p95_{count}"] = (
                1e3 * float(each) for each in np.percentile(waits, (50, 95))
            )
    return found


def _figures(own: Sequence[Sums], seed: int) -> Found:
    keys, shown = (sum(each[name] for each in own) for name in ("keys", "shown"))
    return {
        "joules_per_character": interval_figure(own, _cost, seed) if _accepted(own) else None,
        "accepted": ratio_figure([(each["accepted"], each["keys"]) for each in own], seed),
        "right": sum(each["right"] for each in own) / shown if shown else None,
        "shown_per_100": 100 * shown / keys,
    }


def _accepted(own: Iterable[Sums]) -> int:
    return sum(each["accepted"] for each in own)


def _cost(own: Iterable[Sums]) -> float:
    """Joules per accepted character; all joules where drawn files have none."""
    rows = list(own)
    return float(sum(each["joules"] for each in rows) / max(1, _accepted(rows)))


def _more(pairs: Sequence[tuple[Sums, Sums]], seed: int) -> list[float]:
    """How many times the accepted characters of the second ones."""
    return interval_figure(
        pairs, lambda drawn: _accepted(a for a, _ in drawn) / max(1, _accepted(b for _, b in drawn)), seed
    )


def _of_model(name: str, start: tuple[float, int], by_arm: Mapping[tuple[str, str], Replays]) -> Found:
    """Sizes, and the median of the cold requests, which all arms of a span have in common but `fast`."""
    cold: dict[int, list[float]] = {}
    for (mode, _), replays in by_arm.items():
        for count, by_span in replays.waits.items() if mode != "fast" else ():
            cold.setdefault(count, []).extend(own_waits[0] for own_waits in by_span)
    known = ROWS.get(name)
    return {
        "download_mb": known.download_bytes / 1e6 if known is not None else None, "license": known.license if known is not None else "–",
        "ready": start[0], "resident_mb": start[1] / 1e6, **{f"cold_{count}": float(np.median(waits)) for count, waits in cold.items()},
    }  # fmt: skip


EXPERIMENT = Experiment(
    "defaults", "Light and standard", __doc__, measure, {"models": [], "spans": 2, "minutes": 60.0, "jdk": []},
    (
        Table(
            "sides", "Side by side", f"In `exact` at the stop *{_USUAL}*, which is the default.",
            (("", "line", ""), ("*light*", "light", ""), ("*standard*", "standard", "")),
        ),
        Table(
            "choices", "Modes and stops, light and standard",
            "*J/char.*: joules per accepted character; *accepted*: share of the keys that suggestions spared; *right*: suggestions with which the file goes on exactly.",
            (
                ("decoding", "mode", ""), ("stop", "stop", ""), ("*light*: J/char.", "light_joules_per_character", "2"), ("accepted", "light_accepted", "%1"),
                ("right", "light_right", "%0"), ("*standard*: J/char.", "standard_joules_per_character", "2"), ("accepted", "standard_accepted", "%1"),
                ("right", "standard_right", "%0"),
            ),
        ),
        Table(
            "models", "The models",
            "*Ready*: from no engine to one that holds the converted model; *resident*: its memory then. *Cold*: the median of requests whose prompt is not in the "
            "cache, on 1, 2 and 4 threads, in seconds.",
            (
                ("model", "model", ""), ("known as", "known_as", ""), ("licence", "license", ""), ("download, MB", "download_mb", "0"), ("resident, MB", "resident_mb", "0"),
                ("ready, s", "ready", "1"), ("cold, 1", "cold_1", "2"), ("cold, 2", "cold_2", "2"), ("cold, 4", "cold_4", "2"),
            ),
        ),
        Table(
            "arms", "Models, modes and stops",
            "*J/char.*: joules per accepted character; *accepted*: share of the keys that suggestions spared; *right*: suggestions with which the file goes on exactly, to "
            "their end. Against full depth of the same model with the same stop, *cheaper*: how many times fewer joules per accepted character, and *kept*: times what it "
            "spared. *More*: times what the first model spared in the same mode and with the same stop.",
            (
                ("model", "model", ""), ("mode", "mode", ""), ("stop", "stop", ""), ("J/char.", "joules_per_character", "2"), ("accepted", "accepted", "%1"),
                ("right", "right", "%0"), ("cheaper", "cheaper", "x2"), ("kept", "kept", "x2"), ("more", "more", "x2"),
            ),
        ),
        Table(
            "arms", "How long a request takes",
            f"Milliseconds of requests while typing on 1, 2 and 4 threads, as far as this machine has them, in {_TIMED} of the files: the median, and what 95 % of them do not exceed.",
            (
                ("model", "model", ""), ("mode", "mode", ""), ("stop", "stop", ""), ("p50, 1", "p50_1", "0"), ("p95, 1", "p95_1", "0"), ("p50, 2", "p50_2", "0"),
                ("p95, 2", "p95_2", "0"), ("p50, 4", "p50_4", "0"), ("p95, 4", "p95_4", "0"),
            ),
        ),
        Table(
            "languages", "Languages",
            f"In `exact` at the stop *{_USUAL}*, which is the default.",
            (
                ("language", "language", ""), ("J/char.", "joules_per_character", "2"), ("accepted", "accepted", "%1"), ("right", "right", "%0"),
                ("shown per 100 keys", "shown_per_100", "1"),
            ), ("model",),
        ),
    ),
    Bars("Joules per accepted character", "arms", "model", "arm", (("joules_per_character", "joules"),), "joules per accepted character (estimate)"),
)  # fmt: skip
