"""`green-code energy`: the totals of the ledger, for people or as JSON.

Must not know: engines or models; it reads the file.
"""

from __future__ import annotations

import argparse
import json
import sys

from green_code import folders
from green_code.energy.ledger import Ledger, Totals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--json", action="store_true", help="write one JSON object to standard output")


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    ledger = Ledger(folders.ledger_path())
    report = ledger.report()
    problem = ledger.problem
    ledger.close()
    if problem is not None:
        print(f"green-code: {problem}", file=sys.stderr)
    if args.json:
        print(json.dumps(report))
        return 0
    if not report["all"]["completions"]:
        print("No completions yet.")
        return 0
    print(
        f"{'':12} {'completions':>11} {'tokens':>8} {'used':>11} {'at full depth':>13} "
        f"{'saved':>7} {'layers':>7}"
    )
    _line("today", report["today"])
    _line("all", report["all"])
    for language in report["by_language"]:
        _line(language["language"], language)
    print(f"Energy by {report['source']}; saved is against the same model, cached, at full depth.")
    return 0


def _line(name: str, totals: Totals) -> None:
    print(
        f"{name[:12]:12} {totals['completions']:>11} {totals['tokens']:>8} {totals['energy_joules']:>9.1f} J "
        f"{totals['energy_full_joules']:>11.1f} J {totals['saving']:>7.0%} {totals['mean_layers']:>7.1f}"
    )
