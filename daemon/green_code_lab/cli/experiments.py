"""`green-code experiments NAME`: measure one experiment, and write its data, page and plot into a folder."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from green_code.engine.loading import load_runtime
from green_code.models.catalog import DEFAULT
from green_code.problems import Problem
from green_code_lab.experiments.experiment import Experiment, rounded
from green_code_lab.experiments.pages import write
from green_code_lab.experiments.provenance import provenance

_NAMES = (
    "layers", "energy", "baselines", "quality", "sessions", "drafts", "prefill-exits", "propagation", "paper", "rewards", "weight-search",
)  # fmt: skip
EXPERIMENTS: dict[str, Experiment] = {
    name: importlib.import_module(f"green_code_lab.experiments.{name.replace('-', '_')}").EXPERIMENT
    for name in _NAMES
}
_ARGUMENTS: dict[str, tuple[type, str]] = {
    "data": (Path, "files of rows, as for `green-code evaluate` (default: held-out projects of the corpus, else the demo's files)"),
    "work": (Path, "folder of the corpus and of interim results (default: %(default)s)"),
    "limit": (int, "rows or files per language (default: %(default)s)"),
    "window-seconds": (float, "of a window of the meter (default: %(default)s)"),
    "repetitions": (int, "windows of each arm (default: %(default)s)"),
    "updates": (int, "of PPO an agent; supervision takes steps in proportion (default: %(default)s)"),
    "tokens": (int, "that each trial trains on (default: %(default)s)"),
    "trials": (int, "of the search (default: %(default)s)"),
    "seed": (int, "of all that is drawn (default: %(default)s)"),
    "out": (Path, "folder to write to (default: %(default)s)"),
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = parser.add_subparsers(dest="experiment", metavar="NAME", required=True)
    for name, experiment in EXPERIMENTS.items():
        command = names.add_parser(
            name, help=experiment.title, description=experiment.question, allow_abbrev=False
        )
        command.add_argument("--model", default=DEFAULT)
        for argument, default in _arguments(experiment).items():
            kind, help = _ARGUMENTS[argument]
            several = {"nargs": "+"} if isinstance(default, list) else {}
            command.add_argument(f"--{argument}", type=kind, default=default, help=help, **several)  # type: ignore[arg-type]
        command.add_argument(
            "--redraw", action="store_true", help="measure nothing; write page and plot anew from the data"
        )


def _arguments(experiment: Experiment) -> dict[str, Any]:
    return {**experiment.arguments, "seed": 0, "out": Path("docs/experiments")}


def run(args: argparse.Namespace) -> int:
    experiment = EXPERIMENTS[args.experiment]
    data = args.out / f"{experiment.name}.json"
    try:
        args.out.mkdir(parents=True, exist_ok=True)  # before an hour's measurement rather than after it
        found = json.loads(data.read_text("utf-8")) if args.redraw else _measure(experiment, args)
        write(args.out, found, experiment.page, experiment.draw)
    except OSError as error:
        raise Problem("bad_request", f"{error}; give another folder with --out.") from error
    _say(f"written to {args.out}: {experiment.name}.json, .md and .svg")
    return 0


def _measure(experiment: Experiment, args: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(args, name.replace("-", "_")) for name in _arguments(experiment)}
    if too_small := [
        name for name, value in given.items() if isinstance(value, int) and value < (name != "seed")
    ]:
        raise Problem("bad_request", f"--{too_small[0]} must be at least 1.")
    _say(f"loading {args.model}")
    runtime = load_runtime(args.model)
    measured = experiment.measure(runtime, args, _say)
    options = {name: value for name, value in given.items() if name not in ("work", "out")}
    about = provenance(runtime, experiment.name, {"model": Path(args.model), **options})
    found: dict[str, Any] = rounded({**about, "notes": [], **measured})
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
