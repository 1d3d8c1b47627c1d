"""`green-code experiments NAME`: measure one experiment, and write its data, page and plot into a folder."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from green_code.engine.loading import load_runtime

from green_code.models.catalog import DEFAULT
from green_code.problems import Problem
from green_code_lab.experiments import (
    baselines,
    drafts,
    energy,
    layers,
    paper,
    prefill_exits,
    propagation,
    quality,
    rewards,
    sessions,
    weight_search,
)
from green_code_lab.experiments.experiment import rounded
from green_code_lab.experiments.pages import write
from green_code_lab.experiments.provenance import provenance

_MODULES = (
    layers,
    energy,
    baselines,
    quality,
    sessions,
    drafts,
    prefill_exits,
    propagation,
    paper,
    rewards,
    weight_search,
)
EXPERIMENTS = {module.EXPERIMENT.name: module.EXPERIMENT for module in _MODULES}


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return number


_ARGUMENTS: dict[str, dict[str, Any]] = {
    "data": {"type": Path, "nargs": "+", "help": "files of rows, as for `green-code evaluate` (default: held-out projects of the corpus, else the demo's files)"},
    "work": {"type": Path, "help": "folder of the corpus and of interim results (default: %(default)s)"},
    "limit": {"type": _at_least(1), "help": "rows or files per language (default: %(default)s)"},
    "window-seconds": {"type": float, "help": "of a window of the meter (default: %(default)s)"},
    "repetitions": {"type": _at_least(5), "help": "windows of each arm, 5 or more (default: %(default)s)"},
    "updates": {"type": _at_least(1), "help": "of PPO an agent; supervision takes steps in proportion (default: %(default)s)"},
    "tokens": {"type": _at_least(1), "help": "that each trial trains on (default: %(default)s)"},
    "trials": {"type": _at_least(2), "help": "of the search, 2 or more (default: %(default)s)"},
}  # fmt: skip
_UNRECORDED = ("work",)  # in the command on the page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = parser.add_subparsers(dest="experiment", metavar="NAME", required=True)
    for experiment in EXPERIMENTS.values():
        command = names.add_parser(
            experiment.name, help=experiment.title, description=experiment.question, allow_abbrev=False
        )
        command.add_argument("--model", default=DEFAULT)
        for name, default in experiment.arguments.items():
            command.add_argument(f"--{name}", default=default, **_ARGUMENTS[name])
        command.add_argument("--seed", type=int, default=0)
        command.add_argument(
            "--out", type=Path, default=Path("docs/experiments"), help="(default: %(default)s)"
        )
        command.add_argument(
            "--redraw",
            action="store_true",
            help="measure nothing: write page and plot anew from OUT/NAME.json",
        )


def run(args: argparse.Namespace) -> int:
    experiment = EXPERIMENTS[args.experiment]
    try:
        args.out.mkdir(parents=True, exist_ok=True)  # before an hour's measurement rather than after it
        found = json.loads((args.out / f"{experiment.name}.json").read_text("utf-8")) if args.redraw else None
    except OSError as error:
        raise Problem(
            "bad_request", f"{args.out} cannot be used ({error}); give another folder with --out."
        ) from error
    if found is None:
        _say(f"loading {args.model}")
        runtime = load_runtime(args.model)
        measured = experiment.measure(runtime, args, _say)
        recorded = ("model", *(name for name in experiment.arguments if name not in _UNRECORDED), "seed")
        options = {name: getattr(args, name.replace("-", "_")) for name in recorded} | {
            "model": Path(args.model)
        }
        found = rounded({**provenance(runtime, experiment.name, options), "notes": [], **measured})
    write(args.out, found, experiment.page, experiment.draw)
    _say(f"written to {args.out}: {experiment.name}.json, .md, .svg and .html")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
