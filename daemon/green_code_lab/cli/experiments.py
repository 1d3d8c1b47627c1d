"""`green-code experiments NAME`: measure one experiment, and write its data, page and plot into a folder."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from green_code.cli.progress import clear_progress, show_progress
from green_code.engine.loading import load_measured
from green_code.models.catalog import DEFAULT
from green_code.problems import Problem
from green_code_lab.devices import add_device
from green_code_lab.experiments.experiment import Experiment, provenance, rounded

_NAMES = (
    "layers", "energy", "baselines", "quality", "sessions", "stops", "drafts", "prefill-exits", "propagation", "functions", "paper", "rewards", "weight-search", "fim",
    "models", "defaults", "batching", "scaling", "agreement",
)  # fmt: skip
EXPERIMENTS: dict[str, Experiment] = {
    name: importlib.import_module(f"green_code_lab.experiments.{name.replace('-', '_')}").EXPERIMENT for name in _NAMES
}
_ARGUMENTS: dict[str, tuple[type, str]] = {
    "data": (Path, "files of rows, for experiments over rows (default: held-out projects of the corpus, else the demo's files)"),
    "work": (Path, "folder of the corpus and of interim results (default: %(default)s)"),
    "beside": (str, "further models, for the same rows"),
    "models": (str, "of the catalog, or paths (default: the whole catalog; for defaults, light and standard if they are here; for agreement, all bundles)"),
    "spans": (int, "files per language (default: %(default)s)"),
    "minutes": (float, "after which nothing further is begun; another run goes on (default: %(default)s)"),
    "jdk": (Path, "archives like the JDK's src.zip, for Java"),
    "limit": (int, "rows or files per language (default: %(default)s)"),
    "window-seconds": (float, "of a window of the meter (default: %(default)s)"),
    "repetitions": (int, "windows or rounds of each arm (default: %(default)s)"),
    "updates": (int, "of PPO an agent; supervision takes steps in proportion (default: %(default)s)"),
    "tokens": (int, "that each trial of the whole model trains on (default: %(default)s)"),
    "trials": (int, "of the search, of a small model (default: %(default)s)"),
    "seed": (int, "of all that is drawn (default: %(default)s)"),
    "out": (Path, "folder to write to (default: %(default)s)"),
}  # fmt: skip
_QUICK = {"limit": 2, "spans": 1, "minutes": 1.0, "window-seconds": 0.5, "repetitions": 5, "updates": 8, "tokens": 4096, "trials": 2}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = parser.add_subparsers(dest="experiment", metavar="NAME", required=True)
    for name, experiment in EXPERIMENTS.items():
        command = names.add_parser(name, help=experiment.title, description=experiment.question, allow_abbrev=False)  # fmt: skip
        command.add_argument("--model", default=DEFAULT)
        for argument, default in _arguments(experiment).items():
            kind, help = _ARGUMENTS[argument]
            several = {"nargs": "+"} if isinstance(default, list) else {}
            command.add_argument(f"--{argument}", type=kind, default=default, help=help, **several)  # type: ignore[arg-type]
        add_device(command)
        command.add_argument("--quick", action="store_true", help="the cheapest form, to try it")
        command.add_argument("--redraw", action="store_true", help="write page and plot anew from the data")


def _arguments(experiment: Experiment) -> dict[str, Any]:
    common = {"data": [], "work": Path("work"), "seed": 0, "out": Path(experiment.folder)}
    return {**experiment.arguments, **common}


def run(args: argparse.Namespace) -> int:
    experiment = EXPERIMENTS[args.experiment]
    data = args.out / f"{experiment.name}.json"
    try:
        args.out.mkdir(parents=True, exist_ok=True)  # before an hour's measurement rather than after it
        found = json.loads(data.read_text("utf-8")) if args.redraw else None
    except OSError as error:
        raise Problem("bad_request", f"{error}; give another folder with --out.") from error
    experiment.write(found or _measure(experiment, args), args.out)
    _say(f"written to {args.out}: {experiment.name}.json, .md and .svg")
    return 0


def _measure(experiment: Experiment, args: argparse.Namespace) -> dict[str, Any]:
    recorded = {}
    for name in (*experiment.arguments, "seed"):
        field = name.replace("-", "_")
        if args.quick:
            setattr(args, field, _QUICK.get(name, getattr(args, field)))
        recorded[name] = getattr(args, field)
        if name in _QUICK and recorded[name] <= 0:
            raise Problem("bad_request", f"--{name} must be more than 0.")
    _say(f"loading {args.model}")
    runtime = load_measured(args.model, show_progress, args.device)
    clear_progress()
    measured = experiment.measure(runtime, args, _say)
    device = "" if runtime.device == "cpu" else runtime.device
    about = provenance(runtime, experiment.name, {"model": Path(args.model), **recorded, "device": device})
    found: dict[str, Any] = rounded({**about, "notes": [], **measured})
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
