"""What does typing cost in each mode: joules per accepted character, and how many characters do suggestions write?

In each file ten lines are typed again in their place, as `replay/typist.py` describes: keys in bursts with pauses, the front's debounce and
type-through, requests that the next key cancels, and suggestions that are accepted where the file goes on with exactly them. Each mode
meets the same typing. The engine's own sessions serve it. Stops, gate and agent were chosen on *chosen on* files; nothing was ever
chosen on the files of the projects that were *kept away* (networkx, java.net.http, java.prefs), except the presets of the exit threshold
and the first rates of drafts, which earlier measurements over all held-out projects set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from green_code.engine.loading import Runtime
from green_code.models.bundle import AGENT, GATE, STOP_AGENT, VALUE_HEADS, bundle_of
from green_code.settings import STOPS, default_settings
from green_code_lab.corpus import open_corpus
from green_code_lab.evaluation.parallel import jobs_for, processes
from green_code_lab.experiments.common import drafting_policy, facts
from green_code_lab.experiments.experiment import Args, Experiment, Found, Report, Table, interval_figure, ratio_figure
from green_code_lab.experiments.interim import Interim
from green_code_lab.experiments.plots import Bars
from green_code_lab.replay.service import Arm, serve_span
from green_code_lab.replay.spans import Part, Span, documents, draw_spans
from green_code_lab.replay.typist import Typed

LINES = 10  # of a span
BEFORE, FULL, EXACT = "full depth, no stop, each request anew", "full depth, no stop", "exact, no stop"
_PARTS: dict[Part, str] = {"choice": "chosen on", "final": "kept away"}
_SUMS = (
    "keys", "accepted", "requests", "cancelled", "gated", "along", "shown", "right", "rejected", "vanished", "tokens", "joules", "opening",
)  # fmt: skip


def arms(runtime: Runtime) -> list[Arm]:
    """Without a stop: full depth, also without resuming, and `exact`. Then `exact` at each stop with the gate, and `fast`."""
    drafting, usual = drafting_policy(runtime), default_settings().suggestions
    found = [Arm(BEFORE, "full", "full", resumes=False), Arm(FULL, "full", "full"), Arm(EXACT, "exact", drafting)]
    found += [Arm(f"exact, {stop}", "exact", drafting, stop=stop, gated=True) for stop in STOPS]
    if runtime.agent is not None:
        found.append(Arm(f"fast, {usual}", "fast", stop=usual, gated=True))
    return found


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    compared, spans = arms(runtime), dict[str, list[Span]]()
    corpus, folder = open_corpus(args.work / "corpus", runtime.vocabulary, 1, 1), args.work / "corpus"
    for part, name in _PARTS.items():
        spans[name] = draw_spans(documents(corpus, folder, runtime.vocabulary, part), args.limit, LINES, args.seed)
    done = _serve(runtime, compared, [span for own in spans.values() for span in own], args, report)
    found = [
        {"part": part, **summary(arm.name, {name: [done[name, key(span)] for span in own] for name in (arm.name, BEFORE, FULL, EXACT)}, args.seed)}
        for part, own in spans.items() for arm in compared
    ]  # fmt: skip
    counts = "; ".join(
        f"{part}: {len(own)} files, {sum(span.keys for span in own):,} keys" for part, own in spans.items()
    )
    data = f"files of held-out projects of the corpus, Python and Java in equal parts; {counts}; drawn with seed {args.seed}"
    return {"settings": {"data": data, "typing": f"{LINES} lines of each file", **facts(runtime)}, "arms": found}


def key(span: Span) -> str:
    """Identifies a span among those of a run."""
    return f"{span.project} {len(span.before)} {span.text[:60]}"


Sums = dict[str, Any]


def sums(typed: Typed) -> Sums:
    """What is kept of one replay."""
    return {**{name: getattr(typed, name) for name in _SUMS}, "by_fate": typed.by_fate}


def _serve(
    runtime: Runtime, compared: Sequence[Arm], spans: Sequence[Span], args: Args, report: Report
) -> dict[tuple[str, str], Sums]:
    """Sums by arm and span. Replays that an earlier run made with the same bundle are read from WORK/sessions.jsonl."""
    kept = Interim(args.work / "sessions.jsonl")
    versions = {arm.name: version(runtime, arm, args.seed) for arm in compared}
    names = {(arm.name, key(span)): f"{versions[arm.name]} {key(span)}" for span in spans for arm in compared}
    todo = [(arm, span, args.seed) for span in spans for arm in compared if names[arm.name, key(span)] not in kept]
    with processes(runtime, jobs_for(runtime) if len(todo) > 1 else 1, _replay) as replay:
        for i, ((arm, span, _), found) in enumerate(zip(todo, replay(todo), strict=True), 1):
            kept[names[arm.name, key(span)]] = found
            report(f"{i} of {len(todo)} replays")
    return {which: kept[name] for which, name in names.items()}


def version(runtime: Runtime, arm: Arm, seed: int) -> str:
    """Of all that a replay's result depends on, besides the code: weights, prices, exits, and what stops it."""
    bundle, stops = bundle_of(runtime.model), list[Any]()
    files = bundle.manifest["files"] if bundle is not None else {}
    if arm.stop:
        preset = runtime.calibration.get("suggestions", {}).get("presets", {}).get(arm.stop, {})
        stops = [
            files.get(GATE),
            files.get(STOP_AGENT),
            files.get(VALUE_HEADS),
            preset.get("stop"),
            preset.get("refusal"),
        ]
    weights = bundle.weights_key if bundle is not None else runtime.weights
    parts = [weights, asdict(runtime.costs.prices), files.get(AGENT), *asdict(arm).values(), stops, seed]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _replay(runtime: Runtime, job: tuple[Arm, Span, int]) -> Sums:
    """Joules are counted from work, so that processes do not disturb each other's."""
    arm, span, seed = job
    return sums(serve_span(runtime, span, arm, seed))


