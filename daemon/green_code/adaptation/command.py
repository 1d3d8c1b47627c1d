"""`green-code adapt`: corpus, LITE training, and the bundle's delta, each resumable; without a step, all in turn."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from green_code.adaptation import checkpoint
from green_code.adaptation.corpus import Corpus, open_corpus
from green_code.adaptation.corpus.command import add_arguments as add_corpus_arguments
from green_code.adaptation.corpus.command import make_corpus, vocabulary_ids
from green_code.adaptation.export import export_delta
from green_code.adaptation.recipe import RECIPES, Recipe, recipe_named
from green_code.adaptation.scores import WINDOW, score
from green_code.adaptation.trainer import Lesson, Start, train
from green_code.folders import bundles_dir
from green_code.models.bundle import (
    AGENT,
    CALIBRATION,
    DELTA,
    MANIFEST,
    VOCABULARY,
    Bundle,
    load_bundle,
    write_manifest,
)
from green_code.models.catalog import DEFAULT, Found, find_model
from green_code.models.decoder import Decoder
from green_code.models.families import ModelConfig
from green_code.models.sources import Source, open_vocabulary
from green_code.models.vocabulary import Vocabulary
from green_code.models.weights import adapted_weights
from green_code.problems import Problem

STEPS = ("corpus", "lite", "export")
_SCORED_POSITIONS = 16_384  # per language, for the manifest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("step", nargs="?", choices=STEPS, help="one step (default: all that are left)")
    parser.add_argument("--model", default=DEFAULT, help="a model of the catalog, or a folder of safetensors")
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
    parser.add_argument("--tokens", type=int, default=5_000_000, help="to train on (default: 5,000,000)")
    parser.add_argument("--rate", type=float, help="peak learning rate (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


def run(args: argparse.Namespace) -> int:
    torch.set_num_threads(args.threads)
    job = _Job(args)
    job.bundle.mkdir(parents=True, exist_ok=True)
    served = _served(args.model)
    if served is not None and (path := served.part(VOCABULARY)) and not (job.bundle / VOCABULARY).is_file():
        shutil.copyfile(path, job.bundle / VOCABULARY)
    steps = [args.step] if args.step else STEPS
    if "corpus" in steps and (args.step or not (args.work / "corpus" / "corpus.json").is_file()):
        make_corpus(args, job.source, job.bundle)
    if "lite" in steps:
        job.lite()
    if "export" in steps:
        job.export()
    return 0


@dataclass(frozen=True)
class _Job:
    """What the steps share: the model, its bundle, its corpus."""

    args: argparse.Namespace

    @property
    def bundle(self) -> Path:
        out: Path | None = self.args.out
        return out or bundles_dir() / Path(self.args.model).name

    @property
    def lite_folder(self) -> Path:
        return Path(self.args.work) / "lite"

    @cached_property
    def found(self) -> Found:
        return find_model(self.args.model)

    @property
    def base_name(self) -> str:
        """As a manifest names it: a folder by its whole path."""
        folder = Path(self.found.name).expanduser()
        return str(folder.resolve()) if folder.is_dir() else self.found.name

    @cached_property
    def source(self) -> Source:
        return self.found.open()

    @cached_property
    def config(self) -> ModelConfig:
        ids = vocabulary_ids(self.bundle)
        return replace(self.source.config, vocabulary=len(ids)) if ids else self.source.config

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return open_vocabulary(self.source, vocabulary_ids(self.bundle))

    def base(self) -> dict[str, Tensor]:
        return dict(self.source.tensors(vocabulary_ids(self.bundle)))

    def corpus(self, recipe: Recipe) -> Corpus:
        return open_corpus(self.args.work / "corpus", self.vocabulary, recipe.tokens_per_step, 2 * WINDOW)

    def lite(self) -> None:
        """From the checkpoint; else from the bundle's delta, where that is this recipe part way; else from the base."""
        recipe = recipe_named(self.args.recipe, self.config.layers, self.args.tokens)
        recipe = replace(recipe, seed=self.args.seed, learning_rate=self.args.rate or recipe.learning_rate)
        if not recipe.steps:
            raise Problem(
                "bad_request",
                f"--tokens {recipe.tokens} is less than one step; give at least {recipe.tokens_per_step}.",
            )
        corpus = self.corpus(recipe)
        begun = (self.lite_folder / checkpoint.STATE).is_file()
        start = Start(None) if begun else self._start(recipe)
        lesson = Lesson(
            self.config,
            self.base(),
            corpus,
            self.vocabulary.bos,
            start,
        )
        train(lesson, recipe, self.lite_folder, _say)

    def _start(self, recipe: Recipe) -> Start:
        """What to begin from: the bundle as it is, else the one that the model is served with, else untouched weights.

        A bundle of this very recipe that was exported part way goes on at its step, the others at the recipe's first:
        early layers that speak need not learn it again.
        """
        own = load_bundle(self.bundle) if (self.bundle / MANIFEST).is_file() else None
        for bundle in (own, _served(self.args.model)):
            if bundle is None or bundle.part(DELTA) is None:
                continue
            training = bundle.manifest["training"]
            weights = adapted_weights(self.found, bundle)[1]
            same = json.dumps(training["recipe"]) == json.dumps(checkpoint.as_stored(recipe))
            if bundle is own and same and training["step"] < recipe.steps:
                _say(f"going on from bundle {bundle.name} at step {training['step']} of {recipe.steps}")
                earlier = training["earlier"]
                joules = training["joules"] - sum(run["joules"] for run in earlier)
                return Start(weights, training["step"], joules, earlier)
            _say(f"beginning from bundle {bundle.name}, which has seen {training['tokens']:,} tokens")
            return Start(weights, earlier=_runs_of(training))
        _say("beginning from the untouched weights")
        return Start(None)

    def export(self) -> None:
        """Delta, manifest and scores: untouched, as trained, as shipped."""
        state = checkpoint.load(self.lite_folder, None)
        if state is None:
            raise Problem(
                "bad_request", f"{self.lite_folder} holds no run; run `green-code adapt lite` first."
            )
        recipe, base, earlier = checkpoint.recipe_of(state["recipe"]), self.base(), state["earlier"]
        trained = {**base, **state["weights"]}
        corpus, bos = self.corpus(recipe), self.vocabulary.bos
        for part in (AGENT, CALIBRATION):  # of the weights before; they would pass every check, and be wrong
            (self.bundle / part).unlink(missing_ok=True)
        export_delta(base, trained, self.config.layers, self.bundle / DELTA)
        about = json.loads((self.args.work / "corpus" / "corpus.json").read_text("utf-8"))
        training: dict[str, Any] = {
            "method": "LITE",
            "recipe": state["recipe"],
            "step": state["step"],
            "tokens": state["step"] * recipe.tokens_per_step + sum(run["tokens"] for run in earlier),
            "joules": round(state["joules"] + sum(run["joules"] for run in earlier)),
            "energy_source": state["energy_source"],
            "earlier": earlier,
            "corpus": about["shards"],
        }
        gemma = "Gemma Terms of Use" if self.base_name == DEFAULT else "that of the base model"
        manifest: dict[str, Any] = {
            "base": {"model": self.base_name, "sha256": self.source.fingerprint()},
            "exits": list(recipe.exits),
            "training": training,
            "licences": {"base": gemma, "delta": gemma, "agent": "Apache-2.0"},
        }
        write_manifest(self.bundle, manifest)
        _, shipped = adapted_weights(self.found, load_bundle(self.bundle))
        training["held_out"] = {}
        for name, weights in (("untouched", base), ("trained", trained), ("shipped", shipped)):
            scores = score(Decoder.load(self.config, weights), corpus, recipe.exits, _SCORED_POSITIONS, bos)
            training["held_out"][name] = scores
            for language, by in scores.items():
                _say(f"{name} {language} {_rounded(by)}")
        write_manifest(self.bundle, manifest)


def _served(model: str) -> Bundle | None:
    """The bundle that a model is served with."""
    folder = bundles_dir() / Path(model).name
    return load_bundle(folder) if (folder / MANIFEST).is_file() else None


def _runs_of(training: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The runs that a bundle's training record stands for: its figures are sums over all of them."""
    earlier = training["earlier"]
    own = {name: training[name] - sum(run[name] for run in earlier) for name in ("tokens", "joules")}
    return [*earlier, {"recipe": training["recipe"], "energy_source": training["energy_source"], **own}]


def _rounded(by: dict[str, dict[int, float]]) -> dict[str, dict[int, float]]:
    return {name: {depth: round(v, 3) for depth, v in values.items()} for name, values in by.items()}


def _say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)
