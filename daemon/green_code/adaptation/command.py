"""`green-code adapt`: corpus, n-grams, LITE training, and what a bundle has of it; without a step, all in turn."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from green_code.adaptation import checkpoint
from green_code.adaptation.corpus import ABOUT, Corpus, corpus_digest, open_corpus
from green_code.adaptation.corpus.command import add_arguments as add_corpus_arguments
from green_code.adaptation.corpus.command import asked, make_corpus, vocabulary_ids
from green_code.adaptation.entries import WINDOWS, compare, learn_entries
from green_code.adaptation.export import export_delta
from green_code.adaptation.lenses import POSITIONS, learn_lens, record_states
from green_code.adaptation.lineage import beginning, served_bundle, training_record
from green_code.adaptation.monitors import BEYOND_REPAIR, worst_rise
from green_code.adaptation.ngrams import MOST_TOKENS, write_ngrams
from green_code.adaptation.recipe import RECIPES, Recipe, focused, recipe_named
from green_code.adaptation.scores import WINDOW, Scores, losses_at, score
from green_code.adaptation.screen import MOMENT_POSITIONS, depths_that_count, second_moment, write_screen
from green_code.adaptation.trainer import Lesson, Start, train
from green_code.decoding.exits import parse_exits
from green_code.folders import bundles_dir
from green_code.kernels.form import forms
from green_code.models.bundle import (
    AGENT,
    CALIBRATION,
    DELTA,
    ENTRIES,
    LENSES,
    MANIFEST,
    NGRAMS,
    SCREEN,
    VOCABULARY,
    Bundle,
    load_bundle,
    refresh_manifest,
    write_manifest,
)
from green_code.models.catalog import DEFAULT, Found, find_model
from green_code.models.decoder import Decoder
from green_code.models.delta import read_delta, same_delta
from green_code.models.device import compute_device
from green_code.models.families import ModelConfig
from green_code.models.reading import Reading, bundled_reading, read_lenses, save_lenses
from green_code.models.serving import first_that_serves
from green_code.models.sources import Source, open_vocabulary
from green_code.models.vocabulary import Vocabulary
from green_code.models.weights import adapted_weights
from green_code.problems import Problem

STEPS = ("corpus", "ngrams", "lite", "export", "lenses", "entries", "screen")
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
    parser.add_argument(
        "--exits", help="depths to train, one of them drawn a step, e.g. 9,12 (default: the recipe's)"
    )
    parser.add_argument(
        "--plateau",
        type=int,
        help="layer on which a prompt's positions settle in fast; without one they rise (default: the bundle's, if it has one)",
    )
    parser.add_argument("--tokens", type=int, default=5_000_000, help="to train on (default: 5,000,000)")
    parser.add_argument("--rate", type=float, help="peak learning rate (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


def run(args: argparse.Namespace) -> int:
    torch.set_num_threads(args.threads)
    job = _Job(args)
    steps = [args.step] if args.step else STEPS
    job.prepare()
    if "lite" in steps:
        job.recipe()  # what it refuses is said before anything is waited for
    if "corpus" in steps and (args.step or not job.has_corpus()):
        make_corpus(args, job.source, job.bundle)
    if "ngrams" in steps:
        job.ngrams()
    if "lite" in steps:
        job.lite()
    if "export" in steps:
        job.export()
    # Whatever makes these stale has removed them.
    if "lenses" in steps and (args.step or not (job.bundle / LENSES).is_file()):
        job.lenses()
    if "entries" in steps and (args.step or job.lacks_entries()):
        job.entries()
    if "screen" in steps and (args.step or not (job.bundle / SCREEN).is_file()):
        job.screen()
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
    def fingerprint(self) -> str:
        return self.source.fingerprint()

    @cached_property
    def served(self) -> Bundle | None:
        return served_bundle(self.args.model, self.fingerprint)

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

    @property
    def subject(self) -> dict[str, str]:
        """What a checkpoint is of, beside its recipe."""
        return {"base": self.fingerprint, "corpus": corpus_digest(self.args.work / "corpus")}

    def prepare(self) -> None:
        """The bundle's folder, with the vocabulary that the model is served with.

        Raises:
            Problem: the folder is another base model's.
        """
        manifest = self.bundle / MANIFEST
        if manifest.is_file() and load_bundle(self.bundle).manifest["base"]["sha256"] != self.fingerprint:
            raise Problem(
                "bad_request",
                f"{self.bundle} is a bundle for another base model; give another folder with --out.",
            )
        self.bundle.mkdir(parents=True, exist_ok=True)
        if (self.bundle / VOCABULARY).is_file() or self.served is None:
            return
        if path := self.served.part(VOCABULARY):
            part = self.bundle / f"{VOCABULARY}.{os.getpid()}.part"  # every process of a launch comes here
            shutil.copyfile(path, part)
            part.replace(self.bundle / VOCABULARY)

    def has_corpus(self) -> bool:
        """Whether WORK/corpus is what is asked for.

        Raises:
            Problem: it is of other sources.
        """
        about = self.args.work / "corpus" / ABOUT
        if not about.is_file():
            return False
        if json.loads(about.read_text("utf-8")).get("asked") != asked(self.args):
            raise Problem(
                "bad_request",
                f"{about.parent} was made from other sources or options than these; give another --work folder, or make it anew with `green-code adapt corpus` and these options.",
            )
        return True

    def lacks_entries(self) -> bool:
        """Whether the bundle has none, or none for the plateau that is asked for."""
        return not (self.bundle / ENTRIES).is_file() or self.args.plateau not in (None, self.served_plateau())

    def served_plateau(self) -> int | None:
        """Of the bundle that is there, if it has one."""
        return load_bundle(self.bundle).plateau if (self.bundle / MANIFEST).is_file() else None

    def ngrams(self) -> None:
        """The bundle's table of n-grams; a bundle's manifest is brought up to date. Larger vocabularies than it holds have none."""
        if len(self.vocabulary) > MOST_TOKENS:
            _say(
                f"no table of n-grams: it holds {MOST_TOKENS:,} tokens, and this vocabulary has {len(self.vocabulary):,}"
            )
            return
        corpus = open_corpus(self.args.work / "corpus", self.vocabulary, WINDOW, WINDOW)
        write_ngrams(corpus, self.vocabulary.digest, self.bundle / NGRAMS, _say)
        if (self.bundle / MANIFEST).is_file():
            refresh_manifest(self.bundle)

    def recipe(self) -> Recipe:
        """What is asked for.

        Raises:
            Problem: it has no step, its exits are no layers, or prompts would settle behind the last of them.
        """
        recipe = recipe_named(self.args.recipe, self.config.layers, self.args.tokens)
        recipe = replace(recipe, seed=self.args.seed, learning_rate=self.args.rate or recipe.learning_rate)
        if self.args.exits:
            recipe = focused(recipe, parse_exits(self.args.exits, self.config.layers), self.config.layers)
        if not recipe.steps:
            raise Problem(
                "bad_request",
                f"--tokens {recipe.tokens} is less than one step; give at least {recipe.tokens_per_step}.",
            )
        if self.args.plateau is not None:
            _check_plateau(self.args.plateau, recipe.exits)
        return recipe

    def lite(self) -> None:
        recipe = self.recipe()
        corpus, start = self.corpus(recipe), Start(None)
        if not (self.lite_folder / checkpoint.STATE).is_file():
            start, sentence = beginning(self.found, self.bundle, self.served, recipe)
            _say(sentence)
        lesson = Lesson(self.config, self.base(), corpus, self.vocabulary.bos, self.subject, start)
        train(lesson, recipe, self.lite_folder, _say)

    def export(self) -> None:
        """Delta, manifest and scores: untouched, as trained, as shipped. A bundle that has these weights is left alone.

        Raises:
            Problem: there is no run, it is of another base model or corpus, or its weights are not finite.
        """
        state = checkpoint.load(self.lite_folder)
        if state is None:
            raise Problem(
                "bad_request", f"{self.lite_folder} holds no run; run `green-code adapt lite` first."
            )
        recipe, base = checkpoint.recipe_of(state["recipe"]), self.base()
        corpus = self.corpus(recipe)
        checkpoint.check(self.lite_folder, state, recipe, self.subject)
        trained = {**base, **state["weights"]}
        new = self.bundle / f"{DELTA}.new"
        export_delta(base, trained, self.config.layers, new)
        if (self.bundle / DELTA).is_file() and same_delta(new, self.bundle / DELTA):
            new.unlink()
            _say(f"{self.bundle} has these weights already")
            return
        shipped = {**base, **{name: base[name] + delta for name, delta in read_delta(new)}}
        about = json.loads((self.args.work / "corpus" / ABOUT).read_text("utf-8"))
        training = training_record(state, recipe, about["shards"])
        training["held_out"] = {}
        for name, weights in (("untouched", base), ("trained", trained), ("shipped", shipped)):
            decoder = Decoder.load(self.config, weights)
            scores = score(decoder, corpus, recipe.exits, _SCORED_POSITIONS, self.vocabulary.bos)
            training["held_out"][name] = scores
            for language, by in scores.items():
                _say(f"{name} {language} {_rounded(by)}")
        self._refuse_damage(training["held_out"], new)
        gemma = "Gemma Terms of Use" if self.base_name == DEFAULT else "that of the base model"
        plateau = self.served_plateau()
        # From here on one after the other.
        new.replace(self.bundle / DELTA)
        self._forget(LENSES, ENTRIES, SCREEN, AGENT, CALIBRATION)
        write_manifest(self.bundle, {
            "base": {"model": self.base_name, "sha256": self.fingerprint},
            "exits": list(recipe.exits),
            **({"plateau": plateau} if plateau is not None and plateau <= recipe.exits[-1] else {}),
            "training": training,
            "licences": {**dict.fromkeys(("base", "delta", "lenses", "entries"), gemma), "agent": "Apache-2.0"},
        })  # fmt: skip

    def lenses(self) -> None:
        """A lens for each exit that is decided at, and what it says behind it. Screen, agent and calibration were of what was said
        before.

        Raises:
            Problem: there is no adapted bundle.
        """
        bundle = self._adapted()
        if self.config.row.norm != "rms":
            _say(f"a lens is for norms by the root mean square: {self.config.family} gets none")
            return
        recipe = checkpoint.recipe_of(bundle.manifest["training"]["recipe"])
        config, weights = adapted_weights(self.found, bundle)
        corpus, bos, depths = self.corpus(recipe), self.vocabulary.bos, (*bundle.exits, config.layers)
        decoder = first_that_serves(forms(), config).build(config, weights, Reading())
        states, counts = record_states(decoder, corpus, depths, POSITIONS, bos, _say)
        head = weights["embed.weight" if config.tied_head else "head.weight"] * weights["norm.weight"]
        lenses = {}
        for depth in bundle.exits:
            _say(f"lens of exit {depth}")
            lenses[depth] = learn_lens(
                states[depth], states[config.layers], head, counts, config.norm_eps, self.args.seed,
                decoder.device, _say,
            )  # fmt: skip
        part = self.bundle / f"{LENSES}.part"
        save_lenses(part, lenses)
        scored, held_out = Decoder.load(config, weights), dict[str, Scores]()
        for name, worn in (("plain", {}), ("seen", read_lenses(part))):
            scored.wear(worn)
            held_out[name] = score(scored, corpus, bundle.exits, _SCORED_POSITIONS, bos)
            for language, by in held_out[name].items():
                _say(f"{name} {language} {_rounded(by)}")
        record = {"positions": len(states[config.layers]), "seed": self.args.seed, "held_out": held_out}
        left = ("schema", "files", "agent", "entries")
        manifest = {k: v for k, v in bundle.manifest.items() if k not in left}
        self._forget(ENTRIES, SCREEN, AGENT, CALIBRATION)
        part.replace(self.bundle / LENSES)
        write_manifest(self.bundle, {**manifest, "lenses": record})
        _say(
            "lenses written; `green-code adapt entries`, `adapt screen` and `train` make entries, screen, agent and calibration anew"
        )

    def entries(self) -> None:
        """The plateau, and what layers above it make of settled positions. The calibration was of the entries before.

        Raises:
            Problem: there is no adapted bundle, or the plateau is no layer up to its last exit.
        """
        bundle = self._adapted()
        plateau: int | None = bundle.plateau if self.args.plateau is None else self.args.plateau
        if plateau is None:
            _say(
                "no plateau is given: prompts rise as far as their tokens do, and there are no entries to learn"
            )
            return
        _check_plateau(plateau, bundle.exits)
        corpus = self.corpus(checkpoint.recipe_of(bundle.manifest["training"]["recipe"]))
        config, weights = adapted_weights(self.found, bundle)
        # Entries before these may not fit any more, and are made anew.
        reading = bundled_reading(bundle.without(ENTRIES), config)
        served = first_that_serves(forms(), config).build(config, weights, reading)
        decoder, bos = Decoder.load(config, weights).to(compute_device()), self.vocabulary.bos
        decoder.wear(reading.lenses)
        entries = learn_entries(
            decoder, served, corpus, plateau, bundle.exits, bos, WINDOWS, self.args.seed, _say
        )
        part = self.bundle / f"{ENTRIES}.part"
        save_lenses(part, entries)
        learned = first_that_serves(forms(), config).build(
            config, weights, replace(reading, entries=read_lenses(part))
        )
        held_out = compare({"plain": served, "learned": learned}, corpus, plateau, bundle.exits, bos)
        for name, by in held_out.items():
            _say(f"{name} {json.dumps(by)}")
        record = {
            "windows": WINDOWS,
            "exits": list(bundle.exits),
            "seed": self.args.seed,
            "held_out": held_out,
        }
        manifest = {k: v for k, v in bundle.manifest.items() if k not in ("schema", "files")}
        self._forget(CALIBRATION)
        part.replace(self.bundle / ENTRIES)
        write_manifest(self.bundle, {**manifest, "plateau": plateau, "entries": record})
        _say("entries written; `green-code train calibrate` makes the calibration anew")

    def screen(self) -> None:
        """The screen of the head that the bundle is served with.

        Raises:
            Problem: there is no adapted bundle.
        """
        bundle = self._adapted()
        if not self.config.tied_head or self.config.row.norm != "rms":
            _say(f"the head of {self.config.family} is run whole: it gets no screen")
            return
        recipe = checkpoint.recipe_of(bundle.manifest["training"]["recipe"])
        config, weights = adapted_weights(self.found, bundle)
        moment = second_moment(
            first_that_serves(forms(), config).build(config, weights, bundled_reading(bundle, config)),
            weights["norm.weight"],
            self.corpus(recipe),
            depths_that_count(recipe.exits, config.layers),
            MOMENT_POSITIONS,
            self.vocabulary.bos,
        )
        write_screen(weights["embed.weight"], moment, self.bundle / SCREEN)
        refresh_manifest(self.bundle)
        _say(
            "screen written; rollouts and the agent are of the head behind it: `green-code train` makes them anew"
        )

    def _adapted(self) -> Bundle:
        """The bundle; raises Problem where it has no delta yet."""
        bundle = load_bundle(self.bundle) if (self.bundle / MANIFEST).is_file() else None
        if bundle is None or "training" not in bundle.manifest:
            raise Problem(
                "bad_request", f"{self.bundle} is not adapted; run `green-code adapt export` first."
            )
        return bundle

    def _forget(self, *parts: str) -> None:
        """Remove parts that were made for what the bundle was before: they would pass every check, and be wrong."""
        for part in parts:
            (self.bundle / part).unlink(missing_ok=True)

    def _refuse_damage(self, held_out: Mapping[str, Scores], new: Path) -> None:
        """Raises Problem when the last layer has lost more than exits can be worth."""
        losses = [losses_at(held_out[name], self.config.layers) for name in ("untouched", "shipped")]
        language, rise = worst_rise(*losses)
        if rise > BEYOND_REPAIR:
            new.unlink()
            raise Problem(
                "bad_request",
                f"the last layer's held-out loss on {language} is {rise:.1%} over the untouched model's: this run is not shipped. Train more tokens, or begin again in another --work folder with a lower --rate.",
            )


def _check_plateau(plateau: int, exits: Sequence[int]) -> None:
    """Raises Problem where it is no layer up to the last exit."""
    if not exits or not 0 < plateau <= exits[-1]:
        where = f"from 1 to {exits[-1]}, the last exit" if exits else "once the bundle has exits"
        raise Problem("bad_request", f"prompts cannot settle at layer {plateau}; give --plateau {where}.")


def _rounded(by: dict[str, dict[int, float]]) -> dict[str, dict[int, float]]:
    return {name: {depth: round(v, 3) for depth, v in values.items()} for name, values in by.items()}


def _say(text: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # of accelerate's launcher
        print(time.strftime("%H:%M:%S"), text, flush=True)
