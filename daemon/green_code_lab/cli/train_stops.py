"""The steps `records` and `stops` of `green-code train`: typing is recorded, and learned from to stop and to ask."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from green_code.engine.loading import Runtime, load_measured
from green_code.folders import bundles_dir
from green_code.models.bundle import CALIBRATION, GATE, STOP_AGENT, load_bundle, refresh_manifest
from green_code_lab.agent.stop_candidates import asking_always, choose, compare, records_of, to_ship, train_all
from green_code_lab.corpus import open_corpus
from green_code_lab.evaluation.parallel import jobs_for, processes
from green_code_lab.replay.environment import Replayer
from green_code_lab.replay.record import record_spans
from green_code_lab.replay.records import read_records
from green_code_lab.replay.spans import Part, documents, draw_spans

CHOICE_LINES, TRAIN_LINES = 10, 5  # of a recorded span


def bundle_folder(model: str) -> Path:
    return bundles_dir() / Path(model).name


def make_records(args: argparse.Namespace) -> None:
    """Record what would be suggested at each cursor position: of training projects to learn from, of held-out ones to choose by."""
    runtime = load_measured(args.model, lambda *_: None)
    parts: tuple[tuple[Part, int, int], ...] = (
        ("choice", args.spans // 8, CHOICE_LINES), ("train", args.spans, TRAIN_LINES),
    )  # fmt: skip
    jobs = jobs_for(runtime)
    with processes(runtime, jobs, _record_typing) as record:
        for part in parts:
            for _ in record((args, *part, job, jobs) for job in range(jobs)):
                pass


def _record_typing(runtime: Runtime, task: tuple[argparse.Namespace, Part, int, int, int, int]) -> None:
    """Every `jobs`-th span of a part."""
    args, part, files, lines, job, jobs = task
    corpus = args.work / "corpus"
    read = documents(open_corpus(corpus, runtime.vocabulary, 1, 1), corpus, runtime.vocabulary, part)
    spans = draw_spans(read, files, lines, args.seed)[job::jobs]
    record_spans(runtime, spans, args.work / "replay" / part, f"{part}{job}", print)


def train_stops(args: argparse.Namespace) -> None:
    """Train stop agents and the gate, compare them with rules, and put the best into the bundle.

    Raises Problem where there are no records, or they are of another bundle.
    """
    folder = bundle_folder(args.model)
    runtime, bundle = load_measured(args.model, lambda *_: None), load_bundle(folder)
    learn, choice = (
        Replayer(
            read_records(args.work / "replay" / part, bundle.weights_key), runtime.vocabulary, runtime.costs.prices, runtime.layers_total
        )
        for part in ("train", "choice")
    )  # fmt: skip
    trained = train_all(learn, args.seed, print)
    by_preset = compare(choice, trained, print)
    family = choose(by_preset)
    print(f"ships: {family}")
    gate, suggestions = to_ship(choice, trained, by_preset, family)
    (folder / STOP_AGENT).unlink(missing_ok=True)
    if family in trained.networks:
        network = trained.networks[family]
        network.frozen().save(folder / STOP_AGENT)
    (folder / GATE).write_text(json.dumps(gate, separators=(",", ":")) + "\n")
    suggestions["reference"]["energy_source"] = runtime.energy_source
    suggestions["always"] = asking_always(runtime, choice)
    calibration = {**bundle.calibration, "suggestions": suggestions}
    (folder / CALIBRATION).write_text(json.dumps(calibration, indent=1) + "\n")
    refresh_manifest(folder)
    args.work.joinpath("stops.json").write_text(json.dumps(records_of(by_preset, family), indent=1) + "\n")
