"""Trials of the weights of LITE's loss: training by a recipe from given weights, its score, and what is kept of it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from green_code.models.torch_decoder import Decoder
from green_code_lab.experiments.interim import Interim
from green_code_lab.lite import progress
from green_code_lab.lite.monitors import worst_rise
from green_code_lab.lite.recipe import Recipe
from green_code_lab.lite.scores import score
from green_code_lab.lite.trainer import TrainingInputs, train

Outcome = tuple[float, float]
"""Of held-out projects: mean agreement of the exits, and the last layer's relative rise in loss where it is largest."""
Job = tuple[Recipe, int]
"""A recipe, and the positions per language that score it."""


def held_out(before: Mapping[str, Any], after: Mapping[str, Any], recipe: Recipe) -> Outcome:
    """Of a run's first and last row of scores."""
    last = str(recipe.weights[-1][0])
    agreement = fmean(by["agreement"][str(exit)] for by in after.values() for exit in recipe.exits)
    losses = [{language: by["loss"][last] for language, by in scores.items()} for scores in (before, after)]
    return agreement, worst_rise(*losses)[1]


def outcome_of(run: Path, recipe: Recipe) -> Outcome:
    rows = progress.rows(run, progress.SCORES)
    return held_out(rows[0]["scores"], rows[-1]["scores"], recipe)


class Trials:
    """Outcomes of jobs; those of an earlier run are read, and new ones kept as they come.

    Args:
        subject: what outcomes depend on, besides the job. attempt: computes jobs' outcomes in their order.
    """

    def __init__(
        self, kept: Interim, subject: Mapping[str, str], attempt: Callable[[Sequence[Job]], Iterable[Outcome]]
    ) -> None:
        self._kept, self._subject, self._attempt = kept, subject, attempt

    def __contains__(self, job: Job) -> bool:
        return self.name(job) in self._kept

    def __call__(self, jobs: Sequence[Job]) -> list[Outcome]:
        todo = [job for job in jobs if job not in self]
        for job, outcome in zip(todo, self._attempt(todo) if todo else (), strict=True):
            self._kept[self.name(job)] = outcome
        return [tuple(self._kept[self.name(job)]) for job in jobs]

    def name(self, job: Job) -> str:
        return hashlib.sha256(repr((job, sorted(self._subject.items()))).encode()).hexdigest()[:12]


def with_untouched_scores(inputs: TrainingInputs, exits: tuple[int, ...], positions: int) -> TrainingInputs:
    """Of a start at untouched weights, which are scored here rather than by each run. positions: per language."""
    decoder = Decoder.load(inputs.config, inputs.base(torch.float32))
    untouched = score(decoder, inputs.corpus, exits, positions, inputs.bos)
    return replace(inputs, scored_positions=positions, untouched=untouched)


class SmallTrials:
    """Trains a small model by each job, in folders that do not stay. Torch's threads are those of the process."""

    def __init__(self, inputs: TrainingInputs) -> None:
        self._inputs, self._scored = inputs, dict[tuple[tuple[int, ...], int], TrainingInputs]()

    def __call__(self, job: Job) -> Outcome:
        recipe, positions = job
        key = recipe.exits, positions
        if key not in self._scored:
            self._scored[key] = with_untouched_scores(self._inputs, *key)
        with tempfile.TemporaryDirectory() as folder:
            train(self._scored[key], recipe, Path(folder), lambda _: None)
            return outcome_of(Path(folder), recipe)


class SmallTrialsInProcesses:
    """The same in processes of one thread each, which start with the first job and end with the context; where it is one, in this.

    Args:
        begin: gives what is trained.
    """

    def __init__(self, begin: Callable[[], TrainingInputs], processes: int) -> None:
        self._begin, self._processes = begin, processes
        self._pools = contextlib.ExitStack()

    def __enter__(self) -> SmallTrialsInProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        self._pools.close()

    @functools.cached_property
    def _map(self) -> Callable[[Callable[[Job], Outcome], Sequence[Job]], Iterable[Outcome]]:
        if self._processes == 1:
            attempt = SmallTrials(self._begin())
            return lambda _, jobs: map(attempt, jobs)
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        pool = ProcessPoolExecutor(self._processes, context, _open, (self._begin(),))
        return self._pools.enter_context(pool).map

    def __call__(self, jobs: Sequence[Job]) -> Iterable[Outcome]:
        return self._map(_attempt, jobs)


_opened: SmallTrials


def _open(inputs: TrainingInputs) -> None:
    global _opened
    torch.set_num_threads(1)
    _opened = SmallTrials(inputs)


def _attempt(job: Job) -> Outcome:
    return _opened(job)


def given(weights: Mapping[str, torch.Tensor], _: torch.dtype) -> Mapping[str, torch.Tensor]:
    """A partial of this gives the same weights whatever type is asked for, in other processes as well."""
    return weights
