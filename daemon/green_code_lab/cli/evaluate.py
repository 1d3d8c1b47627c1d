"""`green-code evaluate`: complete a file of rows and score them."""

from __future__ import annotations

import argparse
import json
import random
import sys
from functools import partial
from pathlib import Path

from green_code.cli.progress import clear_progress, show_progress
from green_code.engine.loading import load_measured
from green_code.engine.requests import completion_params, stop, threshold
from green_code.models.catalog import DEFAULT
from green_code.problems import Problem
from green_code.settings import default_settings
from green_code_lab.evaluation.datasets import load_rows
from green_code_lab.evaluation.parallel import workers
from green_code_lab.evaluation.run import evaluate, summarise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", type=Path, required=True, help="rows as .jsonl or .jsonl.gz, ours or CodeXGLUE's")
    add("--language", help="language of CodeXGLUE rows (default: from the file's name)")
    add("--model", default=DEFAULT)
    add("--decoding", choices=("full", "fast", "exact"), default="fast")
    add("--policy", default="agent", help="full, fixed:E, confidence:τ or agent")
    presets = "0.5 to 1, or quality, balanced, saver (default: the editor's, %(default)s)"
    add("--threshold", type=threshold, default=default_settings().threshold, help=presets)
    least = "cut the text where its probability of being right falls below P: 0 (never) to below 1, or eager, balanced, sure (default: %(default)g)"
    add("--stop", type=stop, default=0.0, metavar="P", help=least)
    add("--limit", type=int, help="use this many rows, drawn with --seed")
    add("--seed", type=int, default=0)
    add("--max-tokens", type=int, default=32)
    add("--single-line", action=argparse.BooleanOptionalAction, default=True)
    add("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    add("--out", type=Path, help="folder for rows.jsonl and summary.json; an interrupted run resumes")
    add("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    rows = load_rows(args.data, args.language)
    if not rows:
        raise Problem("bad_request", f"{args.data} has no rows; give another --data.")
    if args.limit is not None and args.limit < len(rows):
        rows = random.Random(args.seed).sample(rows, args.limit)
    names = ("model", "decoding", "policy", "threshold", "stop", "max_tokens", "single_line")
    given = {name: getattr(args, name) for name in names}
    params = completion_params("", **given, max_lines=1 if args.single_line else 16)
    if args.jobs < 1:
        raise Problem("bad_request", f"--jobs {args.jobs} is no number of processes; give 1 or more.")
    report = partial(print, file=sys.stderr)
    runtime = load_measured(args.model, show_progress)
    clear_progress()
    with workers(runtime, args.jobs) as complete:
        done = evaluate(runtime, rows, params, report, args.out, complete)
    summary = summarise(done)
    if args.json:
        print(json.dumps(summary))
        return 0
    for name, means in summary.items():
        low, high = means["edit_similarity_interval"]
        print(
            f"{name:8} {means['rows']:5} rows  edit similarity {means['edit_similarity']:.1f} [{low:.1f}, {high:.1f}]  exact {means['exact_match']:.1%}  "
            f"mean depth {means['mean_depth']:.1f}  body layers run {means['body_share']:.0%} (after the prompt {means['body_share_decode']:.0%})  "
            f"{means['energy_joules']:.1f} J of {means['energy_full_joules']:.1f} J at full depth, saving {means['saving']:.0%} ({means['energy_source']})"
        )
    return 0
