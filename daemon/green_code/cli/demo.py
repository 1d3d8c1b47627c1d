"""`green-code demo`: six pieces of code completed at full depth, in `fast` and in `exact`, with their joules."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from importlib import resources
from typing import Any

from green_code.engine.loading import Runtime, load_runtime
from green_code.engine.requests import threshold
from green_code.link.messages import CompletionParams, CompletionResult, Decoding
from green_code.models.catalog import DEFAULT
from green_code.settings import PROMPT_TOKENS, default_settings

CURSOR = "<|>"
MODES: tuple[Decoding, ...] = ("full", "fast", "exact")
_BLOCKS = "▁▂▃▄▅▆▇█"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument(
        "--threshold",
        type=threshold,
        default=default_settings().threshold,
        help="0.5 to 1, or quality, balanced, saver (default: that of the editor, %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def samples() -> Iterator[tuple[str, str, str, str]]:
    """(file name, text before the cursor, rest of its line, text after that line) of the sample files."""
    folder = resources.files("green_code_lab.evaluation").joinpath("samples")
    files = {file.name.removesuffix(".txt"): file for file in folder.iterdir() if file.name.endswith(".txt")}
    for name in sorted(files, key=lambda name: (name.endswith(".java"), name)):
        before, _, after = files[name].read_text("utf-8").partition(CURSOR)
        rest, newline, following = after.partition("\n")
        yield name, before, rest, newline + following


def bar(result: CompletionResult) -> str:
    """One block a token, as high as the share of the layers that it used."""
    layers = result["layers_total"]
    return "".join(_BLOCKS[round(exit / layers * (len(_BLOCKS) - 1))] for exit in result["exits"])


def run(args: argparse.Namespace) -> int:
    runtime = load_runtime(args.model, _progress)
    print(f"\r{'':70}\r", end="", file=sys.stderr)
    results: list[dict[str, Any]] = []
    for name, before, rest, after in samples():
        if not args.json:
            print(f"\n{name}\n    {before.splitlines()[-1].lstrip()}▌\n    file  {rest!r}")
        for mode in MODES:
            params: CompletionParams = {
                "session": name, "prefix": before, "suffix": after, "language": "java" if name.endswith(".java") else "python",
                "model": args.model, "decoding": mode, "policy": "agent", "threshold": args.threshold, "max_tokens": 24,
                "single_line": True, "max_lines": 1, "max_prompt_tokens": PROMPT_TOKENS,
            }  # fmt: skip
            cold, warm = _cold_and_warm(runtime, params)
            results.append({"file": name, "decoding": mode, "cold": cold, "warm": warm})
            if not args.json:
                print(
                    f"    {mode:5} {cold['text']!r:32} {bar(cold)}  layers {'·'.join(map(str, cold['exits']))}\n"
                    f"          cold {cold['energy_joules']:.2f} J ({cold['energy_source']}), saving {cold['saving']:.0%};"
                    f"  next keystroke {warm['energy_joules']:.2f} J, saving {warm['saving']:.0%}"
                )
    if args.json:
        print(json.dumps(results))
    else:
        _summary(results, runtime)
    return 0


def _cold_and_warm(runtime: Runtime, params: CompletionParams) -> tuple[CompletionResult, CompletionResult]:
    """The completion with nothing cached, and the same one after a keystroke: all but the last character cached.

    Nothing but one token was suggested before that keystroke, since one that agrees with a suggestion needs no engine.
    """
    cold = runtime.new_session().complete(params, lambda: None)
    session = runtime.new_session()
    session.complete({**params, "prefix": params["prefix"][:-1], "max_tokens": 1}, lambda: None)
    return cold, session.complete(params, lambda: None)


def _summary(results: list[dict[str, Any]], runtime: Runtime) -> None:
    print(
        f"\nsum over {len(results) // len(MODES)} files, one line each, {runtime.model} ({runtime.layers_total} layers)"
    )
    for mode in MODES:
        line = f"  {mode:5}"
        for kind in ("cold", "warm"):
            own = [r[kind] for r in results if r["decoding"] == mode]
            joules, full = sum(r["energy_joules"] for r in own), sum(r["energy_full_joules"] for r in own)
            line += f"  {kind} {joules:6.2f} J, saving {1 - joules / full if full else 0:4.0%}"
        exits = [e for r in results if r["decoding"] == mode for e in r["cold"]["exits"]]
        same = sum(
            r["cold"]["text"] == f["cold"]["text"]
            for r, f in zip(
                [r for r in results if r["decoding"] == mode],
                [r for r in results if r["decoding"] == "full"],
                strict=True,
            )
        )
        print(
            f"{line}  mean depth {sum(exits) / max(1, len(exits)):.1f}  same text as full {same}/{len(results) // len(MODES)}"
        )
    costs = runtime.costs
    print(
        f"  energy: {costs.meter}, fitted from {costs.window_seconds:g} s of each kind of work, ± {costs.relative_interval:.0%};"
        " saving is against full depth with the same cache"
    )


def _progress(_state: str, sentence: str, part: float | None) -> None:
    share = "" if part is None else f" {part:4.0%}"
    print(f"\r{sentence}{share}".ljust(70), end="", file=sys.stderr, flush=True)
