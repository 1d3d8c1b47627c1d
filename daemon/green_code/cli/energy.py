"""`green-code energy`: shows the ledger's totals, exports its rows, or deletes them.

Must not know: engines or models; it reads the file, and leaves it as it is where nothing is to be deleted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from green_code import folders
from green_code.energy.export import export
from green_code.energy.ledger_file import delete_rows, read_report, read_rows
from green_code.energy.rows import UNKNOWN
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
        Problem: the file cannot be read, the rows cannot be exported, or their deletion is not confirmed.
    """
    return _ACTIONS[args.action](folders.ledger_path(), args)


def _export(ledger: Path, args: argparse.Namespace) -> int:
    print(f"{export(read_rows(ledger), args.file)} rows written to {args.file}")
    return 0


def _delete(ledger: Path, args: argparse.Namespace) -> int:
    if not args.yes:
        raise Problem("bad_request", f"This would delete every row of {ledger}. Confirm with --yes.")
    print(f"{delete_rows(ledger)} rows deleted")
    return 0


def _print(ledger: Path, args: argparse.Namespace) -> int:
    report = read_report(ledger)
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
    if idle := report["idle_joules"]:
        print(f"While the model waited, the GPU used {idle:.1f} J, which is in the joules used.")
    if unmeasured := report["all"]["unmeasured"]:
        print(f"{unmeasured} completions: energy unknown, in no figure of joules: nothing measured it.")
    print(f"Energy source: {report['all']['source']}. The baseline is the same model with a KV cache, at full depth.")
    print("J/char: all joules used, over the characters of suggestions that were accepted.")
    return 0


def _line(name: str, totals: Totals) -> None:
    joules, characters = totals["energy_joules"], totals["accepted_characters"]
    figures = [f"{joules:.1f} J", f"{totals['energy_full_joules']:.1f} J", f"{totals['saving']:.0%}"]
    if totals["source"] == UNKNOWN:
        figures = [UNKNOWN, "-", "-"]
    each = f"{joules / characters:.2f}" if characters and not totals["unmeasured"] else "-"
    print(
        f"{name[:12]:12} {totals['completions']:>11} {totals['tokens']:>8} {figures[0]:>11} {figures[1]:>13} {figures[2]:>7} "
        f"{totals['mean_layers']:>7.1f} {characters:>11} chars {each:>7}"
    )


_ACTIONS: dict[str | None, Callable[[Path, argparse.Namespace], int]] = {
    None: _print,
    "export": _export,
    "delete": _delete,
}
