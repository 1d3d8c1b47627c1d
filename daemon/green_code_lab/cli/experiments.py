"""`green-code experiments layers|energy|baselines|recipes|drafts|quality|paper|propagation|prefill exits|rewards|sessions|snippets`: measure, then write data, plot and page into one folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from green_code.models.catalog import DEFAULT
from green_code.problems import Problem
from green_code_lab.experiments import (
    baselines,
    baselines_page,
    drafts,
    drafts_page,
    energy,
    energy_page,
    layers,
    layers_page,
    paper_page,
    paper_table,
    prefill_exits,
    prefill_exits_page,
    propagation,
    propagation_page,
    quality,
    quality_page,
    recipes,
    recipes_page,
    rewards,
    rewards_page,
    sessions,
    sessions_page,
    snippets,
    snippets_page,
)
from green_code_lab.experiments.pages import write
from green_code_lab.experiments.plots import (
    draw_baselines,
    draw_drafts,
    draw_energy,
    draw_layers,
    draw_paper,
    draw_plateaus,
    draw_propagation,
    draw_quality,
    draw_recipes,
    draw_rewards,
    draw_sessions,
    draw_snippets,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one experiment; returns the exit status. Usage errors raise SystemExit(2), as argparse does."""
    args = _parser().parse_args(argv)
    experiment = _EXPERIMENTS[args.experiment]
    try:
        _make(args.out)
        write(args.out, experiment.run(args), experiment.page, experiment.draw)
    except Problem as problem:
        print(f"green-code: {problem}", file=sys.stderr)
        return 1
    _say(f"written to {args.out}: {args.experiment}.md, .json, .svg and .html")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m green_code_lab.experiments", description=__doc__)
    experiments = parser.add_subparsers(dest="experiment", required=True)
    for name, experiment in _EXPERIMENTS.items():
        help = experiment.help
        command = experiments.add_parser(name, help=help, description=help, allow_abbrev=False)
        command.add_argument("--model", default=DEFAULT)
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--out", type=Path, default=Path("docs/experiments"))
        experiment.add_arguments(command)
    return parser


def _row_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=[],
        help="files of rows, as for `green-code evaluate` (default: the corpus' held-out projects, else the demo's files)",
    )
    _work_argument(command)
    command.add_argument("--limit", type=_at_least(1), default=200, help="rows per language")


def _layers(args: argparse.Namespace) -> dict[str, Any]:
    return layers.run(args.model, args.data, args.work, args.limit, args.seed, _say)


def _drafts(args: argparse.Namespace) -> dict[str, Any]:
    return drafts.run(args.model, args.data, args.work, args.limit, args.seed, _say)


def _quality(args: argparse.Namespace) -> dict[str, Any]:
    return quality.run(args.model, args.data, args.work, args.limit, args.seed, _say)


def _propagation(args: argparse.Namespace) -> dict[str, Any]:
    return propagation.run(args.model, args.data, args.work, args.limit, args.seed, _say)


def _plateaus(args: argparse.Namespace) -> dict[str, Any]:
    return prefill_exits.run(args.model, args.data, args.work, args.limit, args.seed, _say)


def _paper_arguments(command: argparse.ArgumentParser) -> None:
    _work_argument(command)
    command.add_argument("--limit", type=_at_least(1), default=200, help="files per language")


def _paper(args: argparse.Namespace) -> dict[str, Any]:
    return paper_table.run(args.model, args.work, args.limit, args.seed, _say)


def _energy_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--window-seconds", type=float, default=10.0)
    command.add_argument("--repetitions", type=_at_least(5), default=6, help="windows per layer, 5 or more")


def _energy(args: argparse.Namespace) -> dict[str, Any]:
    return energy.run(args.model, args.window_seconds, args.repetitions, args.seed, _say)


def _baselines(args: argparse.Namespace) -> dict[str, Any]:
    return baselines.run(args.model, args.window_seconds, args.repetitions, args.seed, _say)


def _recipes_arguments(command: argparse.ArgumentParser) -> None:
    _work_argument(command)
    command.add_argument("--tokens", type=_at_least(1), default=100_000, help="that each recipe sees")
    command.add_argument(
        "--trials", type=_at_least(2), default=12, help="of the search for weights, 2 or more"
    )
    command.add_argument("--trial-tokens", type=_at_least(1), default=20_000, help="that each trial sees")
    command.add_argument("--rows", type=_at_least(1), default=40, help="lines to complete per language")


