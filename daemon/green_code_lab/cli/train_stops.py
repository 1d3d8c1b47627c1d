"""The steps `records`, `stops` and `watch` of `green-code train`: typing is recorded, learned from to stop and to ask, and typed again where
code is unlike the corpus."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

from green_code.cli.bundle import stop_lines
from green_code.engine.loading import Runtime, load_measured
from green_code.folders import bundles_dir
from green_code.models.bundle import CALIBRATION, GATE, STOP_AGENT, VALUE_HEADS, changing, load_bundle, refresh_manifest
from green_code.problems import Problem
from green_code_lab.agent import stop_watch
from green_code_lab.agent.stop_candidates import (
    asking_always,
    choose,
    compare,
    compare_heads,
    records_of,
    to_ship,
    train_all,
)
from green_code_lab.corpus import open_corpus
from green_code_lab.evaluation.parallel import jobs_for, processes
from green_code_lab.replay.environment import Replayer
from green_code_lab.replay.record import record_spans, weights_key
from green_code_lab.replay.records import is_recorded, read_records
from green_code_lab.replay.spans import Part, Span, documents, draw_spans

CHOICE_LINES, TRAIN_LINES = 10, 5  # of a recorded span
CHOICE_SHARE = 6  # so many times as many spans to learn from as to choose by
_SPANS_PER_FILE = 4


def bundle_folder(model: str) -> Path:
    return bundles_dir() / Path(model).name


def make_records(args: argparse.Namespace) -> None:
    """Record what would be suggested at each cursor position: of training projects to learn from, of held-out ones to choose by.

    A file has a few spans, in which the languages take turns. Those that are there already are kept, so that a run can go on, also with
    more spans; and what is there is balanced whenever it ends.
    """
    runtime, tasks = load_measured(args.model, device=args.device), list[_Task]()
    corpus, weights = open_corpus(args.work / "corpus", runtime.vocabulary, 1, 1), weights_key(args.model)
    parts: tuple[tuple[Part, int, int], ...] = (
        ("choice", max(1, args.spans // CHOICE_SHARE), CHOICE_LINES), ("train", args.spans, TRAIN_LINES),
    )  # fmt: skip
    for part, count, lines in parts:
        files = documents(corpus, args.work / "corpus", runtime.vocabulary, part)
        spans, folder = draw_spans(files, count, lines, args.seed), args.work / "replay" / part
        chunks = {folder / f"{i:05}.npz": spans[i : i + _SPANS_PER_FILE] for i in range(0, len(spans), _SPANS_PER_FILE)}
        tasks += [_Task(each, path, weights) for path, each in chunks.items()]
    todo = [task for task in tasks if not is_recorded(task.path, task.spans, weights)]
    print(f"{len(todo)} of {len(tasks)} files of records to make, {_SPANS_PER_FILE} spans each")
    keys, done, start = sum(task.keys for task in todo), 0, time.monotonic()
    with processes(runtime, min(jobs_for(runtime), max(1, len(todo))), _record) as record:
        for task, _ in zip(todo, record(todo), strict=True):
            done += task.keys
            spent = time.monotonic() - start
            print(
                f"{task.path.parent.name}/{task.path.name}: {done / keys:.0%} of {keys:,} keys in {spent / 60:.0f} min, "
                f"about {spent / done * (keys - done) / 60:.0f} min left", flush=True,
            )  # fmt: skip


class _Task(NamedTuple):
    """A file of records to make."""

    spans: list[Span]
    path: Path
    weights: str

    @property
    def keys(self) -> int:
        return sum(len(span.cursors) for span in self.spans)


def _record(runtime: Runtime, task: _Task) -> None:
    record_spans(runtime, task.spans, task.path, task.weights)


def train_stops(args: argparse.Namespace) -> None:
    """Train stop agents, value heads and the gate, compare them with rules, and put the best into the bundle.

    Raises Problem where there are no records, or they are of another bundle.
    """
    folder = bundle_folder(args.model)
    runtime, bundle = load_measured(args.model, device=args.device), load_bundle(folder)
    learn, choice = (
        Replayer(
            read_records(args.work / "replay" / part, weights_key(args.model)), runtime.vocabulary, runtime.costs.prices, runtime.layers_total
        )
        for part in ("train", "choice")
    )  # fmt: skip
    trained = train_all(learn, args.seed, print)
    by_preset = compare(choice, trained, print)
    family = choose(by_preset)
    ships = compare_heads(choice, trained.heads, by_preset, family, print)
    print("\n".join(f"{preset} ships: {each}" for preset, each in ships.items()))
    gate, suggestions = to_ship(choice, trained.gate, by_preset, family, ships)
    print("\n".join(stop_lines(suggestions["presets"])))
    suggestions["reference"]["energy_source"] = runtime.energy_source
    suggestions["always"] = asking_always(runtime, choice)
    calibration = {**bundle.calibration, "suggestions": suggestions}
    with changing(folder) as new:
        for part in (STOP_AGENT, VALUE_HEADS):
            (new / part).unlink(missing_ok=True)
        if family in trained.networks:
            trained.networks[family].frozen().save(new / STOP_AGENT)
        if any(each != family for each in ships.values()):
            trained.heads.save(new / VALUE_HEADS)
        (new / GATE).write_text(json.dumps(gate, separators=(",", ":")) + "\n")
        (new / CALIBRATION).write_text(json.dumps(calibration, indent=1) + "\n")
        refresh_manifest(new)
    args.work.joinpath("stops.json").write_text(json.dumps(records_of(by_preset, ships), indent=1) + "\n")


def watch_stops(args: argparse.Namespace) -> None:
    """Score the bundle's stops on code unlike the corpus, and record it in the calibration.

    Raises Problem where the bundle has no stops, or one loses there; what was found is recorded even so, and the tests refuse to ship it.
    """
    folder = bundle_folder(args.model)
    calibration = load_bundle(folder).calibration
    if not calibration.get("suggestions", {}).get("presets"):
        raise Problem("bad_request", f"the bundle of {args.model} has no stops; run `green-code train stops`.")
    runtime = load_measured(args.model, device=args.device)
    found = stop_watch.type_unlike(runtime, stop_watch.unlike_spans(), print)
    with changing(folder) as new:
        now = load_bundle(folder).calibration  # other commands may have changed it while the functions were typed
        if now.get("suggestions") != calibration["suggestions"]:
            raise Problem(
                "bad_request",
                f"the stops of {args.model} changed while they were tried; run `green-code train watch` again.",
            )
        suggestions = {**now["suggestions"], "unlike": stop_watch.record(found)}
        (new / CALIBRATION).write_text(json.dumps({**now, "suggestions": suggestions}, indent=1) + "\n")
        refresh_manifest(new)
    stop_watch.check(found)
