"""What every recipe is tried on: one start, one corpus, the same scores and the same lines; results are kept.

A run that was cut goes on from its last checkpoint, from its last completed line, or after its last result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from green_code.engine.bundle_contents import Parts
from green_code.engine.runtime import Runtime, load_runtime
from green_code.kernels.weight_format import weight_formats
from green_code.models.adapters import Adapters
from green_code.models.backend import first_supporting
from green_code.models.catalog import find_model
from green_code.models.decoder import Decoder
from green_code.models.device import compute_device
from green_code.models.families import ModelConfig
from green_code.models.weights import Model, adapted_weights
from green_code.problems import Problem
from green_code_lab.corpus import Corpus
from green_code_lab.evaluation.datasets import Row
from green_code_lab.evaluation.metrics import bootstrap_interval
from green_code_lab.evaluation.run import evaluate
from green_code_lab.experiments.held_out import Divided, open_divided
from green_code_lab.experiments.layers import bare_bundle, untouched
from green_code_lab.experiments.rows import draw, from_layer, held_out_lines
from green_code_lab.lite import checkpoint, progress
from green_code_lab.lite.monitors import worst_rise
from green_code_lab.lite.recipe import Recipe
from green_code_lab.lite.scores import Scores, score
from green_code_lab.lite.trainer import Lesson, train

POSITIONS = 8_192  # per language, that are scored
MEASURES = ("agreement", "accuracy", "loss")


@dataclass(frozen=True)
class Bench:
    """`base` are the untouched weights, float32 by name; `rows` are lines of the comparison's files."""

    untouched: Runtime
    base: Mapping[str, Tensor]
    corpus: Divided
    rows: Sequence[Row]
    report: Callable[[str], None]

    @property
    def config(self) -> ModelConfig:
        return self.untouched.decoder.config

    def train(self, recipe: Recipe, run: Path) -> dict[str, Tensor]:
        """Weights (float32, on the CPU) of a run from the untouched ones; at once where its checkpoint is at the end.

        Raises:
            Problem: see `trainer.train`.
        """
        # Each run compiles as in a process of its own: after some models torch would stop, and the later runs be slower.
        torch.compiler.reset()
        subject = {"base": self.untouched.weights, "corpus": _digest(self.corpus.sizes)}
        lesson = Lesson(self.config, self.base, self.corpus.training, self.untouched.vocabulary.bos, subject)
        return train(lesson, recipe, run, lambda text: self.report(f"{run.name}: {text}"))

    def scores(self, weights: Mapping[str, Tensor], corpus: Corpus, depths: Iterable[int]) -> Scores:
        """Held-out scores at `depths` and at the last layer."""
        decoder = Decoder.load(self.config, weights).to(compute_device())
        exits = tuple(sorted(set(depths) - {self.config.layers}))
        return score(decoder, corpus, exits, POSITIONS, self.untouched.vocabulary.bos)

    def runtime(self, weights: Mapping[str, Tensor], key: str) -> Runtime:
        """These weights as they would serve on this machine. `key` tells them from others."""
        decoder = first_supporting(weight_formats(), self.config).build(self.config, weights, Adapters())
        opened = Model(decoder, self.untouched.vocabulary, key)
        return Runtime(self.untouched.model, opened, None, Parts(), self.untouched.costs)

    def lines(self, runtime: Runtime, depth: int, run: Path) -> list[float]:
        """Edit similarity of each row, completed from one layer."""
        kept = run / f"lines-{depth:02}"
        done = evaluate(runtime, self.rows, from_layer(runtime.model, depth), lambda _: None, kept)
        return [float(row["edit_similarity"]) for row in done]

    def digest(self, recipe: Recipe) -> str:
        """Changes when what a run of this recipe gives here would."""
        return _digest((recipe, self._subject))

    @property
    def _subject(self) -> dict[str, Any]:
        return {"model": self.untouched.weights, "corpus": self.corpus.sizes, "rows": _digest(self.rows)}

    def once(
        self, path: Path, asked: Mapping[str, Any], make: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """What `make` returns, made once and kept in `path` with what it is of.

        Raises:
            Problem: the file is of something else than `asked`, or of another model, corpus or choice of rows.
        """
        own = json.loads(json.dumps({**asked, **self._subject}))  # with lists for tuples, as in the file
        if path.is_file():
            kept = json.loads(path.read_text("utf-8"))
            if differs := [name for name in own if kept["of"].get(name) != own[name]]:
                raise Problem(
                    "bad_request",
                    f"{path} is of another run ({', '.join(differs)} differ); delete the folder {path.parent} to make it again.",
                )
            return dict(kept["found"])
        found = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"of": own, "found": found}, indent=1), "utf-8")
        part.replace(path)
        return found


def _digest(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:12]


def open_bench(
    model: str, work: Path, limit: int, tokens_per_step: int, seed: int, report: Callable[[str], None]
) -> Bench:
    """Load the model and its corpus, and draw the rows.

    Args:
        limit: rows per language. tokens_per_step: the most of any recipe, which the corpus must have.
    Raises:
        Problem: the model or its bundle is missing or damaged, or WORK/corpus is missing, damaged or too small.
    """
    threads = torch.get_num_threads()
    bare = untouched(load_runtime(model))
    torch.set_num_threads(threads)  # serving takes one; training takes what there are
    corpus = open_divided(work / "corpus", bare.vocabulary, tokens_per_step)
    rows = draw(held_out_lines(corpus.comparison, bare.vocabulary, seed), limit, seed)
    _, base = adapted_weights(find_model(model), bare_bundle(model))
    return Bench(bare, base, corpus, rows, report)


def forget_checkpoint(run: Path) -> None:
    """Weights and moments take three times the model's room."""
    (run / checkpoint.STATE).unlink(missing_ok=True)


def points(scores: Scores, trained: Iterable[int]) -> list[dict[str, Any]]:
    """Scores by depth: means over the languages, and each language's own."""
    known = frozenset(trained)
    depths = sorted(next(iter(scores.values()))["loss"])
    return [
        {
            "depth": depth,
            "trained": depth in known,
            **{name: fmean(by[name][depth] for by in scores.values()) for name in MEASURES},
            "languages": {
                language: {name: by[name][depth] for name in MEASURES} for language, by in scores.items()
            },
        }
        for depth in depths
    ]


def last_rise(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> float:
    """The last layer's relative rise in loss, in the language where it is largest. Both are of `points`."""
    losses = [{name: by["loss"] for name, by in found[-1]["languages"].items()} for found in (before, now)]
    return worst_rise(*losses)[1]


def line_point(depth: int, similarities: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    """Edit similarity from one layer, and its difference from the untouched model's last layer, row by row."""
    changes = [a - b for a, b in zip(similarities, reference, strict=True)]
    return {
        "depth": depth,
        "edit_similarity": fmean(similarities),
        "difference": fmean(changes),
        "interval": bootstrap_interval(changes),
    }


def training_figures(run: Path) -> dict[str, Any]:
    """Tokens, speed (the median over half minutes), seconds and joules of a run, from its log."""
    log = progress.rows(run, progress.LOG)
    speeds = sorted(row["tokens_per_second"] for row in log)
    starts = [0, *(row["tokens"] for row in log)]
    seconds = [
        (row["tokens"] - start) / row["tokens_per_second"] for row, start in zip(log, starts, strict=False)
    ]
    return {
        "tokens": log[-1]["tokens"],
        "tokens_per_second": speeds[len(speeds) // 2],
        "seconds": sum(seconds),
        "joules": log[-1]["joules"],
        "energy_source": log[-1]["energy_source"],
    }
