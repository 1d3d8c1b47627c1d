"""`green-code adapt`: corpus, n-grams, LITE training, and the bundle's parts; without a step, all that are missing."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from green_code.models.bundle import LENSES, SVD_HEAD
from green_code.models.catalog import DEFAULT
from green_code.models.rows import ROWS
from green_code_lab.corpus.command import add_arguments as add_corpus_arguments
from green_code_lab.corpus.command import make_corpus
from green_code_lab.heads.steps import make_kv_projections, make_lenses, make_svd_head
from green_code_lab.lite.job import Job
from green_code_lab.lite.recipe import RECIPES
from green_code_lab.lite.steps import export, make_ngrams, requested_recipe, train_lite

STEPS = ("corpus", "ngrams", "lite", "export", "lenses", "kv-projections", "svd-head")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, models = parser.add_argument, f"{DEFAULT}, {', '.join(name for name in ROWS if name != DEFAULT)}"
    add("step", nargs="?", choices=STEPS, help="one step (default: all that are missing)")
    add("--model", default=DEFAULT, help=f"{models}, a bundle, or a folder of safetensors")
    add("--out", type=Path, metavar="DIR", help="folder of the bundle (default: agent_models/MODEL)")
    add("--work", type=Path, default=Path("work"), help="folder for corpus and checkpoints (default: work)")
    add_corpus_arguments(parser)
    add("--recipe", choices=RECIPES, default=RECIPES[0], help="loss and schedule (default: %(default)s)")
    add("--exits", help="layers to train, one drawn per step, e.g. 9,12 (default: the recipe's)")
    add(
        "--prefill-exit",
        type=int,
        metavar="N",
        help="layer at which prompts leave in `fast`; their KV is then propagated (default: the bundle's, if any)",
    )
    add("--tokens", type=int, default=5_000_000, help="to train on (default: 5,000,000)")
    add("--rate", type=float, help="peak learning rate (default: the recipe's)")
    add("--seed", type=int, default=1)
    add("--threads", type=int, default=torch.get_num_threads())


def run(args: argparse.Namespace) -> int:
    torch.set_num_threads(args.threads)
    job = Job(args)
    steps = [args.step] if args.step else STEPS
    job.prepare()
    if "lite" in steps:
        requested_recipe(job)  # bad options fail before anything slow starts
    if "corpus" in steps and (args.step or not job.has_corpus()):
        make_corpus(args, job.source, job.bundle)
    if "ngrams" in steps:
        make_ngrams(job)
    if "lite" in steps:
        train_lite(job)
    if "export" in steps:
        export(job)
    # A step that makes these stale has removed them.
    if "lenses" in steps and (args.step or not (job.bundle / LENSES).is_file()):
        make_lenses(job)
    if "kv-projections" in steps and (args.step or job.lacks_kv_projections()):
        make_kv_projections(job)
    if "svd-head" in steps and (args.step or not (job.bundle / SVD_HEAD).is_file()):
        make_svd_head(job)
    return 0