def summary(arm: str, by_arm: Mapping[str, Sequence[Sums]], seed: int) -> Found:
    """An arm's figures over the files of a part, with intervals over files, and ratios to the arms without a stop."""
    own = by_arm[arm]

    def ratio(above: str, below: str) -> list[float]:
        return ratio_figure([(each[above], each[below]) for each in own], seed)

    def against(others: Sequence[Sums]) -> tuple[list[float], list[float]]:
        """How many times fewer joules per accepted character, and how many times the accepted characters."""
        pairs = list(zip(own, others, strict=True))

        def cheaper(drawn: Sequence[tuple[Sums, Sums]]) -> float:
            (joules, accepted), (other_joules, other_accepted) = (
                (sum(pair[which]["joules"] for pair in drawn), max(1, sum(pair[which]["accepted"] for pair in drawn)))
                for which in (0, 1)
            )
            return float(other_joules / other_accepted / (joules / accepted))

        def more(drawn: Sequence[tuple[Sums, Sums]]) -> float:
            return float(
                sum(mine["accepted"] for mine, _ in drawn) / max(1, sum(other["accepted"] for _, other in drawn))
            )

        return interval_figure(pairs, cheaper, seed), interval_figure(pairs, more, seed)

    total = {name: sum(each[name] for each in own) for name in _SUMS}
    fates = {
        name: sum(each["by_fate"][name] for each in own) / max(1e-9, total["joules"])
        for name in ("taken", "wrong", "nothing")
    }
    cheaper_full, more = against(by_arm[FULL])
    return {
        "arm": arm, "joules_per_character": ratio("joules", "accepted"), "cheaper_than_before": against(by_arm[BEFORE])[0],
        "cheaper_than_full": cheaper_full, "opening": total["opening"] / len(own),
        "cheaper_than_exact": against(by_arm[EXACT])[0], "accepted": ratio("accepted", "keys"), "more_accepted": more,
        "right": ratio("right", "shown"), "shown_per_100": 100 * total["shown"] / total["keys"],
        "rejected_per_100": 100 * total["rejected"] / total["keys"], "requests_per_100": 100 * total["requests"] / total["keys"],
        "vanished": total["vanished"] / max(1, total["shown"]), "joules_per_100_keys": 100 * total["joules"] / total["keys"], **fates,
    }  # fmt: skip


EXPERIMENT = Experiment(
    "sessions", "What typing costs in each mode", __doc__, measure, {"limit": 20},
    (
        Table(
            "arms", "Joules per accepted character",
            "*Anew*, *full*, *exact*: how many times fewer joules per accepted character than these without a stop; *anew* runs the prompt's last position "
            "at each request, as Green Code did before. *Accepted*: share of the keys that suggestions spared; *more*: times what full depth without a "
            "stop spared. *Right*: suggestions with which the file goes on exactly, to their "
            "end. What is accepted is right, and so it is kept.",
            (
                ("mode", "arm", ""), ("J/char.", "joules_per_character", "2"), ("anew", "cheaper_than_before", "x1"), ("full", "cheaper_than_full", "x1"),
                ("exact", "cheaper_than_exact", "x1"), ("accepted", "accepted", "%1"), ("more", "more_accepted", "x2"), ("right", "right", "%0"),
            ), ("part",),
        ),
        Table(
            "arms", "What is asked and shown",
            "Per 100 keys: *requests* to the engine, *shown* suggestions, *rejected* ones, which were seen and wrong, and joules. *Vanished*: shown "
            "suggestions that the next key removed within 0.1 s. *Taken*, *wrong*, *nothing*: shares of the joules in suggestions that were accepted at least "
            "in part, in those that were not, and in requests that showed nothing. *Opening*: joules that bring the file into the cache, once, which no other "
            "figure has.",
            (
                ("mode", "arm", ""), ("requests", "requests_per_100", "1"), ("shown", "shown_per_100", "1"), ("rejected", "rejected_per_100", "1"),
                ("vanished", "vanished", "%1"), ("joules", "joules_per_100_keys", "1"), ("taken", "taken", "%0"), ("wrong", "wrong", "%0"),
                ("nothing", "nothing", "%0"), ("opening", "opening", "1"),
            ), ("part",),
        ),
    ),
    Bars("Joules per accepted character", "arms", "part", "arm", (("joules_per_character", "joules"),), "joules per accepted character (estimate)"),
)  # fmt: skip
