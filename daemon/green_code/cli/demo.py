"""`green-code demo`: completes six files at full depth, in `fast` and in `exact`, and prints layers and joules."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

from green_code.cli.progress import clear_progress, show_progress
from green_code.engine.loading import Runtime, load_measured
from green_code.engine.requests import completion_params, threshold
from green_code.link.messages import CompletionParams, CompletionResult, Decoding
from green_code.models.catalog import DEFAULT
from green_code.settings import default_settings

CURSOR = "<|>"
MODES: tuple[Decoding, ...] = ("full", "fast", "exact")
_BLOCKS = "▁▂▃▄▅▆▇█"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=DEFAULT, help="default: %(default)s")
    parser.add_argument(
        "--threshold",
        type=threshold,
        default=default_settings().threshold,
        help="0.5 to 1, or quality, balanced, saver (default: %(default)s, as in the editor)",
    )
    parser.add_argument("--json", action="store_true", help="write the results as JSON to standard output")


def samples() -> Iterator[tuple[str, str, str, str]]:
    """(file name, text before the cursor, rest of its line, text after that line) of each sample file."""
    folder = resources.files("green_code.cli").joinpath("samples")
    files = {file.name.removesuffix(".txt"): file for file in folder.iterdir() if file.name.endswith(".txt")}
    for name in sorted(files, key=lambda name: (name.endswith(".java"), name)):
        before, _, after = files[name].read_text("utf-8").partition(CURSOR)
        rest, newline, following = after.partition("\n")
        yield name, before, rest, newline + following


def bar(result: CompletionResult) -> str:
    """One block per token, as high as its exit's share of all layers."""
    layers = result["layers_total"]
    return "".join(_BLOCKS[round(exit / layers * (len(_BLOCKS) - 1))] for exit in result["exits"])


def run(args: argparse.Namespace) -> int:
    runtime = load_measured(args.model, show_progress)
    clear_progress()
    results: list[dict[str, Any]] = []
    for name, before, rest, after in samples():
        if not args.json:
            print(f"\n{name}\n    {before.splitlines()[-1].lstrip()}▌\n    file  {rest!r}")
        for mode in MODES:
            params = completion_params(
                before,
                suffix=after,
                language="java" if name.endswith(".java") else "python",
                model=args.model,
                decoding=mode,
                threshold=args.threshold,
                max_tokens=24,
            )
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
    """The completion with an empty cache, and the same one after a keystroke, with all but the last character cached.

    Only one token was generated before that keystroke: a keystroke that agrees with a suggestion needs no engine.
    """
    cold = runtime.new_session().complete(params, lambda: None)
    session = runtime.new_session()
    session.complete({**params, "prefix": params["prefix"][:-1], "max_tokens": 1}, lambda: None)
    return cold, session.complete(params, lambda: None)


def _summary(results: list[dict[str, Any]], runtime: Runtime) -> None:
    files = len(results) // len(MODES)
    print(f"\nsum over {files} files, one line each, {runtime.model} ({runtime.layers_total} layers)")
    full_texts = [r["cold"]["text"] for r in results if r["decoding"] == "full"]
    for mode in MODES:
        own = [r for r in results if r["decoding"] == mode]
        line = f"  {mode:5}"
        for kind in ("cold", "warm"):
            joules, full = (sum(r[kind][key] for r in own) for key in ("energy_joules", "energy_full_joules"))
            line += f"  {kind} {joules:6.2f} J, saving {1 - joules / full if full else 0:4.0%}"
        exits = [layer for r in own for layer in r["cold"]["exits"]]
        same = sum(r["cold"]["text"] == text for r, text in zip(own, full_texts, strict=True))
        print(f"{line}  mean exit {sum(exits) / max(1, len(exits)):.1f}  same text as full {same}/{files}")
    costs = runtime.costs
    print(
        f"  energy: {costs.meter}, fitted from {costs.window_seconds:g} s of each kind of work, ± {costs.relative_interval:.0%};"
        " the baseline of the saving is full depth with the same cache"
    )
