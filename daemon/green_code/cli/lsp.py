"""`green-code lsp`: the language server, which an editor starts.

Standard output carries the protocol. The log goes to standard error and never holds any of the user's text.
Must not know: what the server does.
"""

from __future__ import annotations

import argparse
import logging
import sys

from green_code.logs import log_to


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stdio", action="store_true", help="accepted because some editors pass it; there is no other transport"
    )
    parser.add_argument("--verbose", action="store_true", help="log more to standard error")


def run(args: argparse.Namespace) -> int:
    """Serve until the editor sends `exit` or closes standard input."""
    from green_code.lsp.server import serve

    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(without_user_text)
    log_to(handler, "%(levelname)s %(name)s: %(message)s", logging.DEBUG if args.verbose else logging.INFO)
    return serve()


def without_user_text(record: logging.LogRecord) -> bool:
    """A log filter: pygls's records pass only if they are errors, and without arguments, which can hold code.

    A request that was answered with an error needs no traceback.
    """
    if record.name.partition(".")[0] == "pygls":
        record.args = ()
        if record.exc_info and type(record.exc_info[1]).__module__ == "pygls.exceptions":
            record.exc_info = None
        return record.levelno >= logging.ERROR
    return True
