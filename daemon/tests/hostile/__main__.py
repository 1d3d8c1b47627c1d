"""A program: all hostile bundles and many randomly damaged ones, or hostile model folders, or damaged GGUF files, in one process.

    python -m tests.hostile [--seeds N] [--first SEED] [--also SEED …] [--library PATH LEVEL]
    python -m tests.hostile --models [--library PATH LEVEL]
    python -m tests.hostile --gguf [--seeds N] [--first SEED] [--also SEED …] [--library PATH LEVEL]

Prints one line of JSON: how many were refused and served, the slowest in seconds, and the failures. A signal ends it where memory is
damaged; it ends itself with a traceback where one takes longer than `LIMIT_SECONDS`.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from green_code.kernels import weight_format
from green_code.kernels.binding import Kernel
from green_code.problems import Problem
from tests.hostile.bundles import CASES, random_damage, write_good_bundle
from tests.hostile.serving import complete, copied, load, refusal

LIMIT_SECONDS = 20.0


class Trials:
    """Runs one after another, and counts what became of them."""

    def __init__(self) -> None:
        self.refused = self.served = 0
        self.slowest, self.failures = 0.0, list[str]()

    def run(self, name: str, serve: Callable[[], str | None], must_be_refused: bool = False) -> None:
        """`serve` returns why it was refused, or None."""
        print(name, file=sys.stderr, flush=True)  # the last line tells what a signal came from
        faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True)
        begin = time.monotonic()
        try:
            said = serve()
            self.refused, self.served = self.refused + (said is not None), self.served + (said is None)
            if must_be_refused and said is None:
                self.failures.append(f"{name}: served")
        except Exception as error:
            self.failures.append(f"{name}: {type(error).__name__}: {error}"[:300])
            print(self.failures[-1], file=sys.stderr, flush=True)
        self.slowest = max(self.slowest, time.monotonic() - begin)
        faulthandler.cancel_dump_traceback_later()

    @property
    def found(self) -> dict[str, object]:
        slowest = round(self.slowest, 2)
        return {
            "refused": self.refused, "served": self.served, "slowest_seconds": slowest, "failures": self.failures,
        }  # fmt: skip


def run_bundles(folder: Path, seeds: Iterable[int]) -> Trials:
    """Systematic and random damage; works in `folder`."""
    good, bundles, trials = write_good_bundle(folder / "good"), folder / "bundles", Trials()
    os.environ["GREEN_CODE_BUNDLES"] = str(bundles)
    copied(good, bundles)
    complete(load(bundles))  # the good one is served
    for case in CASES:
        case.apply(copied(good, bundles))
        trials.run(case.name, lambda case=case: refusal(lambda: load(bundles), case), must_be_refused=True)
    for seed in seeds:
        name = random_damage(copied(good, bundles), seed)
        trials.run(name, lambda: refusal(lambda: complete(load(bundles))))
    return trials


def run_models(folder: Path) -> Trials:
    """Hostile folders, as `cases` has them; works in `folder`."""
    from tests.hostile.model_folders import TOKEN, cases, opener  # transformers

    load_model, trials = opener(folder), Trials()
    for case in cases():
        trials.run(
            repr(case)[:100], lambda case=case: serve(lambda: load_model(case)), must_be_refused=case[1] == TOKEN
        )
    return trials


def run_gguf(folder: Path, seeds: Iterable[int]) -> Trials:
    """Random damage; works in `folder`."""
    from tests.hostile.model_folders import gguf_opener  # transformers

    load_model, trials = gguf_opener(folder), Trials()
    for seed in seeds:
        trials.run(f"gguf, seed {seed}", lambda seed=seed: serve(lambda: load_model(seed)))
    return trials


def serve(load_model: Callable[[], Any]) -> str | None:
    """Why a model is refused; None: it has given completions."""
    try:
        runtime = load_model()
    except Problem as problem:
        assert problem.reason in ("model_damaged", "model_missing"), (problem.reason, str(problem))
        return str(problem)
    complete(runtime)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--also", type=int, nargs="*", default=[], metavar="SEED")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--models", action="store_true", help="model folders instead of bundles")
    kind.add_argument("--gguf", action="store_true", help="GGUF files instead of bundles")
    parser.add_argument("--library", nargs=2, metavar=("PATH", "LEVEL"))
    args = parser.parse_args()
    if args.library:
        kernel = Kernel(Path(args.library[0]), args.library[1])
        weight_format.open_kernel = lambda: kernel  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["GREEN_CODE_CACHE_DIR"] = str(folder / "cache")
        seeds = [*args.also, *range(args.first, args.first + args.seeds)]
        if args.models:
            trials = run_models(folder)
        else:
            trials = run_gguf(folder, seeds) if args.gguf else run_bundles(folder, seeds)
    print(json.dumps(trials.found))
    return 1 if trials.failures else 0


if __name__ == "__main__":
    sys.exit(main())
