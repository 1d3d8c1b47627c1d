"""The command line: one table of commands, each in a module of its own that is imported only when it runs.

A command's module has `add_arguments(parser)` and `run(args) -> exit status`. Exit status: 0 done, 1 failed, 2 usage. Errors
go to standard error with a cause and a fix; with --json, {"reason", "message"} goes to standard output as well. Other
distributions add commands through entry points of the group `green_code.commands`, each a `Command`.
Must not know: what any command does.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final, NamedTuple

from green_code import __version__, folders
from green_code.problems import Problem


class Command(NamedTuple):
    """A command's module, and its line in --help."""

    module: str
    help: str


COMMANDS: Final[dict[str, Command]] = {
    "complete": Command("green_code.cli.complete", "complete at a position in a file, or after standard input"),
    "lsp": Command("green_code.cli.lsp", "serve an editor: LSP over standard input and output"),
    "engine": Command("green_code.cli.engine", "run, stop or inspect the engine that holds the model"),
    "energy": Command("green_code.cli.energy", "show the energy used and saved so far"),
    "doctor": Command("green_code.cli.doctor", "check the installation and show how to repair it"),
    "bundle": Command("green_code.cli.bundle", "check and describe bundles"),
    "models": Command("green_code.cli.models", "list, download, verify and remove models"),
    "demo": Command("green_code.cli.demo", "show the savings on a few built-in examples"),
}
LAB_COMMANDS: Final = ("adapt", "train", "evaluate", "bench", "experiments")
"""Commands that green-code-lab adds, for the message if it is not installed."""
ENTRY_POINT_GROUP: Final = "green_code.commands"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Usage errors raise SystemExit(2), as argparse does."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # some terminals cannot show every character
    folders.keep_private()
    try:
        return _dispatch(arguments)
    except Problem as problem:
        return _fail(arguments, problem.reason, str(problem))
    except KeyboardInterrupt:
        print("green-code: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has ended (`| head`). Python would print the error again when it flushes at exit.
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
        prog="green-code", description="Code completion from a local language model with early exits."
    )
    parser.add_argument("--version", action="version", version=f"green-code {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    is_product = chosen in COMMANDS or "--version" in arguments
    if is_product:
        # NumPy's threads would spin beside the kernel's, which are counted by what they gain. Read when NumPy is imported.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    commands = COMMANDS if is_product else {**installed_commands(), **COMMANDS}
    if chosen in LAB_COMMANDS and chosen not in commands:
        raise Problem(
            "bad_request",
            f"`green-code {chosen}` is a command of green-code-lab, which is not installed. "
            "In a clone of the repository, run `make setup` or `pip install ./daemon/green_code_lab`.",
        )
    module = None
    for name, command in commands.items():
        subparser = subparsers.add_parser(
            name, help=command.help, description=command.help[0].upper() + command.help[1:] + ".", allow_abbrev=False
        )
        if name == chosen:
            module = importlib.import_module(command.module)
            module.add_arguments(subparser)
    args = parser.parse_args(arguments)
    status: int = module.run(args) if module is not None else 2
    return status


def installed_commands() -> dict[str, Command]:
    """The commands that other installed distributions add."""
    import importlib.metadata  # a twelfth of what an engine imports, which needs none of it

    return {point.name: point.load() for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}


def _fail(arguments: Sequence[str], reason: str, message: str) -> int:
    print(f"green-code: {message}", file=sys.stderr)
    if "--json" in arguments:
        print(json.dumps({"reason": reason, "message": message}))
    return 1
