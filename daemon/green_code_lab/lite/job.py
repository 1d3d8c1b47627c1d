"""What the steps of `green-code adapt` share: the model, its bundle and its corpus."""

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
from typing import Any

import torch
from torch import Tensor

from green_code.engine.prompts import layout_of
from green_code.folders import bundles_dir
from green_code.models.bundle import (
    DELTA,
    KV_PROJECTIONS,
    MANIFEST,
    VOCABULARY,
    Bundle,
    bundle_of,
    changing,
    load_bundle,
    write_manifest,
)
from green_code.models.catalog import Found, find_model
from green_code.models.config import ModelConfig
from green_code.models.rows import ROWS
from green_code.models.sources import Source, open_vocabulary
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem
from green_code_lab.corpus import ABOUT, Corpus, corpus_digest, open_corpus
from green_code_lab.corpus.command import requested, vocabulary_ids
from green_code_lab.lite.infilling import Infilling, infilling_of
from green_code_lab.lite.recipe import FROZEN, parse_exits
from green_code_lab.lite.scores import WINDOW


@dataclass(frozen=True)
class Job:
    """Arguments of `green-code adapt`, and what they name."""

    args: argparse.Namespace

    @property
    def bundle(self) -> Path:
        out: Path | None = self.args.out
        return out or bundles_dir() / Path(self.args.model).name

    @property
    def own(self) -> Bundle | None:
        """The bundle in the folder now."""
        return load_bundle(self.bundle) if (self.bundle / MANIFEST).is_file() else None

    @property
    def lite_folder(self) -> Path:
        return Path(self.args.work) / "lite"

    @property
    def states_folder(self) -> Path:
        return Path(self.args.work) / "states"

    @property
    def corpus_folder(self) -> Path:
        return Path(self.args.work) / "corpus"

    @cached_property
    def found(self) -> Found:
        return find_model(self.args.model)

    @property
    def base_name(self) -> str:
        """The base model's name in a manifest: a folder by its whole path."""
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
        """The bundle that the model is served with; None where it is for another base model."""
        bundle = bundle_of(self.args.model)
        return bundle if bundle and bundle.manifest["base"]["sha256"] == self.fingerprint else None

    @cached_property
    def config(self) -> ModelConfig:
        """Raises Problem where the losses, which read the head's plain products, would not be the model's."""
        ids, config = vocabulary_ids(self.bundle), self.source.config
        if config.logit_scale != 1.0 or config.logit_softcap is not None:
            raise Problem(
                "bad_request",
                f"models of the family {config.family} scale or cap their logits and cannot be adapted; choose another one.",
            )
        return replace(config, vocabulary=len(ids)) if ids else config

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return open_vocabulary(self.source, vocabulary_ids(self.bundle))

    def base(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """The base model's weights, each in this type as it is read."""
        weights = self.source.tensors(vocabulary_ids(self.bundle))
        return {name: torch.from_numpy(weight).to(dtype) for name, weight in weights}

    @cached_property
    def infilling(self) -> Infilling | None:
        """The form of training windows, where the model is served with prompts that have the text behind the cursor."""
        row = ROWS.get(self.base_name)
        layout = layout_of(self.base_name, self.vocabulary.fim, row.prompt if row is not None else None)
        return infilling_of(layout, self.vocabulary)

    def corpus(self, least: int = 2 * WINDOW) -> Corpus:
        """`least`: tokens of each training shard."""
        return open_corpus(self.corpus_folder, self.vocabulary, least, 2 * WINDOW)

    @cached_property
    def requested_exits(self) -> tuple[int, ...] | None:
        """Raises Problem where they are no layers."""
        return parse_exits(self.args.exits, self.config.layers) if self.args.exits else None

    @property
    def subject(self) -> dict[str, str]:
        """Base model and corpus, by which a checkpoint is checked."""
        return {"base": self.fingerprint, "corpus": corpus_digest(self.corpus_folder)}

    def prepare(self) -> None:
        """Create the bundle's folder, with the vocabulary that the model is served with.

        Raises Problem where the folder is another base model's, or has fine-tuned layers and the recipe has none.
        """
        own = self.own
        if own is not None and own.manifest["base"]["sha256"] != self.fingerprint:
            raise Problem(
                "bad_request", f"{self.bundle} is a bundle for another base model; give another folder with --out."
            )
        if (
            own is not None
            and own.part(DELTA) is not None
            and self.args.recipe == FROZEN
            and self.args.step in (None, "exits")
        ):
            raise Problem(
                "bad_request",
                f"the layers of {self.bundle} are fine-tuned, and the recipe {FROZEN} keeps the base model's; give another folder with --out, or --recipe lite.",
            )
        self.bundle.mkdir(parents=True, exist_ok=True)
        if (self.bundle / VOCABULARY).is_file() or self.served is None:
            return
        if path := self.served.part(VOCABULARY):
            part = self.bundle / f"{VOCABULARY}.{os.getpid()}.part"  # every process of a launch does this
            shutil.copyfile(path, part)
            part.replace(self.bundle / VOCABULARY)

    def has_corpus(self) -> bool:
        """Whether WORK/corpus is the requested one. Raises Problem where it is of other sources."""
        about = self.corpus_folder / ABOUT
        if not about.is_file():
            return False
        if json.loads(about.read_text("utf-8")).get("options") != requested(self.args):
            raise Problem(
                "bad_request",
                f"{about.parent} was made from other sources or options than these; use another --work folder, or make it again with `green-code adapt corpus` and these options.",
            )
        return True

    def lacks_kv_projections(self) -> bool:
        """Whether the bundle has none, or none for the requested prefill exit."""
        wanted, own = self.args.prefill_exit, self.own
        return not own or not (self.bundle / KV_PROJECTIONS).is_file() or wanted not in (None, own.prefill_exit)

    def adapted(self) -> Bundle:
        """The bundle. Raises Problem where it has no exits yet."""
        bundle = self.own
        if bundle is None or "training" not in bundle.manifest:
            step = "exits" if self.args.recipe == FROZEN else "export"
            raise Problem("bad_request", f"{self.bundle} is not adapted; run `green-code adapt {step}` first.")
        return bundle

    def manifest(self, exits: Sequence[int], training: Mapping[str, Any], parts: Sequence[str]) -> dict[str, Any]:
        """Of a new bundle. A prefill exit is kept where there still is such an exit. `parts`: what is under the base model's licence."""
        row, prefill_exit = ROWS.get(self.base_name), self.own.prefill_exit if self.own else None
        licence = row.license if row is not None else "that of the base model"
        return {
            "base": {"model": self.base_name, "sha256": self.fingerprint},
            "exits": list(exits),
            **({"prefill_exit": prefill_exit} if prefill_exit is not None and prefill_exit <= exits[-1] else {}),
            "training": training,
            "licences": {**dict.fromkeys(("base", *parts), licence), "agent": "Apache-2.0"},
        }

    def replace_part(self, new: Path, name: str, stale: Sequence[str], manifest: dict[str, Any]) -> None:
        """Put a new part into the bundle, without the parts that were made for the old one."""
        with changing(self.bundle) as folder:
            for part in stale:
                (folder / part).unlink(missing_ok=True)
            shutil.copyfile(new, folder / name)
            write_manifest(folder, manifest)


def shards_of(corpus: Path) -> dict[str, Any]:
    """Tokens and files of each shard of a corpus's folder."""
    shards: dict[str, Any] = json.loads((corpus / ABOUT).read_text("utf-8"))["shards"]
    return shards


def check_prefill_exit(prefill_exit: int, exits: Sequence[int]) -> None:
    """Raises Problem where it is no layer up to the last exit."""
    if not exits or not 0 < prefill_exit <= exits[-1]:
        where = f"from 1 to {exits[-1]}, the last exit" if exits else "once the bundle has exits"
        raise Problem("bad_request", f"layer {prefill_exit} cannot be the prefill exit; give --prefill-exit {where}.")


def log(text: str) -> None:
    """Print with the time, in the first process of a launch only."""
    if os.environ.get("RANK", "0") == "0":  # set by accelerate's launcher
        print(time.strftime("%H:%M:%S"), text, flush=True)
