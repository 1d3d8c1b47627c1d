"""The whole benchmark: set up, rounds, and what is found out besides; the content of performance.json."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from green_code.cli.demo import samples
from green_code.engine.runtime import load_runtime
from green_code.models.bundle import bundle_of
from green_code.models.catalog import find_model
from green_code.models.decoder import Decoder
from green_code.models.weights import adapted_weights
from green_code.problems import Problem
from green_code_lab.benchmark.agreement import agreements, references
from green_code_lab.benchmark.bound import memory_bound
from green_code_lab.benchmark.engines import BASELINE, engines
from green_code_lab.benchmark.passes import passes
from green_code_lab.benchmark.peer import Missing, Spec
from green_code_lab.benchmark.peers.green_code import write_on
from green_code_lab.benchmark.process import Worker
from green_code_lab.benchmark.profile import profile
from green_code_lab.benchmark.prompts import Case, cases
from green_code_lab.benchmark.rounding import rounding
from green_code_lab.benchmark.rounds import Plan, Rounds
from green_code_lab.benchmark.starts import measure_starts
from green_code_lab.benchmark.summary import summarise
from green_code_lab.evaluation.datasets import Row, load_rows
from green_code_lab.experiments.provenance import provenance

SHORT, LONG = 256, 1024  # tokens of the prompts
_ROUNDED = 6  # long prompts over which tokens are compared with those in float32
_ROWS = 48  # that are looked at for places; more than rounds, as some have none

Report = Callable[[str], None]


def run(
    model: str, data: Sequence[Path], plan: Plan, starts: int, seed: int, command: str, report: Report
) -> dict[str, Any]:
    """Measure everything.

    Args:
        starts: of front and engine that are timed.
    Raises:
        Problem: the model, its bundle or the rows cannot be used; what other engines lack is no reason.
    """
    report(f"loading {model}")
    runtime = load_runtime(model)
    rows = choose_rows(data, seed)
    places = list(itertools.islice(cases(rows, runtime.vocabulary, SHORT, LONG), plan.rounds))
    peers, reference = engines(model, report)
    wanted, no_reference = _references(reference, places, max(plan.threads), report)
    found, measured = compare(peers, places, plan, report)
    ran = places[: found["rounds"]]
    report("profile, passes, rounding, memory bound and start times")
    write_on(runtime)
    return {
        **provenance(runtime, "performance", {}),
        "command": command,
        "seed": seed,
        "plan": asdict(plan),
        "rows": ", ".join(path.name for path in data) or "the demo's files",
        "prompt_tokens": {
            "short": [len(place.short.ids) for place in ran],
            "long": [len(place.long.ids) for place in ran],
        },
        "places": len({place.id for place in ran}),
        "baseline": BASELINE,
        "agreement": agreements(measured, wanted, runtime.vocabulary),
        "no_reference": no_reference,
        "profile": profile(runtime, places[0].short, plan.decode_tokens, max(plan.threads)),
        "passes": passes(runtime.decoder, places[0].short.ids, plan.threads),
        "rounding": rounding(
            runtime.decoder,
            Decoder.load(*adapted_weights(find_model(model), bundle_of(model))),
            [place.long.ids for place in places[:_ROUNDED]],
            max(plan.threads),
        ),
        "bound": memory_bound(runtime.decoder, plan.threads),
        "starts": asyncio.run(measure_starts(model, starts)),
        **found,
    }


def compare(
    peers: Sequence[Spec | Missing], places: Sequence[Case], plan: Plan, report: Report
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Start the engines, run the rounds, and end them: who took part, who did not and why, figures; and the samples."""
    missing = [peer for peer in peers if isinstance(peer, Missing)]
    present = [peer for peer in peers if isinstance(peer, Spec)]
    rounds = Rounds({spec.name: Worker(spec) for spec in present}, report)
    try:
        report(f"starting {len(present)} engines")
        said: dict[str, dict[str, Any]] = {}
        for worker in rounds.workers.values():
            worker.begin_open()
        for name, worker in list(rounds.workers.items()):
            try:
                said[name] = worker.answer()
            except Problem as problem:
                rounds.drop(name, str(problem))
        rounds.warm_up(places[0], plan)
        done = rounds.run(itertools.cycle(places), plan)
        resident: dict[str, int] = {}
        for name, worker in list(rounds.workers.items()):
            try:
                resident[name] = worker.ask(do="memory")["bytes"]
            except Problem as problem:
                rounds.drop(name, str(problem))
    finally:
        for worker in rounds.workers.values():
            worker.close()
    out = {peer.name: peer.why for peer in [*missing, *rounds.missing]}
    found = {
        "rounds": done,
        "peers": [
            {"name": p.name, "label": p.label, "why_not": out[p.name]}
            if p.name in out
            else {"name": p.name, "label": p.label, **said[p.name], "resident_bytes": resident[p.name]}
            for p in peers
        ],
        "summary": summarise(rounds.samples, BASELINE),
    }
    return found, rounds.samples


def choose_rows(data: Sequence[Path], seed: int) -> list[Row]:
    """Rows of the files, drawn with `seed`; without files the demo's, all of them.

    Raises:
        Problem: a file cannot be read.
    """
    if not data:
        return [
            Row(name, "java" if name.endswith(".java") else "python", before, after, rest)
            for name, before, rest, after in samples()
        ]
    rows = [row for path in data for row in load_rows(path)]
    return random.Random(seed).sample(rows, min(_ROWS, len(rows)))


def _references(
    reference: Spec | Missing, places: Sequence[Case], threads: int, report: Report
) -> tuple[dict[str, list[int]], str | None]:
    """The reference's tokens; or none, and why."""
    if isinstance(reference, Missing):
        return {}, reference.why
    report("full depth in float32")
    try:
        return references(reference, places, threads), None
    except Problem as problem:
        return {}, str(problem)
