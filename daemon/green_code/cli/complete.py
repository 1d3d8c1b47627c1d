"""`green-code complete`: one completion, through the engine or in this process.

Reads a file at LINE:COL (from 1, COL in code points) or a prefix from standard input. Prints the text, or with --json the
object of docs/protocol.md.
Must not know: how a model completes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, Final

from green_code import folders
from green_code.energy.ledger import Ledger
from green_code.engine.local import complete_here
from green_code.engine.process import import_loader
from green_code.engine.requests import check_params, stop, threshold
from green_code.languages import BY_SUFFIX
from green_code.link import messages
from green_code.link.discovery import ensure_engine, place
from green_code.link.messages import CompletionParams, CompletionResult, State
from green_code.lsp.documents import split_lines
from green_code.lsp.explain import TEXTS
from green_code.lsp.prompt import CHARACTERS_PER_TOKEN, Prompt, PromptWindow
from green_code.problems import Problem
from green_code.settings import default_settings

OTHER_LANGUAGE: Final = "plaintext"
DEFAULT_MAX_TOKENS: Final = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    defaults = default_settings()
    parser.add_argument(
        "place",
        metavar="FILE:LINE:COL",
        help="the cursor's position, counted from 1, columns in characters; or - to complete standard input",
    )
    parser.add_argument("--suffix-file", type=Path, metavar="FILE", help="with -: the text after the cursor")
    parser.add_argument("--json", action="store_true", help="write one JSON object to standard output")
    parser.add_argument(
        "--model", default=defaults.model, help="catalog name, bundle, folder or GGUF file (default: %(default)s)"
    )
    parser.add_argument("--decoding", default=defaults.decoding, choices=("full", "fast", "exact"))
    parser.add_argument(
        "--policy", help="full, fixed:LAYER, confidence:FRACTION or agent (default: agent; full with --decoding full)"
    )
    parser.add_argument(
        "--threshold",
        type=threshold,
        default=defaults.threshold,
        metavar="T",
        help="0.5 to 1, or quality, balanced, saver (default: %(default)s)",
    )
    parser.add_argument(
        "--stop",
        type=stop,
        default=0.0,
        metavar="P",
        help="cut the text where its probability of being right falls below P: 0 (never) to below 1, or eager, balanced, sure "
        "(default: %(default)g)",
    )
    parser.add_argument("--max-tokens", type=int, default=DEFAULT_MAX_TOKENS, help="default: %(default)s")
    parser.add_argument("--single-line", action="store_true", help="stop at the end of the line")
    parser.add_argument("--max-lines", type=int, help="default: 1 with --single-line, else no limit")
    parser.add_argument("--language", help="language identifier (default: by the file name's suffix)")
    parser.add_argument(
        "--max-prompt-tokens", type=int, default=defaults.max_prompt_tokens, help="default: %(default)s"
    )
    parser.add_argument("--no-engine", action="store_true", help="load the model in this process")


def run(args: argparse.Namespace) -> int:
    """Complete and print."""
    if args.suffix_file is not None and args.place != "-":
        raise _bad("--suffix-file needs - (standard input): a file has its own suffix. Omit it.")
    prompt, language = _read_stdin(args) if args.place == "-" else _read_place(args.place, args.max_prompt_tokens)
    params = check_params(_params(args, prompt, args.language or language))
    progress = _progress_printer()
    if args.no_engine:
        ledger = Ledger(folders.ledger_path(), mends=False)
        result = complete_here(params, import_loader(), ledger, progress)
        ledger.close()
        if ledger.problem is not None:
            print(f"green-code: {ledger.problem}", file=sys.stderr)
    else:
        result = asyncio.run(_through_engine(params, progress))
    if args.json:
        print(json.dumps(result))
    else:
        _print(result)
    return 0


def _params(args: argparse.Namespace, prompt: Prompt, language: str) -> dict[str, Any]:
    max_lines = args.max_lines if args.max_lines is not None else 1 if args.single_line else 1000
    return dict(
        CompletionParams(
            session=f"cli:{os.getpid()}",
            prefix=prompt.prefix,
            suffix=prompt.suffix,
            language=language,
            model=_absolute(args.model),
            device="auto",
            decoding=args.decoding,
            policy=args.policy or ("full" if args.decoding == "full" else "agent"),
            threshold=args.threshold,
            max_tokens=args.max_tokens,
            single_line=args.single_line or max_lines == 1,
            max_lines=max_lines,
            max_prompt_tokens=args.max_prompt_tokens,
            stop=args.stop,
            alternatives=0,
            place=[],
            path="" if args.place == "-" else PurePath(args.place.rsplit(":", 2)[0]).name,
            snippets=[],
        )
    )


def _absolute(model: str) -> str:
    """A model's path as an absolute one, because the engine has another current folder; other names unchanged."""
    path = Path(model)
    local = (path / "config.json").is_file() or (path.is_file() and path.suffix.lower() == ".gguf")
    return str(path.resolve()) if local else model


