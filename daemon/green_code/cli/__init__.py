"""The command line: one table of commands, each in a module of its own that is imported when it is asked for.

A command's module offers `add_arguments(parser)` and `run(args) -> exit status`. Exit status: 0 done, 1
failed, 2 usage. Errors go to standard error and name cause and fix; with --json, {"reason", "message"} goes
to standard output as well.
Must not know: what any command does. `green-code --help` imports none of them.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import io
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final, NamedTuple

from green_code import __version__
from green_code.problems import Problem


class Command(NamedTuple):
    """Where a command lives, and its line in --help."""

    module: str
    help: str


COMMANDS: Final[dict[str, Command]] = {
    "complete": Command("green_code.cli.complete", "complete at a place in a file, or after standard input"),
    "lsp": Command("green_code.cli.lsp", "serve an editor: LSP over standard input and output"),
    "engine": Command("green_code.cli.engine", "run, stop or inspect the engine that holds the model"),
    "energy": Command("green_code.cli.energy", "show the energy used and saved so far"),
    "doctor": Command("green_code.cli.doctor", "check the installation and say how to mend it"),
    "bundle": Command("green_code.cli.bundle", "check and describe bundles"),
    "demo": Command("green_code.cli.demo", "show the savings on a few built-in examples"),
}
LAB_COMMANDS: Final = ("adapt", "train", "evaluate", "bench", "experiments")
"""Commands of the distribution green-code-lab, which adds them through entry points of this group."""
ENTRY_POINTS: Final = "green_code.commands"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Usage errors raise SystemExit(2), as argparse does."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a character is no failure
    try:
        return _dispatch(arguments)
    except Problem as problem:
        return _fail(arguments, problem.reason, str(problem))
    except KeyboardInterrupt:
        print("green-code: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone (`| head`). Python would complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        traceback.print_exc()
        return _fail(
            arguments,
            "internal_error",
            f"{type(error).__name__}: {error}. This is a bug in green-code; please report the lines above.",
        )


def _dispatch(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="green-code",
        description="Local code completion that stops the model at the earliest layer that will do.",
    )
    parser.add_argument("--version", action="version", version=f"green-code {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    module = None
    commands = COMMANDS if chosen in COMMANDS else {**COMMANDS, **_added()}
    if chosen in LAB_COMMANDS and chosen not in commands:
        raise Problem(
            "bad_request", f"`green-code {chosen}` is part of green-code-lab; run: pip install green-code-lab"
        )
    for name, command in commands.items():
        subparser = subparsers.add_parser(
            name,
            help=command.help,
            description=command.help[0].upper() + command.help[1:] + ".",
            allow_abbrev=False,
        )
        if name == chosen:
            module = importlib.import_module(command.module)
            module.add_arguments(subparser)
    args = parser.parse_args(arguments)
    status: int = module.run(args) if module is not None else 2
    return status


def _added() -> dict[str, Command]:
    """The commands of other distributions."""
    return {point.name: point.load() for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _fail(arguments: Sequence[str], reason: str, message: str) -> int:
    print(f"green-code: {message}", file=sys.stderr)
    if "--json" in arguments:
        print(json.dumps({"reason": reason, "message": message}))
    return 1
