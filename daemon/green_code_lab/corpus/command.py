"""`green-code adapt corpus`: gather, clean, choose the vocabulary where the bundle has none, and encode."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from green_code.models.bundle import VOCABULARY
from green_code.models.gguf_source import GgufSource
from green_code.models.hashes import sha256_of
from green_code.models.sources import Source, open_vocabulary
from green_code.models.vocabulary import Vocabulary, build_tokenizer
from green_code.problems import Problem
from green_code_lab.corpus import debian, npm
from green_code_lab.corpus.copies import clean
from green_code_lab.corpus.debian import debian_files
from green_code_lab.corpus.evaluation_rows import EvaluationRows
from green_code_lab.corpus.files import Report, SourceFile
from green_code_lab.corpus.installed import installed_files
from green_code_lab.corpus.jdk import jdk_files
from green_code_lab.corpus.npm import npm_files
from green_code_lab.corpus.own_code import own_files
from green_code_lab.corpus.pruning import choose_ids
from green_code_lab.corpus.shards import LEAST_HELD_OUT, write_shards
from green_code_lab.corpus.split import Parts, split, within_share

SOURCES = ("installed", "sdists", "jdk", "npm", "debian")
VOCABULARY_SIZE = 38_912
_COUNTED_CHARACTERS = 100_000_000  # per language, when the vocabulary is chosen
_MINIMUM_TOKENS = 20_000  # of a language, to train on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, sources = parser.add_argument, ",".join(SOURCES)
    paths: dict[str, Any] = {"type": Path, "nargs": "+", "default": [], "metavar": "PATH"}
    add("--from", dest="own_code", help="folders and archives of your own code, each a project", **paths)
    add("--sources", type=_sources, help=f"public sources, of {sources} (default: all of them; none with --from)")
    add("--jdk", help="the JDK's src.zip, and others like it", **paths)
    add("--exclude", help="evaluation rows to leave out of the corpus", **{**paths, "nargs": "*"})
    add("--corpus-tokens", type=int, default=16_000_000, help="per language, to train on (default: %(default)s)")


def _sources(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    if not set(chosen) <= set(SOURCES):
        raise argparse.ArgumentTypeError(f"{text!r} is not of {','.join(SOURCES)}")
    return chosen


def make_corpus(args: argparse.Namespace, source: Source, bundle: Path) -> None:
    """Write WORK/corpus as `args` (of `add_arguments`, with `work` and `seed`) request, and print a summary.

    Raises Problem where a source or evaluation file cannot be read, too little code is left, or the disk is full.
    """
    began, report, folder = time.monotonic(), Report(), args.work / "corpus"
    rows = EvaluationRows(args.exclude)
    kept = list(clean(within_share(_gathered(args, report), args.seed, report), rows, report))
    characters = sum(len(file.text) for file in kept)
    print(f"{len(kept)} files, {characters / 1e6:.0f} M characters; left out: {report}", flush=True)
    parts, units = split(kept, args.seed)
    if not (bundle / VOCABULARY).is_file() and isinstance(source, GgufSource) and source.has_sentencepiece:
        _choose_vocabulary(source, parts, bundle / VOCABULARY)
    vocabulary = open_vocabulary(source, vocabulary_ids(bundle))
    dropped = report.summary()
    about = {"options": requested(args), "split": units, "evaluation_rows": rows.count, "dropped": dropped}
    summary = write_shards(folder, parts, vocabulary, args.corpus_tokens, _MINIMUM_TOKENS, LEAST_HELD_OUT, about)
    for name, shard in summary["shards"].items():
        print(f"{name}: {shard['tokens']:,} tokens of {shard['files']:,} files")
    for language, tokens in summary["left_out"].items():
        print(
            f"{language} is left out: {tokens['train']:,} tokens to train on, {_MINIMUM_TOKENS:,} needed; {tokens['heldout']:,} held out, {LEAST_HELD_OUT:,} needed"
        )
    print(f"split by {units}; {folder} written in {time.monotonic() - began:.0f} s")


def requested(args: argparse.Namespace) -> dict[str, Any]:
    """The options of a corpus as in corpus.json, files to exclude by their digests.

    Raises Problem where one of these files cannot be read.
    """
    return {
        "from": [str(path.resolve()) for path in args.own_code],
        "sources": list(_chosen(args)),
        "exclude": sorted(map(_digest, args.exclude)),
        "tokens": args.corpus_tokens,
        "seed": args.seed,
    }


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise Problem(
            "bad_request", f"{path} cannot be read ({error.strerror or error}); correct --exclude."
        ) from error


def _chosen(args: argparse.Namespace) -> tuple[str, ...]:
    return tuple(args.sources or (() if args.own_code else SOURCES))


def _gathered(args: argparse.Namespace, report: Report) -> Iterator[SourceFile]:
    sources = _chosen(args)
    if args.jdk and "jdk" not in sources:
        raise Problem("bad_request", "--jdk has no effect without the source jdk; add --sources jdk.")
    if "jdk" in sources and not args.jdk:
        raise Problem(
            "bad_request",
            "the corpus needs the JDK's sources: give --jdk PATH/src.zip (Debian: package openjdk-21-source; `make corpus` fetches it), or leave them out: --sources installed,sdists.",
        )
    for path in args.own_code:
        print(f"reading {path}", flush=True)
        yield from own_files(path, report)
    if "installed" in sources:
        print("reading the installed packages", flush=True)
        yield from installed_files(report)
    if "sdists" in sources:
        from green_code_lab.corpus.sdists import LIST, index_url, listed, sdist_files

        print(f"reading the listed source distributions, cached in {args.work / 'sdists'}", flush=True)
        yield from sdist_files(listed(LIST.read_text("utf-8")), args.work / "sdists", index_url(), report)
    if "npm" in sources:
        print(f"reading the listed packages of npm, cached in {args.work / 'npm'}", flush=True)
        yield from npm_files(npm.listed(npm.LIST.read_text("utf-8")), args.work / "npm", report)
    if "debian" in sources:
        print(f"reading the listed source packages of Debian, cached in {args.work / 'debian'}", flush=True)
        yield from debian_files(debian.listed(debian.LIST.read_text("utf-8")), args.work / "debian", report)
    if "jdk" in sources:
        for path in args.jdk:
            print(f"reading {path}", flush=True)
            yield from jdk_files(path, report)


def _choose_vocabulary(source: GgufSource, parts: Parts, path: Path) -> None:
    """Choose the ids that the training files need, by their counts. Raises Problem where the corpus is too small."""
    pieces = source.pieces()
    whole = Vocabulary(build_tokenizer(pieces), pieces.bos, pieces.ends)
    counts = np.zeros(len(pieces.texts), np.int64)
    for (_, part), files in parts.items():
        size = 0
        for file in files if part == "train" else []:
            size += len(file.text)
            if size < _COUNTED_CHARACTERS:
                np.add.at(counts, whole.encode(file.text), 1)
    total = int(counts.sum())
    if total < _MINIMUM_TOKENS:
        raise Problem(
            "bad_request",
            f"the corpus is too small to choose a vocabulary by: {total} tokens, and at least {_MINIMUM_TOKENS} are needed; give more code (--from, --sources).",
        )
    ids = choose_ids(pieces, counts.tolist(), VOCABULARY_SIZE)
    save_file({"ids": np.asarray(ids, np.int32)}, str(path))
    covered = int(counts[ids].sum())
    print(f"vocabulary: {len(ids)} ids cover {covered / total:.3%} of {total / 1e6:.1f} M tokens")


def vocabulary_ids(bundle: Path) -> list[int] | None:
    """Ids of the bundle's pruned vocabulary, or None where it has none."""
    path = bundle / VOCABULARY
    return [int(i) for i in load_file(path)["ids"]] if path.is_file() else None