def _recipes(args: argparse.Namespace) -> dict[str, Any]:
    budgets = (args.tokens, args.trials, args.trial_tokens)
    return recipes.run(args.model, args.work, *budgets, args.rows, args.seed, _say)


def _rewards_arguments(command: argparse.ArgumentParser) -> None:
    _work_argument(command)
    command.add_argument(
        "--updates",
        type=_at_least(1),
        default=60,
        help="of PPO an agent; supervision takes steps in proportion",
    )


def _rewards(args: argparse.Namespace) -> dict[str, Any]:
    return rewards.run(args.model, args.work, args.updates, args.seed, _say)


def _sessions_arguments(command: argparse.ArgumentParser) -> None:
    _work_argument(command)
    command.add_argument("--limit", type=_at_least(1), default=20, help="files per language")


def _sessions(args: argparse.Namespace) -> dict[str, Any]:
    return sessions.run(args.model, args.work, args.limit, args.seed, _say)


def _snippets_arguments(command: argparse.ArgumentParser) -> None:
    _work_argument(command)
    command.add_argument("--limit", type=_at_least(1), default=200, help="files per language, a line of each")


def _snippets(args: argparse.Namespace) -> dict[str, Any]:
    return snippets.run(args.model, args.work, args.limit, args.seed, _say)


def _work_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--work", type=Path, default=Path("work"), help="folder of the corpus; a cut run resumes from here"
    )


@dataclass(frozen=True)
class _Experiment:
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], dict[str, Any]]
    page: Callable[[dict[str, Any]], str]
    draw: Callable[[dict[str, Any], Path], None]


_EXPERIMENTS = {
    "layers": _Experiment(
        "decode the untouched model at each layer, and the bundle at each of its exits",
        _row_arguments,
        _layers,
        layers_page.page,
        draw_layers,
    ),
    "energy": _Experiment(
        "measure a token's energy at each layer, and whether it is linear in the layers",
        _energy_arguments,
        _energy,
        energy_page.page,
        draw_energy,
    ),
    "baselines": _Experiment(
        "complete prompts with a key-value cache and without one, and measure what exits save against either",
        _energy_arguments,
        _baselines,
        baselines_page.page,
        draw_baselines,
    ),
    "recipes": _Experiment(
        "adapt the model by several recipes on an equal budget, and compare what it learns",
        _recipes_arguments,
        _recipes,
        recipes_page.page,
        draw_recipes,
    ),
    "drafts": _Experiment(
        "complete rows with the tokens of full depth, drafted by n-grams, by exits, and by both",
        _row_arguments,
        _drafts,
        drafts_page.page,
        draw_drafts,
    ),
    "quality": _Experiment(
        "complete rows by each policy, and compare joules and quality with full depth and the untouched model",
        _row_arguments,
        _quality,
        quality_page.page,
        draw_quality,
    ),
    "propagation": _Experiment(
        "complete rows by each policy with propagated and with computed keys and values, and compare both",
        _row_arguments,
        _propagation,
        propagation_page.page,
        draw_propagation,
    ),
    "prefill_exits": _Experiment(
        "complete rows in fast with prompts that settle at one layer or another, and compare joules and quality",
        _row_arguments,
        _plateaus,
        prefill_exits_page.page,
        draw_plateaus,
    ),
    "paper": _Experiment(
        "complete files as the paper does, one threshold after the other, and set its results beside ours",
        _paper_arguments,
        _paper,
        paper_page.page,
        draw_paper,
    ),
    "rewards": _Experiment(
        "train agents on the paper's reward and on joules, each constant changed in turn, and replay them",
        _rewards_arguments,
        _rewards,
        rewards_page.page,
        draw_rewards,
    ),
    "sessions": _Experiment(
        "type lines of files in each decoding mode, with a warm cache, and compare what that costs",
        _sessions_arguments,
        _sessions,
        sessions_page.page,
        draw_sessions,
    ),
    "snippets": _Experiment(
        "complete lines with and without lines of other files of the project before them, and compare",
        _snippets_arguments,
        _snippets,
        snippets_page.page,
        draw_snippets,
    ),
}


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
