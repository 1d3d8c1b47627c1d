"""`green-code adapt`: corpus, LITE training, and the bundle's delta, each resumable; without a step, all in turn."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from green_code.adaptation.corpus import (
    clean,
    evaluation_windows,
    held_out,
    java_files,
    python_files,
    shuffled_and_capped,
    write_shards,
)
from green_code.adaptation.export import export_delta, trained_weights
from green_code.adaptation.lite import Recipe, evaluate, train
from green_code.folders import bundles_dir
from green_code.models.bundle import AGENT, CALIBRATION, DELTA, VOCABULARY, load_bundle, write_manifest
from green_code.models.catalog import DEFAULT, find_model
from green_code.models.decoder import Decoder
from green_code.models.sources import GgufSource, open_vocabulary
from green_code.models.vocabulary import Vocabulary, build_tokenizer, choose_ids
from green_code.models.weights import adapted_weights
from green_code.problems import Problem

STEPS = ("corpus", "lite", "export")
VOCABULARY_SIZE = 38_912
_COUNTED_CHARACTERS = 100_000_000  # per language, when the vocabulary is chosen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("step", nargs="?", choices=STEPS, help="one step (default: all that are left)")
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--bundle", type=Path, help="folder of the bundle (default: agent_models/MODEL)")
    parser.add_argument("--work", type=Path, default=Path("work"), help="folder for corpus and checkpoints")
    parser.add_argument("--jdk", type=Path, help="the JDK's src.zip")
    parser.add_argument(
        "--exclude", type=Path, nargs="*", default=[], help="evaluation rows to keep out of the corpus"
    )
    parser.add_argument("--corpus-tokens", type=int, default=12_000_000, help="per language")
    parser.add_argument("--tokens", type=int, default=Recipe.tokens, help="tokens to train on")
    parser.add_argument(
        "--teacher",
        choices=("last", "untouched"),
        default=Recipe.teacher,
        help="whose distribution exits learn",
    )
    parser.add_argument(
        "--distillation", type=float, default=Recipe.distillation, help="share of an exit's loss that is that"
    )
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


def run(args: argparse.Namespace) -> int:
    torch.set_num_threads(args.threads)
    bundle = args.bundle or bundles_dir() / Path(args.model).name
    bundle.mkdir(parents=True, exist_ok=True)
    steps = [args.step] if args.step else STEPS
    if "corpus" in steps and (args.step or not (args.work / "corpus" / "corpus.json").is_file()):
        make_corpus(args, bundle)
    if "lite" in steps:
        adapt(args, bundle)
    if "export" in steps:
        export(args, bundle)
    return 0


def make_corpus(args: argparse.Namespace, bundle: Path) -> None:
    """Gather, clean and encode; choose the vocabulary first if the bundle has none."""
    if args.jdk is None:
        raise Problem(
            "bad_request",
            "the corpus needs the JDK's sources: give --jdk PATH/src.zip (Debian: package openjdk-21-source); `make adapt` does.",
        )
    dropped: dict[str, int] = {}
    files = list(clean([*python_files(), *java_files(args.jdk)], evaluation_windows(args.exclude), dropped))
    print(f"{len(files)} files; dropped {dropped}")
    source = find_model(args.model).open()
    if not (bundle / VOCABULARY).is_file() and isinstance(source, GgufSource):
        pieces = source.pieces()
        whole = Vocabulary(build_tokenizer(pieces), pieces.bos, [pieces.eos])
        counts, sizes = np.zeros(len(pieces.texts), np.int64), dict[str, int]()
        for file in shuffled_and_capped(files, args.seed):
            sizes[file.language] = sizes.get(file.language, 0) + len(file.text)
            if not held_out(file) and sizes[file.language] < _COUNTED_CHARACTERS:
                np.add.at(counts, whole.encode(file.text), 1)
        ids = choose_ids(pieces, counts.tolist(), VOCABULARY_SIZE)
        save_file({"ids": np.asarray(ids, np.int32)}, str(bundle / VOCABULARY))
        print(
            f"vocabulary: {len(ids)} ids cover {counts[ids].sum() / counts.sum():.3%} of {counts.sum() / 1e6:.1f} M tokens"
        )
    vocabulary = open_vocabulary(source, _ids(bundle))
    summary = write_shards(args.work / "corpus", files, vocabulary, args.corpus_tokens, args.seed, dropped)
    print(json.dumps(summary["shards"], indent=1))


def _ids(bundle: Path) -> list[int] | None:
    from safetensors.numpy import load_file

    path = bundle / VOCABULARY
    return [int(i) for i in load_file(path)["ids"]] if path.is_file() else None


def _bos(args: argparse.Namespace, bundle: Path) -> int | None:
    return open_vocabulary(find_model(args.model).open(), _ids(bundle)).bos


def _base(args: argparse.Namespace, bundle: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    source, ids = find_model(args.model).open(), _ids(bundle)
    config = replace(source.config, vocabulary=len(ids)) if ids else source.config
    return config, dict(source.tensors(ids))


def adapt(args: argparse.Namespace, bundle: Path) -> None:
    """LITE from the untouched weights, or from the bundle's delta where there is no checkpoint but a bundle."""
    config, base = _base(args, bundle)
    start = None
    if not (args.work / "lite" / "state.pt").is_file() and (bundle / DELTA).is_file():
        _, start = adapted_weights(find_model(args.model), load_bundle(bundle))
        print("going on from the bundle's delta, with fresh optimiser moments")
    recipe = Recipe(tokens=args.tokens, seed=args.seed, teacher=args.teacher, distillation=args.distillation)
    train(
        config,
        base,
        args.work / "corpus",
        args.work / "lite",
        recipe,
        _bos(args, bundle),
        start,
        lambda text: print(time.strftime("%H:%M:%S"), text, flush=True),
    )


def export(args: argparse.Namespace, bundle: Path) -> None:
    """Delta, manifest and scores: untouched, as trained, as shipped."""
    config, base = _base(args, bundle)
    weights, recipe, tokens = trained_weights(args.work / "lite")
    corpus = args.work / "corpus"
    exits = recipe.exits()
    for part in (AGENT, CALIBRATION):  # of the weights before; they would pass every check, and be wrong
        (bundle / part).unlink(missing_ok=True)
    export_delta(base, weights, config.layers, bundle / DELTA)
    about = json.loads((corpus / "corpus.json").read_text())
    manifest = {
        "base": {"model": args.model, "sha256": find_model(args.model).open().fingerprint()},
        "exits": list(exits),
        "training": {"method": "LITE", "recipe": asdict(recipe), "tokens": tokens, "corpus": about["shards"]},
        "licences": {"base": "Gemma Terms of Use", "delta": "Gemma Terms of Use", "agent": "Apache-2.0"},
    }
    write_manifest(bundle, manifest)
    _, shipped = adapted_weights(find_model(args.model), load_bundle(bundle))
    scores, bos = {}, _bos(args, bundle)
    for name, tensors in (("untouched", base), ("trained", weights), ("shipped", shipped)):
        scores[name] = evaluate(Decoder.load(config, tensors), corpus, exits, 16_384, bos)
        for language, by in scores[name].items():
            print(name, language, {k: {d: round(v, 3) for d, v in x.items()} for k, x in by.items()})
    manifest["training"]["held_out"] = scores  # type: ignore[index]
    write_manifest(bundle, manifest)
