"""`green-code energy`: shows the ledger's totals, exports its rows, or deletes them.

Must not know: engines or models; it reads the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from green_code import folders
from green_code.energy.export import export
from green_code.energy.ledger import Ledger
from green_code.problems import Problem
from green_code.report import Totals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="write one JSON object to standard output")
    actions = parser.add_subparsers(dest="action", metavar="export|delete")
    help = "write a row for each completion to a file: no code, no file names"
    to_file = actions.add_parser("export", help=help, description=help)
    to_file.add_argument("file", type=Path, help="its name ends in .csv or .json")
    help = "delete the whole history"
    delete = actions.add_parser("delete", help=help, description=help)
    delete.add_argument("--yes", action="store_true", help="confirm the deletion")


def run(args: argparse.Namespace) -> int:
    """Print the report, export the rows, or delete them.

    Raises:
        Problem: the rows cannot be exported, or their deletion is not confirmed.
    """
    ledger = Ledger(folders.ledger_path())
    if ledger.problem is not None:
        print(f"green-code: {ledger.problem}", file=sys.stderr)
    try:
        return _ACTIONS[args.action](ledger, args)
    finally:
        ledger.close()


def _export(ledger: Ledger, args: argparse.Namespace) -> int:
    _require_file(ledger)
    print(f"{export(ledger.rows(), args.file)} completions written to {args.file}")
    return 0


def _delete(ledger: Ledger, args: argparse.Namespace) -> int:
    if not args.yes:
        raise Problem("bad_request", f"This would delete every row of {ledger.path}. Confirm with --yes.")
    _require_file(ledger)
    print(f"{ledger.delete()} rows deleted")
    return 0


def _require_file(ledger: Ledger) -> None:
    """Raises Problem if the ledger is in memory because the file cannot be used."""
    if ledger.in_memory:
        raise Problem("cache_unwritable", ledger.problem or f"{ledger.path} cannot be opened.")


def _print(ledger: Ledger, args: argparse.Namespace) -> int:
    report = ledger.report()
    if args.json:
        print(json.dumps(report))
        return 0
    if not report["all"]["completions"]:
        print("No completions yet.")
        return 0
    print(
        f"{'':12} {'completions':>11} {'tokens':>8} {'used':>11} {'at full depth':>13} {'saved':>7} {'layers':>7} "
        f"{'accepted':>16} {'J/char':>7}"
    )
    _line("today", report["today"])
    _line("all", report["all"])
    for language in report["by_language"]:
        _line(language["language"], language)
    print(f"Energy source: {report['all']['source']}. The baseline is the same model with a KV cache, at full depth.")
    print("J/char: all joules used, over the characters of suggestions that were accepted.")
    return 0


def _line(name: str, totals: Totals) -> None:
    joules, characters = totals["energy_joules"], totals["accepted_characters"]
    print(
        f"{name[:12]:12} {totals['completions']:>11} {totals['tokens']:>8} {joules:>9.1f} J "
        f"{totals['energy_full_joules']:>11.1f} J {totals['saving']:>7.0%} {totals['mean_layers']:>7.1f} "
        f"{characters:>11} chars {f'{joules / characters:.2f}' if characters else '-':>7}"
    )


_ACTIONS: dict[str | None, Callable[[Ledger, argparse.Namespace], int]] = {
    None: _print,
    "export": _export,
    "delete": _delete,
}
