"""`green-code adapt`: corpus, n-grams, exits, and the bundle's other parts; without a step, all that are missing.

The recipe `frozen` trains no layer; with the others, LITE training and the export of its delta come before the exits.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from green_code.models.bundle import LENSES, SVD_HEAD, write_manifest
from green_code.models.catalog import DEFAULT
from green_code.models.rows import ROWS
from green_code.problems import Problem
from green_code_lab.corpus.command import add_arguments as add_corpus_arguments
from green_code_lab.corpus.command import make_corpus
from green_code_lab.evaluation.watch import check, record, watch
from green_code_lab.heads.carrying import carry_over
from green_code_lab.heads.steps import (
    backend_of,
    backends_of,
    compare_exit_heads,
    make_exits,
    make_kv_projections,
    make_svd_head,
)
from green_code_lab.lite.job import Job, check_prefill_exit, log
from green_code_lab.lite.plan import PLANNED, Planned, check_fits, plan, table, variants
from green_code_lab.lite.recipe import FROZEN, RECIPES, Optimiser, recipe_named
from green_code_lab.lite.steps import export, make_ngrams, requested_recipe, train_lite

STEPS = ("corpus", "ngrams", "lite", "export", "exits", "kv-projections", "svd-head", "watch")
_OF_LITE = ("lite", "export")
_CARRY, _EXIT_HEADS, _PLAN = "carry", "exit-heads", "plan"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, models = parser.add_argument, f"{DEFAULT}, {', '.join(name for name in ROWS if name != DEFAULT)}"
    add(
        "step", nargs="?", choices=(*STEPS, _EXIT_HEADS, _CARRY, _PLAN), help="one step (default: all that are missing)"
    )
    add("--model", help=f"{models}, a bundle, or a folder of safetensors (default: {DEFAULT}; plan: 3B, 8B and 70B)")
    add("--out", type=Path, metavar="DIR", help="folder of the bundle (default: agent_models/MODEL)")
    add("--bundle", metavar="NAME", help="of another checkpoint of the same shape, for the step carry")
    add("--work", type=Path, default=Path("work"), help="folder for corpus and checkpoints (default: work)")
    add_corpus_arguments(parser)
    recipe = (
        "frozen: the layers stay the base model's; lite, paper: they are fine-tuned for exits (default: %(default)s)"
    )
    add("--recipe", choices=RECIPES, default=FROZEN, help=recipe)
    add("--exits", help="layers, e.g. 9,12 (default: those worth an exit, by measurement; fine-tuning: the recipe's)")
    add(
        "--prefill-exit",
        type=int,
        metavar="N",
        help="layer at which prompts leave in `fast`; their KV is then propagated (default: the bundle's, if any)",
    )
    positions = "of all languages, from which lenses and SVD head are learned (default: 120,000)"
    add("--positions", type=int, default=120_000, help=positions)
    windows = "of 256 tokens, from which KV projections are learned (default: 4,096)"
    add("--windows", type=int, default=4_096, help=windows)
    add("--tokens", type=int, default=5_000_000, help="to fine-tune on (default: 5,000,000)")
    add("--rate", type=float, help="peak learning rate of fine-tuning (default: the recipe's)")
    add(
        "--rank",
        type=int,
        metavar="R",
        help="fine-tune differences of this rank beside frozen weights (default: the weights)",
    )
    optimiser = "of fine-tuning; adamw8bit keeps its moments in 8 bits (default: %(default)s)"
    add("--optimiser", choices=get_args(Optimiser), default="adamw", help=optimiser)
    add("--gpus", type=int, default=1, metavar="N", help="cards of the plan (default: %(default)s)")
    add("--memory", type=float, default=80.0, metavar="GB", help="of each card of the plan (default: %(default)s)")
    add("--seed", type=int, default=1)
    add("--threads", type=int, default=torch.get_num_threads())


def run(args: argparse.Namespace) -> int:
    torch.set_num_threads(args.threads)
    if args.rank is not None and args.rank < 1:
        raise Problem("bad_request", "--rank must be 1 or more.")
    if args.step == _PLAN:
        _plan(args)
        return 0
    args.model = args.model or DEFAULT
    job = Job(args)
    frozen = args.recipe == FROZEN
    steps = [args.step] if args.step else [step for step in STEPS if not (frozen and step in _OF_LITE)]
    if args.step == _CARRY:
        carry_over(job)
        return 0
    job.prepare()
    exits = job.requested_exits or (job.config.layers - 1,)  # bad options fail before anything slow starts
    if "lite" in steps:
        requested_recipe(job)
    elif not args.step and args.prefill_exit is not None:
        check_prefill_exit(args.prefill_exit, exits)
    if "corpus" in steps and (args.step or not job.has_corpus()):
        make_corpus(args, job.source, job.bundle)
    if "ngrams" in steps:
        make_ngrams(job)
    if "lite" in steps:
        train_lite(job)
    if "export" in steps:
        export(job, _watch_weights)
    # A step that makes these stale has removed them.
    if "exits" in steps and (args.step or not (job.bundle / LENSES).is_file()):
        make_exits(job)
    if "kv-projections" in steps and (args.step or job.lacks_kv_projections()):
        make_kv_projections(job)
    if "svd-head" in steps and (args.step or not (job.bundle / SVD_HEAD).is_file()):
        make_svd_head(job)
    if args.step == _EXIT_HEADS:
        compare_exit_heads(job)
    if "watch" in steps and (args.step or "watch" not in job.adapted().manifest):
        _watch_bundle(job)
    return 0


def _plan(args: argparse.Namespace) -> None:
    """Print what training needs of each card. Raises Problem where the model that was given does not fit."""
    if args.gpus < 1 or not args.memory > 0:
        raise Problem("bad_request", "--gpus must be 1 or more, and --memory more than 0.")
    memory, name = round(args.memory * 1e9), args.model
    known = {**{row.name: row.shape for row in ROWS.values()}, **PLANNED}
    shapes = PLANNED if name is None else {name: known[name]} if name in known else {}
    configs = {model: shape.config() for model, shape in shapes.items()} or {name: Job(args).source.config}
    found, recipe_name = dict[str, list[Planned]](), "lite" if args.recipe == FROZEN else args.recipe
    for model, config in configs.items():
        recipe = recipe_named(recipe_name, config.layers, args.tokens)
        recipe = replace(recipe, rank=args.rank, optimiser=args.optimiser)
        found[model] = [plan(model, config, each, args.gpus, memory) for each in variants(recipe)]
    print(f"recipe {recipe_name}, {args.gpus} cards of {args.memory:g} GB, GB of one card at the peak of a step:")
    print(table([row for rows in found.values() for row in rows]))
    if name is not None:
        check_fits(found[name][0], found[name][1:], configs[name], args.gpus, memory)


def _watch_weights(job: Job, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Raises Problem where full depth loses."""
    base, trained = (
        backend_of(job.config, {name: w.numpy() for name, w in weights.items()}) for weights in (before, after)
    )
    changes = watch(base, trained, job.vocabulary, job.corpus(), job.args.seed, log)
    check(changes)
    return record(changes)


def _watch_bundle(job: Job) -> None:
    """The finished bundle at full depth, as it is served, against the base model. What it finds goes into the manifest.

    Raises Problem where full depth loses.
    """
    changes = watch(*backends_of(job), job.vocabulary, job.corpus(), job.args.seed, log)
    write_manifest(job.bundle, {**job.adapted().manifest, "watch": record(changes)})
    check(changes)
