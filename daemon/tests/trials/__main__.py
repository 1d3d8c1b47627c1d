"""`make trials`: python -m tests.trials [--only NAME …] [--scale 0.1] [--seed N] [--write]."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from green_code.models.rows import DEFAULT
from tests.trials.all_trials import TRIALS
from tests.trials.runner import PAGE, Plan, machine, read_results, run_all, table, write_table

ROOT = Path(__file__).resolve().parents[3]


def main() -> int:
    parser = argparse.ArgumentParser(description="Try to break Green Code, and print a table.")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help=f"of {', '.join(TRIALS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="1: the full run")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers")
    parser.add_argument("--model", default=DEFAULT, help="of kill, recovery, soak and cache")
    parser.add_argument("--results", type=Path, default=ROOT / "work" / "trials" / "results.json")
    parser.add_argument("--write", action="store_true", help=f"also write the table into {PAGE}")
    args = parser.parse_args()
    if unknown := [name for name in args.only if name not in TRIALS]:
        parser.error(f"no trial {unknown[0]}; there are {', '.join(TRIALS)}")
    if args.only:
        kept = read_results(args.results)
        stale = {name: row for name, row in kept.items() if name not in args.only}
        args.results.parent.mkdir(parents=True, exist_ok=True)
        args.results.write_text(json.dumps(stale, indent=1), "utf-8")
    chosen = {name: trial for name, trial in TRIALS.items() if not args.only or name in args.only}
    rows = run_all(chosen, Plan(Path(), args.scale, args.seed, args.model), args.results)
    every = read_results(args.results)
    whole = [every[name] for name in TRIALS if name in every and every[name]["scale"] == args.scale]
    missing = [name for name in TRIALS if name not in [row["name"] for row in whole]]
    text = table(whole, machine(), missing)
    print(f"\n{text}")
    if args.write:
        write_table(ROOT / PAGE, text)
    return 1 if any(row["failed"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
