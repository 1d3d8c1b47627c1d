"""`green-code bench`: measure speed beside other engines; writes performance.md, .json and .svg."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from green_code.models.catalog import DEFAULT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="two rounds on one thread, in two minutes")
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="rows (default: the demo's files)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch is imported: all engines can compute on the CPU
    from green_code.kernels.thread_pool import usable_cores
    from green_code_lab.benchmark import page, rounds
    from green_code_lab.benchmark import run as benchmark

    plan = rounds.QUICK if args.quick else rounds.FULL
    plan = replace(plan, threads=tuple(count for count in plan.threads if count <= usable_cores()))
    words = ("=".join(Path(part).name for part in word.split("=")) for word in sys.argv[2:])  # no folders
    args.out.mkdir(parents=True, exist_ok=True)
    report = partial(print, file=sys.stderr, flush=True)
    command = shlex.join(["green-code", "bench", *words])
    page.write(benchmark.run(args.model, args.data, plan, args.seed, command, report), args.out)
    report(f"written to {args.out}: performance.md, .json and .svg")
    return 0