async def _through_engine(
    params: CompletionParams, progress: Callable[[State, str, float | None], None]
) -> CompletionResult:
    def notified(method: str, params: dict[str, Any]) -> None:
        if method == messages.STATUS:
            progress(params["state"], params["message"], params["progress"])
        elif method == messages.WARNING:
            print(f"green-code: {params['message']}", file=sys.stderr)

    client = await ensure_engine(place(), on_notification=notified)
    try:
        result: CompletionResult = await client.request(messages.COMPLETE, params)
        return result
    finally:
        await client.close()


# --- reading -------------------------------------------------------------------------------------------
def _read_place(text: str, max_prompt_tokens: int) -> tuple[Prompt, str]:
    parts = text.rsplit(":", 2)
    if len(parts) != 3 or not parts[0] or not all(part.isascii() and part.isdigit() for part in parts[1:]):
        raise _bad(f"{text} is not a position. Write FILE:LINE:COL, counted from 1, or -.")
    path, line, column = Path(parts[0]), int(parts[1]), int(parts[2])
    content = _text_of(path)
    if not content:
        raise Problem("no_context", f"{path} is empty, so there is no context. Write a line first.")
    lines = split_lines(content)
    if not 1 <= line <= len(lines):
        raise _bad(f"{path} has {len(lines)} lines, so there is no line {line}. Lines count from 1.")
    width = len(lines[line - 1].rstrip("\r\n"))
    if not 1 <= column <= width + 1:
        raise _bad(f"Line {line} of {path} has no column {column}. Choose a column from 1 to {width + 1}.")
    prompt = PromptWindow().prompt(lines, line - 1, column - 1, max_prompt_tokens)
    if not prompt.prefix.strip():
        raise Problem("no_context", f"There is no text before {text}. Choose a later position.")
    return prompt, BY_SUFFIX.get(path.suffix.lower(), OTHER_LANGUAGE)


def _read_stdin(args: argparse.Namespace) -> tuple[Prompt, str]:
    prefix = _decoded(sys.stdin.buffer.read(), "standard input")
    if not prefix.strip():
        raise Problem("no_context", "Standard input is empty. Pipe the text before the cursor into it.")
    suffix = _text_of(args.suffix_file) if args.suffix_file is not None else ""
    suffix_name = PurePath(args.suffix_file or "").suffix
    lines = split_lines(prefix + suffix)
    before = split_lines(prefix)
    cap = max(1, args.max_prompt_tokens) * CHARACTERS_PER_TOKEN
    if prefix.endswith("\r") and suffix.startswith("\n"):  # the cursor is inside a line end
        return Prompt(prefix[-cap:], suffix), OTHER_LANGUAGE
    prompt = PromptWindow().prompt(lines, len(before) - 1, len(before[-1]), max(1, args.max_prompt_tokens))
    return prompt, BY_SUFFIX.get(suffix_name.lower(), OTHER_LANGUAGE)


def _text_of(path: Path) -> str:
    if path.is_dir():
        raise _bad(f"{path} is a folder. Name a file.")
    try:
        return _decoded(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise _bad(f"There is no file {path}. Check the path; it is relative to {Path.cwd()}.") from None
    except OSError as error:
        raise _bad(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error


def _decoded(data: bytes, name: str) -> str:
    if b"\0" in data:
        raise _bad(f"{name} is binary: it holds a NUL byte at {data.index(0)}. Name a text file.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = f"byte {data[error.start]:#04x} at {error.start}"
        raise _bad(f"{name} is not UTF-8: {byte}. Convert it, for example with iconv.") from None


def _bad(message: str) -> Problem:
    return Problem("bad_request", message)


# --- printing ------------------------------------------------------------------------------------------
def _progress_printer() -> Callable[[State, str, float | None], None]:
    """Prints the messages of starting and loading on standard error, each once."""
    printed: set[str] = set()

    def show(state: State, message: str, fraction: float | None) -> None:
        if state in ("starting", "loading") and message not in printed:
            printed.add(message)
            print(f"green-code: {message}", file=sys.stderr)

    return show


def _print(result: CompletionResult) -> None:
    text = TEXTS.get(result["reason"])
    sentence = text.sentence if text else result["reason"]
    if not result["text"]:
        print(f"green-code: no completion: {sentence}", file=sys.stderr)
        return
    print(result["text"])
    depth = sum(result["exits"]) / max(1, result["tokens"])
    print(
        f"green-code: {result['tokens']} tokens, mean exit {depth:.1f} of {result['layers_total']} layers, "
        f"{result['energy_joules']:.2f} J ({result['energy_source']}), {result['saving']:.0%} saved, "
        f"{result['wall_seconds']:.2f} s, confidence {result['confidence']:.0%}",
        file=sys.stderr,
    )
    if result["reason"] == "unsure":
        print(f"green-code: {sentence}", file=sys.stderr)
