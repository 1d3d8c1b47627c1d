"""Run the commands of docs/paper-models.md on random weights, with little code and few tokens, and print what each took and made.

    python -m green_code_lab.dry_run llama-3.2-3b opt-2.7b

First at the model's shape, where memory and time of a processor are enough: no layer is trained, and what always completes some hundred
lines is left out. Then every command, with the same layers and exits of less width. All is written to a temporary folder.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from green_code.folders import BUNDLES_VARIABLE, CACHE_VARIABLE, DATA_VARIABLE, RUNTIME_VARIABLE, bundles_dir
from green_code.models.bundle import write_manifest
from green_code.models.catalog import find_model
from green_code.models.rows import ROWS, Shape
from green_code.problems import Problem
from green_code_lab.dry_run.checkpoints import narrower, provide
from green_code_lab.dry_run.commands import FINE_TUNED, MODELS, Step, exits_of, steps

FULL, NARROW = "full", "narrow"
_WIDTH, _VOCABULARY = 256, 8_192  # of the narrow models
_FOLDERS: Final = {CACHE_VARIABLE: "cache", BUNDLES_VARIABLE: "agent_models", DATA_VARIABLE: "data", RUNTIME_VARIABLE: "run"}  # fmt: skip


@dataclass(frozen=True)
class Ran:
    """A command that ended. `peak`: bytes of the largest of its processes."""

    status: int
    seconds: float
    peak: int
    last_line: str


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)} (default: both)")
    parser.add_argument("--shape", choices=(FULL, NARROW), help="of the weights (default: one after the other)")
    parser.add_argument("--work", type=Path, help="folder for the temporary one, with room for the weights five times")
    for part in ("provide", "untrained"):
        parser.add_argument(f"--{part}", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.provide:
        provide(args.provide, _shape(args.provide, args.shape))
        return 0
    if args.untrained:
        _write_untrained(args.untrained)
        return 0
    if unknown := [name for name in args.models if name not in MODELS]:
        parser.error(f"{unknown[0]} is not one of {', '.join(MODELS)}")
    shapes = [args.shape] if args.shape else [FULL, NARROW]
    done = [_dry_run(model, shape, args.work) for model in args.models or MODELS for shape in shapes]
    return int(not all(done))


def _shape(model: str, kind: str) -> Shape:
    own = ROWS[model].shape
    return own if kind == FULL else narrower(own, _WIDTH, _VOCABULARY)


def _dry_run(model: str, kind: str, work: Path | None) -> bool:
    """Print a row for each command; whether all went well."""
    shape = _shape(model, kind)
    print(f"\n{model}: {shape.layers} layers of width {shape.width}, {shape.vocabulary:,} tokens\n")
    print("| step | s | peak, GB | result |\n| :-- | --: | --: | :-- |", flush=True)
    with tempfile.TemporaryDirectory(dir=work) as place, inside(Path(place).resolve()):
        for number, (name, words, step) in enumerate(_commands(model, kind)):
            log = Path(f"{number}-{name}.log")
            ran = run(words, log)
            went_well, result = not ran.status, ran.last_line
            if went_well:
                try:
                    result = step.found() if step else "written"
                except (Problem, OSError, ValueError) as error:
                    went_well, result = False, f"it left something else: {error}"
            print(f"| {name} | {ran.seconds:.0f} | {ran.peak / 1e9:.1f} | {result} |", flush=True)
            if not went_well:
                print(log.read_text("utf-8", "replace"), file=sys.stderr)
                return False
    return True


def _commands(model: str, kind: str) -> Iterator[tuple[str, list[str], Step | None]]:
    """(name, words behind `python -m`, the page's step; None: what only a dry run needs)."""
    own, product = "green_code_lab.dry_run", "green_code"
    yield "weights", [own, "--provide", model, "--shape", kind], None
    for step in steps(model):
        if kind == FULL and step.name == "lite":
            yield "untrained", [own, "--untrained", model], None
        if kind == NARROW or not (step.training or step.many):
            yield step.name, [product, *step.dry], step


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """In a folder, where all that is Green Code's is written."""
    before, variables = Path.cwd(), dict(os.environ)
    os.environ.update({variable: str(folder / name) for variable, name in _FOLDERS.items()})
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(variables)


def run(words: Sequence[str], log: Path) -> Ran:
    """Run a module with its arguments; what it prints is in `log`."""
    began = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", *words], stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return Ran(process.returncode, time.monotonic() - began, 1024 * usage.ru_maxrss, lines[-1] if lines else "")


def _write_untrained(model: str) -> None:
    """In the place of fine-tuned layers, which are not made at full shape: a bundle with the paper's exits of untouched ones."""
    folder = bundles_dir() / f"{model}{FINE_TUNED}"
    folder.mkdir(parents=True, exist_ok=True)
    base = {"model": model, "sha256": find_model(model).open().fingerprint()}
    write_manifest(folder, {"base": base, "exits": list(exits_of(model)), "training": {"method": "none"}})


if __name__ == "__main__":
    sys.exit(main())
