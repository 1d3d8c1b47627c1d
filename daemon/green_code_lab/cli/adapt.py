"""`green-code adapt`: corpus, n-grams, LITE training, and what a bundle has of it; without a step, all in turn."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from green_code.models.bundle import LENSES, SVD_HEAD
from green_code.models.catalog import DEFAULT, HUB_MODELS
from green_code_lab.corpus.command import add_arguments as add_corpus_arguments
from green_code_lab.corpus.command import make_corpus
from green_code_lab.heads.steps import make_kv_projections, make_lenses, make_svd_head
from green_code_lab.lite.job import Job
from green_code_lab.lite.recipe import RECIPES
from green_code_lab.lite.steps import asked_recipe, export, make_ngrams, train_lite

STEPS = ("corpus", "ngrams", "lite", "export", "lenses", "kv_projections", "svd_head")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("step", nargs="?", choices=STEPS, help="one step (default: all that are left)")
    parser.add_argument(
        "--model",
        default=DEFAULT,
        help=f"{DEFAULT}, {', '.join(HUB_MODELS)}, a bundle, or a folder of safetensors",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the bundle (default: agent_models/MODEL)"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("work"), help="folder for corpus and checkpoints (default: work)"
    )
    add_corpus_arguments(parser)
    parser.add_argument(
        "--recipe", choices=RECIPES, default=RECIPES[0], help="loss and schedule (adaptation/recipe.py)"
    )
    parser.add_argument(
        "--exits", help="depths to train, one of them drawn a step, e.g. 9,12 (default: the recipe's)"
    )
    parser.add_argument(
        "--prefill exit",
        type=int,
        help="layer on which a prompt's positions settle in fast; without one they rise (default: the bundle's, if it has one)",
    )
    parser.add_argument("--tokens", type=int, default=5_000_000, help="to train on (default: 5,000,000)")
    parser.add_argument("--rate", type=float, help="peak learning rate (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


def run(args: argparse.Namespace) -> int:
    torch.set_num_threads(args.threads)
    job = Job(args)
    steps = [args.step] if args.step else STEPS
    job.prepare()
    if "lite" in steps:
        asked_recipe(job)  # what it refuses is said before anything is waited for
    if "corpus" in steps and (args.step or not job.has_corpus()):
        make_corpus(args, job.source, job.bundle)
    if "ngrams" in steps:
        make_ngrams(job)
    if "lite" in steps:
        train_lite(job)
    if "export" in steps:
        export(job)
    # Whatever makes these stale has removed them.
    if "lenses" in steps and (args.step or not (job.bundle / LENSES).is_file()):
        make_lenses(job)
    if "kv_projections" in steps and (args.step or job.lacks_kv_projections()):
        make_kv_projections(job)
    if "svd_head" in steps and (args.step or not (job.bundle / SVD_HEAD).is_file()):
        make_svd_head(job)
    return 0
