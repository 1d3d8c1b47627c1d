"""`green-code evaluate`: complete a file of rows and score them."""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import get_args

from green_code.cli.progress import clear_progress, show_progress
from green_code.engine.loading import load_measured
from green_code.engine.requests import completion_params, stop, threshold
from green_code.link.messages import PromptForm
from green_code.models.catalog import DEFAULT
from green_code.problems import Problem
from green_code.settings import default_settings
from green_code_lab.corpus.files import Report
from green_code_lab.corpus.own_code import own_files
from green_code_lab.devices import add_device
from green_code_lab.evaluation.datasets import line_rows, load_rows
from green_code_lab.evaluation.held_out import held_out_files, held_out_rows
from green_code_lab.evaluation.parallel import workers
from green_code_lab.evaluation.run import evaluate, summarise
from green_code_lab.evaluation.together import complete_together

_HELD_OUT_ROWS = 100


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
    add("--prompt", choices=get_args(PromptForm), help="force the form of prompts (default: the model's)")
    add(
        "--cut",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="write rows cut out of these folders and archives to --data, and stop",
    )
    rows = "write rows cut out of held-out projects, whose packages this folder of a corpus has, to --data, and stop"
    add(
        "--held-out",
        type=Path,
        metavar="WORK",
        help=f"{rows}; at most --limit per language (default: {_HELD_OUT_ROWS})",
    )
    add("--jdk", type=Path, nargs="+", default=[], metavar="PATH", help="of --held-out: the JDK's src.zip, for Java")
    add_device(parser)
    add("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    add("--batch", type=int, default=1, help="rows in one batch of the kernel, in one process (default: %(default)s)")
    add("--out", type=Path, help="folder for rows.jsonl and summary.json; an interrupted run resumes")
    add("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    if args.cut or args.held_out:
        return _cut(args)
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
    if args.batch < 1 or (args.batch > 1 and args.jobs > 1):
        raise Problem(
            "bad_request",
            f"--batch {args.batch} is no number of rows, or --jobs has several processes; give one of them.",
        )
    report = partial(print, file=sys.stderr)
    runtime = load_measured(args.model, show_progress, args.device)
    clear_progress()
    if args.prompt == "fim" and runtime.layout.fim is None:
        raise Problem("bad_request", f"{args.model} has no tokens for fill-in-the-middle; leave --prompt out.")
    if args.prompt is not None:
        runtime.layout = replace(runtime.layout, form=args.prompt)
    with workers(runtime, args.jobs) as complete:
        batched = partial(complete_together, runtime, most=args.batch) if args.batch > 1 else complete
        done = evaluate(runtime, rows, params, report, args.out, batched)
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


def _cut(args: argparse.Namespace) -> int:
    """Lines of source files, with what follows them; of --cut: a row a file, at most --limit per language. Keep those out of a corpus
    by --exclude."""
    report = Report()
    if args.cut:
        files = [(file.language, file.text) for path in args.cut for file in own_files(path, report)]
        random.Random(args.seed).shuffle(files)
        rows = line_rows(iter(files), args.limit or len(files), args.seed)
    else:
        rows = held_out_rows(held_out_files(args.held_out, args.jdk, report), args.limit or _HELD_OUT_ROWS, args.seed)
    if not rows:
        places = ", ".join(map(str, args.cut or [args.held_out]))
        raise Problem("bad_request", f"there are no lines to cut in {places} (left out: {report}); name other files.")
    try:
        args.data.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), "utf-8")
    except OSError as error:
        raise Problem(
            "bad_request", f"{args.data} cannot be written ({error.strerror}); give another --data."
        ) from error
    counts = Counter(row.language for row in rows)
    print(f"{args.data}: {', '.join(f'{number} rows of {language}' for language, number in sorted(counts.items()))}")
    return 0
