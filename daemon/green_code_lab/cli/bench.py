"""`python -m green_code_lab.benchmark [--quick]`: measure, then write performance.md, .json, .svg and .html into one folder."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from green_code.kernels.decoder import usable_cores
from green_code.models.catalog import DEFAULT
from green_code.problems import Problem
from green_code_lab.benchmark.page import page
from green_code_lab.benchmark.plot import draw
from green_code_lab.benchmark.rounds import FULL, QUICK
from green_code_lab.benchmark.run import run
from green_code_lab.experiments.pages import write

_STARTS, _QUICK_STARTS = 5, 1


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status. Usage errors raise SystemExit(2), as argparse does."""
    args = _parser().parse_args(argv)
    plan = QUICK if args.quick else FULL
    plan = replace(plan, threads=tuple(count for count in plan.threads if count <= usable_cores()))
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        found = run(
            args.model,
            args.data,
            plan,
            _QUICK_STARTS if args.quick else _STARTS,
            args.seed,
            _command(args),
            _say,
        )
        write(args.out, found, page, draw)
    except (Problem, OSError) as problem:
        print(f"green-code: {problem}", file=sys.stderr)
        return 1
    _say(f"written to {args.out}: performance.md, .json, .svg and .html")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m green_code_lab.benchmark", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="two rounds on one thread, in two minutes")
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=[],
        help="files of rows, as for `green-code evaluate` (default: the demo's)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    return parser


def _command(args: argparse.Namespace) -> str:
    """What to type to get this again; files are named without their folders."""
    words = [
        "python",
        "-m",
        "green_code_lab.benchmark",
        *["--quick"] * args.quick,
        "--model",
        Path(args.model).name,
    ]
    words += ["--data", *(path.name for path in args.data)] if args.data else []
    return shlex.join([*words, "--seed", str(args.seed)])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for profile and bound, too, on the CPU
    sys.exit(main())
