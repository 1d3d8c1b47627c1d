"""The whole benchmark: the content of performance.json."""

from __future__ import annotations

import asyncio
import datetime
import platform
from collections.abc import Callable, Sequence
from contextlib import closing
from operator import methodcaller
from pathlib import Path
from statistics import median_high
from typing import Any

from green_code import __version__
from green_code.energy.meters import pick_meter
from green_code.engine.loading import Runtime, load_measured
from green_code.engine.measured_costs import processor_name
from green_code.kernels.thread_pool import usable_cores
from green_code.models.bundle import bundle_of
from green_code.models.catalog import find_model
from green_code.models.conversion import adapted_weights
from green_code.models.torch_decoder import Decoder
from green_code.settings import default_settings
from green_code_lab.benchmark.engines import BASELINE, engines
from green_code_lab.benchmark.internals import forward_passes, memory_bound, profile, rounding
from green_code_lab.benchmark.peers import Spec
from green_code_lab.benchmark.peers.green_code import disable_stops
from green_code_lab.benchmark.process import pin
from green_code_lab.benchmark.prompts import Case, cases, choose_rows
from green_code_lab.benchmark.rounds import COMPLETION_TOKENS, Plan, Rounds, agreement, summarise
from green_code_lab.benchmark.starts import measure_starts

_TABLES = {1: "one_thread", 2: "two_threads"}  # by number of threads


def run(
    model: str, data: Sequence[Path], plan: Plan, seed: int, command: str, report: Callable[[str], None]
) -> dict[str, Any]:
    """Measure everything. Raises Problem if the model, its bundle or the rows cannot be used; engines may be missing."""
    report(f"loading {model}")
    runtime = load_measured(model)
    places = cases(choose_rows(data, seed), runtime.vocabulary)[: plan.rounds]
    *specs, reference = engines(model, report)
    threads = max(plan.threads)
    report(f"agreement with {reference.label} {reference.missing}")
    right: dict[str, list[int]] = {}
    with closing(Rounds([reference], report)) as rounds:
        for place in places:
            ask = methodcaller("complete", place.short, COMPLETION_TOKENS, True, threads)
            for answer in rounds.ask_all(ask).values():
                right[place.id] = answer["tokens"]
    report(f"starting {len(specs)} engines")
    with closing(Rounds(specs, report)) as rounds:
        done = rounds.run(places, plan)
    report("profile, forward passes, rounding, memory bound and start times")
    figures = summarise(rounds.samples, BASELINE)
    baseline = {count: figures.get((BASELINE, count), {}).get("token_ms") for count in plan.threads}
    shares = agreement(rounds.samples, right, runtime.vocabulary)
    resident = {sample["engine"]: sample["bytes"] for sample in rounds.samples}  # the last sample's

    def row(spec: Spec, threads: int) -> dict[str, Any]:
        if spec.name in rounds.missing:
            return {"label": f"{spec.label} (not set up: {rounds.missing[spec.name]})"}
        about = {"label": spec.label, "mib": resident[spec.name] / 2**20, "agreement": shares.get(spec.name)}
        return {**about, **figures[spec.name, threads]}

    meter, decoder, prompt = pick_meter(None), runtime.decoder, places[0].short
    float32 = Decoder.load(*adapted_weights(find_model(model), bundle_of(model)))
    disable_stops(runtime)
    pin(threads)
    return {
        "provenance": _provenance(runtime, data, seed, plan, places[:done], done)
        | {"command": command, "joules": meter.describe()}
        | {spec.label: rounds.versions[spec.name] for spec in specs if spec.name in rounds.versions},
        "joules": "estimated" if meter.source == "estimate" else "measured",
        **{_TABLES[threads]: [row(spec, threads) for spec in specs] for threads in plan.threads},
        "profile": profile(runtime, prompt, plan.decode_tokens),
        "forward_passes": forward_passes(decoder, prompt.ids, plan.threads),
        "bound": memory_bound(decoder, baseline),
        "rounding": [rounding(decoder, float32, [place.long.ids for place in places[:6]])],
        **asyncio.run(measure_starts(model, plan.starts)),
    }


def _provenance(
    runtime: Runtime, data: Sequence[Path], seed: int, plan: Plan, places: Sequence[Case], rounds: int
) -> dict[str, str]:
    short = median_high(len(place.short.ids) for place in places)
    long = median_high(len(place.long.ids) for place in places)
    return {
        "date": datetime.date.today().isoformat(),
        "model": f"{Path(runtime.model).name}, weights {runtime.weights[:12]}",
        "machine": f"{processor_name()}, {usable_cores()} cores usable, {platform.system()}",
        "versions": f"Green Code {__version__}, Python {platform.python_version()}",
        "rows": f"{', '.join(path.name for path in data) or 'the demo'}, seed {seed}",
        "prompts": f"{short:,} and {long:,} tokens (median)",
        "rounds": f"{rounds} over {len(places)} places, with {plan.decode_tokens} tokens for *token*",
        "starts": str(plan.starts),
        "profile": f"`fast` at threshold {default_settings().threshold}",
    }
