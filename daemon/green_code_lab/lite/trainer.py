"""A LITE run: from one CPU to many GPUs by accelerate, seeded, watched, resumable to the step.

A run is a folder: `state.pt` (checkpoint.py), `log.jsonl`, `scores.jsonl` and `progress.svg` (progress.py). A run that
was cut, even by kill -9, goes on from its checkpoint and ends with the weights of one that was not.

Embeddings, final norm and head stay as they are, so that every exit speaks the base model's language.

Must not know: what is shipped (export.py) or how exits are chosen in service.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from green_code.energy.meters import pick_meter
from green_code.models.decoder import Decoder
from green_code.models.device import bfloat16_pays, gpu_uuid
from green_code.models.families import ModelConfig
from green_code.problems import Problem
from green_code_lab.corpus import Corpus
from green_code_lab.lite import checkpoint, progress
from green_code_lab.lite.monitors import Monitors, worst_rise
from green_code_lab.lite.objective import Objective, fusing_pays
from green_code_lab.lite.recipe import Recipe
from green_code_lab.lite.scores import Scores, losses_at, score
from green_code_lab.lite.windows import Windows

_REPORT_SECONDS = 30.0
_CHECKPOINT_SECONDS = 300.0
_SCORED_POSITIONS = 8_192  # per language, at each guard


@dataclass(frozen=True)
class Start:
    """Where a run begins.

    Attributes:
        weights: float32, a bundle's delta applied; None: the untouched ones.
        step: the step of the recipe that they have reached. joules: what that took.
        earlier: records of the runs that made them, for the bundle's manifest.
    """

    weights: Mapping[str, Tensor] | None
    step: int = 0
    joules: float = 0.0
    earlier: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Lesson:
    """What a run learns from and starts with.

    Attributes:
        base: the untouched weights, float32. bos: the token that every window begins with.
        subject: what tells this base and corpus from others; a checkpoint goes on with equal ones alone.
    """

    config: ModelConfig
    base: Mapping[str, Tensor]
    corpus: Corpus
    bos: int | None
    subject: Mapping[str, str]
    start: Start = Start(None)


def train(
    lesson: Lesson,
    recipe: Recipe,
    run: Path,
    report: Callable[[str], None] = print,
    checkpoint_seconds: float = _CHECKPOINT_SECONDS,
) -> dict[str, Tensor]:
    """Train to the recipe's end, or go on from the run folder's checkpoint; the weights (float32, on the CPU).

    Raises:
        Problem: the checkpoint belongs to another recipe, there is no room for one, a monitor stops the run, or the
            batch cannot be dealt to the devices.
    """
    run.mkdir(parents=True, exist_ok=True)
    return _Run(lesson, recipe, run, report).go(checkpoint_seconds)


class _Run:
    def __init__(self, lesson: Lesson, recipe: Recipe, run: Path, report: Callable[[str], None]) -> None:
        self._lesson, self._recipe, self._folder = lesson, recipe, run
        cpu = not torch.cuda.is_available()
        half = bfloat16_pays(torch.device("cpu" if cpu else "cuda"))
        self._accelerator = Accelerator(cpu=cpu, mixed_precision="bf16" if half else "no")
        self._first = self._accelerator.is_main_process
        self._report = report if self._first else lambda _: None
        device = self._accelerator.device
        self._micro = _micro_batches(recipe, self._accelerator.num_processes)
        torch.manual_seed(recipe.seed)
        weights = lesson.start.weights or lesson.base
        checkpoint.check_room(run, {n: w for n, w in weights.items() if n.startswith("layers.")})
        self._decoder = Decoder.load(lesson.config, {name: w.clone() for name, w in weights.items()}).to(
            device
        )
        self._learning = {n: p for n, p in self._decoder.named_parameters() if n.startswith("layers.")}
        for parameter in self._learning.values():
            parameter.requires_grad_(True)
        self._teacher = None
        if recipe.teacher == "untouched":
            self._teacher = Decoder.load(lesson.config, dict(lesson.base)).to(device)
        fuse = fusing_pays(self._decoder)
        self._report(
            f"{device}, {'bfloat16' if half else 'float32'}, {'compiled' if fuse else 'not compiled'}"
        )
        optimiser = torch.optim.AdamW(
            self._learning.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self._objective, self._optimiser = self._accelerator.prepare(
            Objective(self._decoder, self._teacher, recipe.distillation, fuse), optimiser
        )
        self._windows = Windows(lesson.corpus, lesson.bos)
        self._meter = pick_meter(gpu_uuid(device))
        self._monitors, self._joules = Monitors(), lesson.start.joules
        self._step = self._warm_from = lesson.start.step
        self._earlier = list(lesson.start.earlier)
        self._resume()
        self._meter_start, self._others_joules = self._meter.read_joules() or 0.0, 0.0

    def _resume(self) -> None:
        state = checkpoint.load(self._folder)
        if state is None:
            return
        checkpoint.check(self._folder, state, self._recipe, self._lesson.subject)
        self._decoder.load_state_dict(state["weights"], strict=False)
        self._optimiser.load_state_dict(state["optimiser"])
        self._step, self._warm_from, self._joules = state["step"], state["warm_from"], state["joules"]
        self._monitors, self._earlier = Monitors(**state["monitors"]), state["earlier"]
        self._report(f"going on at step {self._step} of {self._recipe.steps}")

    def go(self, checkpoint_seconds: float) -> dict[str, Tensor]:
        recipe, last = self._recipe, self._lesson.config.layers
        untouched = self._untouched_losses()
        guard_steps = max(1, recipe.guard_tokens // recipe.tokens_per_step)
        saved = reported = time.monotonic()
        means: dict[int, list[float]] = {}
        for step in range(self._step, recipe.steps):
            losses = self._learn(step)
            self._monitors.watch(step, losses)
            for depth, value in losses.items():
                means.setdefault(depth, []).append(value)
            self._step = step + 1
            now, at_end = time.monotonic(), self._step == recipe.steps
            if now - reported > _REPORT_SECONDS or at_end:
                self._log(means, len(means[last]), now - reported)
                means, reported = {}, now
            guarded = self._step % guard_steps == 0 or at_end
            if guarded:
                self._guard(untouched)
            if self._agreed(now - saved > checkpoint_seconds or guarded):
                self._save()  # after the guard, whose verdict on weights belongs to this step
                saved = time.monotonic()
        return {name: w.detach().float().cpu() for name, w in self._decoder.state_dict().items()}

    def _agreed(self, wanted: bool) -> bool:
        """The first process's wish: each has a clock of its own, and a checkpoint waits for all."""
        if self._accelerator.num_processes == 1:
            return wanted
        wish = torch.tensor([int(wanted)], device=self._accelerator.device)
        return bool(broadcast(wish).item())

    def _learn(self, step: int) -> dict[int, float]:
        """One step of the optimiser; mean cross-entropy of each depth that was trained."""
        recipe, last = self._recipe, self._lesson.config.layers
        draw = np.random.default_rng((recipe.seed, step, 1))
        exits = sorted({int(draw.choice(group)) for group in recipe.exit_groups})
        depths = (*exits, last)
        weights = torch.tensor([recipe.weight(depth) for depth in depths], device=self._accelerator.device)
        weights[-1] *= self._monitors.last_weight
        tokens = self._windows.batch(recipe, step).to(self._accelerator.device)
        own = tokens[self._accelerator.process_index :: self._accelerator.num_processes]
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate(step)
        parts = torch.split(own, self._micro)
        losses = torch.zeros(len(depths), device=own.device)
        for i, part in enumerate(parts):
            with (
                self._accelerator.no_sync(self._objective) if i < len(parts) - 1 else contextlib.nullcontext()
            ):
                loss, each = self._objective(part, depths, weights)
                self._accelerator.backward(loss / len(parts))
            losses += each.detach() / len(parts)
        self._accelerator.clip_grad_norm_(self._learning.values(), recipe.gradient_clip)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        values = self._accelerator.reduce(losses, "mean").tolist()
        return dict(zip(depths, values, strict=True))

    def _rate(self, step: int) -> float:
        """The recipe's rate; the moments of a run that goes on from a delta are new, and warm up anew."""
        rate = self._recipe.rate(step)
        if self._warm_from:
            rate *= min(1.0, (step - self._warm_from + 1) / max(1, self._recipe.warm_up_steps))
        return rate

    def _untouched_losses(self) -> dict[str, float]:
        untouched = self._teacher or Decoder.load(self._lesson.config, dict(self._lesson.base)).to(
            self._accelerator.device
        )
        scores = self._score(untouched)
        if self._step == self._lesson.start.step:  # not where a checkpoint goes on
            begun = scores if self._lesson.start.weights is None else self._score(self._decoder)
            self._add_scores(begun)
        return losses_at(scores, self._lesson.config.layers)

    def _score(self, decoder: Decoder) -> Scores:
        lesson = self._lesson
        return score(decoder, lesson.corpus, self._recipe.exits, _SCORED_POSITIONS, lesson.bos)

    def _guard(self, untouched: dict[str, float]) -> None:
        """Score held-out projects; every process does, so that all weigh the last layer alike."""
        scores = self._score(self._decoder)
        now = losses_at(scores, self._lesson.config.layers)
        self._share_joules()
        self._add_scores(scores)
        language, rise = worst_rise(untouched, now)
        exits = {
            name: " ".join(f"{parts['agreement'][exit]:.2f}" for exit in self._recipe.exits)
            for name, parts in scores.items()
        }
        self._report(
            f"held out: last layer's loss {rise:+.1%} at most ({language}); agreement at {self._recipe.exits}: {exits}"
        )
        if warning := self._monitors.guard(untouched, now):
            self._report(warning)

    def _add_scores(self, scores: Scores) -> None:
        if self._first:
            tokens = self._step * self._recipe.tokens_per_step
            progress.add_row(
                self._folder, progress.SCORES, progress.scores_row(tokens, self._spent(), scores)
            )
            progress.draw(self._folder)

    def _log(self, means: dict[int, list[float]], steps: int, seconds: float) -> None:
        recipe = self._recipe
        speed = recipe.tokens_per_step * steps / seconds
        losses = {str(depth): round(sum(v) / len(v), 3) for depth, v in sorted(means.items())}
        left = (recipe.steps - self._step) * recipe.tokens_per_step / speed
        row = {
            "step": self._step,
            "tokens": self._step * recipe.tokens_per_step,
            "losses": losses,
            "tokens_per_second": round(speed),
            "seconds_left": round(left),
            "rate": self._rate(self._step - 1),
            "joules": round(self._spent()),
            "energy_source": self._meter.source,
        }
        if self._first:
            progress.add_row(self._folder, progress.LOG, row)
        self._report(
            f"step {self._step}/{recipe.steps}  {speed:.0f} tokens/s  {left / 60:.0f} min left  {self._spent() / 1000:.1f} kJ ({self._meter.source})  loss {losses}"
        )

    def _own_joules(self) -> float:
        """Of this process since it began. RAPL counts a whole machine, so one process a machine reads it."""
        if self._meter.source == "rapl" and not self._accelerator.is_local_main_process:
            return 0.0
        return (self._meter.read_joules() or 0.0) - self._meter_start

    def _share_joules(self) -> None:
        """What the other processes have spent, as of now; all must come here together."""
        if self._accelerator.num_processes > 1:
            own = torch.tensor(self._own_joules(), device=self._accelerator.device)
            self._others_joules = float(self._accelerator.reduce(own, "sum")) - float(own)

    def _spent(self) -> float:
        """Joules of the whole run so far, cuts included; of other processes up to the last checkpoint or guard."""
        return self._joules + self._own_joules() + self._others_joules

    def _save(self) -> None:
        self._share_joules()
        if self._first:
            state = {
                "step": self._step,
                "warm_from": self._warm_from,
                "earlier": self._earlier,
                "subject": dict(self._lesson.subject),
                "joules": self._spent(),
                "energy_source": self._meter.source,
                "weights": {n: p.detach() for n, p in self._learning.items()},
                "optimiser": self._optimiser.state_dict(),
                "monitors": self._monitors.state(),
            }
            checkpoint.save(self._folder, self._recipe, state)


def _micro_batches(recipe: Recipe, devices: int) -> int:
    """Sequences that each device takes at a time; all micro-batches are of one size, so that means are means."""
    own, rest = divmod(recipe.batch, devices)
    if rest or own % min(own, recipe.micro_batch):
        raise Problem(
            "bad_request",
            f"{recipe.batch} sequences a step cannot be dealt to {devices} devices in parts of {recipe.micro_batch}; use a number of devices that divides {recipe.batch}.",
        )
    return min(own, recipe.micro_batch)
