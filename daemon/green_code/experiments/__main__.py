"""`python -m green_code.experiments layers|energy`: measure, then write data, plot and page into one folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from green_code.experiments import energy, energy_page, layers, layers_page
from green_code.experiments.pages import write
from green_code.experiments.plots import draw_energy, draw_layers
from green_code.models.catalog import DEFAULT
from green_code.problems import Problem


def main(argv: Sequence[str] | None = None) -> int:
    """Run one experiment; returns the exit status. Usage errors raise SystemExit(2), as argparse does."""
    args = _parser().parse_args(argv)
    try:
        _make(args.out)
        if args.experiment == "layers":
            found = layers.run(args.model, args.data, args.work, args.limit, args.seed, _say)
            write(args.out, found, layers_page.page, draw_layers)
        else:
            found = energy.run(args.model, args.window_seconds, args.repetitions, args.seed, _say)
            write(args.out, found, energy_page.page, draw_energy)
    except Problem as problem:
        print(f"green-code: {problem}", file=sys.stderr)
        return 1
    _say(f"written to {args.out}: {args.experiment}.md, .json and .svg")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m green_code.experiments", description=__doc__)
    experiments = parser.add_subparsers(dest="experiment", required=True)
    for name, help in (
        ("layers", "decode the untouched model at each layer, and the bundle at each of its exits"),
        ("energy", "measure a token's energy at each layer, and whether it is linear in the layers"),
    ):
        command = experiments.add_parser(name, help=help, description=help, allow_abbrev=False)
        command.add_argument("--model", default=DEFAULT)
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--out", type=Path, default=Path("docs/experiments"))
        if name == "layers":
            command.add_argument(
                "--data",
                type=Path,
                nargs="+",
                default=[],
                help="files of rows, as for `green-code evaluate` (default: the corpus' held-out projects, else the demo's files)",
            )
            command.add_argument(
                "--work",
                type=Path,
                default=Path("work"),
                help="folder of the corpus; a cut run resumes from here",
            )
            command.add_argument("--limit", type=_at_least(1), default=200, help="rows per language")
        else:
            command.add_argument("--window-seconds", type=float, default=10.0)
            command.add_argument(
                "--repetitions", type=_at_least(5), default=6, help="windows per layer, 5 or more"
            )
    return parser


def _make(out: Path) -> None:
    """Before an hour's measurement rather than after it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(
            "bad_request", f"{out} cannot be made ({error}); give another folder with --out."
        ) from error


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return number


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
