"""A LITE run: on one CPU or many GPUs by accelerate, seeded, monitored, resumable to the step.

A run is a folder: `state.pt` (checkpoint.py), `log.jsonl` and `scores.jsonl` (progress.py). A run that was killed, even by
kill -9, resumes from its checkpoint and ends with the weights of one that was not.

Embeddings, final norm and head stay frozen, so that every exit can use the base model's head.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from green_code.energy.meters import pick_meter
from green_code.models.config import ModelConfig
from green_code.models.device import bfloat16_pays, gpu_uuid
from green_code.models.torch_decoder import Decoder
from green_code.problems import Problem
from green_code_lab.corpus import Corpus
from green_code_lab.lite import checkpoint, progress
from green_code_lab.lite.infilling import Infilling
from green_code_lab.lite.monitors import Monitors, worst_rise
from green_code_lab.lite.objective import Objective, fusing_pays
from green_code_lab.lite.recipe import Recipe
from green_code_lab.lite.scores import Scores, begin_with, losses_at, rounded, score

_REPORT_SECONDS = 30.0
_CHECKPOINT_SECONDS = 300.0
_SCORED_POSITIONS = 8_192  # per language, at each guard


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    Attributes:
        weights: float32, a bundle's delta applied; None: the untouched ones.
        step: the step of the recipe that they have reached. joules: what that took.
        earlier: records of the runs before, for the bundle's manifest.
    """

    weights: Mapping[str, Tensor] | None
    step: int = 0
    joules: float = 0.0
    earlier: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class TrainingInputs:
    """
    Attributes:
        base: the untouched weights, float32. bos: the first token of every window.
        subject: identifies this base and corpus; a checkpoint resumes with equal ones only.
        infilling: the form of half of the windows, where the model is served with such prompts.
    """

    config: ModelConfig
    base: Mapping[str, Tensor]
    corpus: Corpus
    bos: int | None
    subject: Mapping[str, str]
    start: Start = Start(None)
    infilling: Infilling | None = None


def train(
    inputs: TrainingInputs,
    recipe: Recipe,
    run: Path,
    report: Callable[[str], None] = print,
    checkpoint_seconds: float = _CHECKPOINT_SECONDS,
) -> dict[str, Tensor]:
    """Train to the recipe's end, or resume from the run folder's checkpoint; the weights (float32, on the CPU).

    Raises:
        Problem: the checkpoint belongs to another recipe, there is no room for one, a monitor stops the run, or the
            batch does not divide among the devices.
    """
    run.mkdir(parents=True, exist_ok=True)
    return _Run(inputs, recipe, run, report).train(checkpoint_seconds)


class Windows:
    """Token windows of training shards, drawn by seed and step alone."""

    def __init__(self, corpus: Corpus, bos: int | None, infilling: Infilling | None = None) -> None:
        self._bos, self._infilling = bos, infilling
        self._shards = [
            (corpus.shards[language, "train"], corpus.document_starts(language, "train"))
            for language in corpus.languages
        ]

    def batch(self, recipe: Recipe, step: int) -> Tensor:
        """(batch, sequence + 1) token ids of one step, languages in turn."""
        generator = np.random.default_rng((recipe.seed, step))
        rows = []
        for i in range(recipe.batch):
            shard, starts = self._shards[(step * recipe.batch + i) % len(self._shards)]
            last = len(shard) - recipe.sequence - 1
            start = int(generator.integers(0, last + 1))
            if generator.random() < recipe.document_starts:
                begun = int(np.searchsorted(starts, start, "right"))
                start = min(int(starts[max(0, begun - 1)]), last)
            window = shard[start : start + recipe.sequence + 1].astype(np.int64)
            if self._infilling is not None and generator.random() < 0.5:
                window = self._infilling.lay_out(window, float(generator.random()))
            rows.append(window)
        return begin_with(self._bos, torch.from_numpy(np.stack(rows)))


class _Run:
    def __init__(self, inputs: TrainingInputs, recipe: Recipe, run: Path, report: Callable[[str], None]) -> None:
        self._inputs, self._recipe, self._folder = inputs, recipe, run
        cpu = not torch.cuda.is_available()
        half = bfloat16_pays(torch.device("cpu" if cpu else "cuda"))
        self._accelerator = Accelerator(cpu=cpu, mixed_precision="bf16" if half else "no")
        self._main = self._accelerator.is_main_process
        self._report = report if self._main else lambda _: None
        device = self._accelerator.device
        self._micro = _micro_batches(recipe, self._accelerator.num_processes)
        torch.manual_seed(recipe.seed)
        weights = inputs.start.weights or inputs.base
        checkpoint.check_room(run, {n: w for n, w in weights.items() if n.startswith("layers.")})
        copies = {name: w.clone() for name, w in weights.items()}
        self._decoder = Decoder.load(inputs.config, copies).to(device)
        self._trained = {n: p for n, p in self._decoder.named_parameters() if n.startswith("layers.")}
        for parameter in self._trained.values():
            parameter.requires_grad_(True)
        self._teacher = None
        if recipe.teacher == "untouched":
            self._teacher = Decoder.load(inputs.config, dict(inputs.base)).to(device)
        fuse = fusing_pays(self._decoder)
        self._report(f"{device}, {'bfloat16' if half else 'float32'}, {'compiled' if fuse else 'not compiled'}")
        optimiser = torch.optim.AdamW(
            self._trained.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self._objective, self._optimiser = self._accelerator.prepare(
            Objective(self._decoder, self._teacher, recipe.distillation, fuse), optimiser
        )
        self._windows = Windows(inputs.corpus, inputs.bos, inputs.infilling)
        self._meter = pick_meter(gpu_uuid(device))
        self._monitors, self._joules = Monitors(), inputs.start.joules
        self._step = self._warm_from = inputs.start.step
        self._earlier = list(inputs.start.earlier)
        self._resume()
        self._meter_start, self._others_joules = self._meter.read_joules() or 0.0, 0.0

    def _resume(self) -> None:
        state = checkpoint.load(self._folder)
        if state is None:
            return
        checkpoint.check(self._folder, state, self._recipe, self._inputs.subject)
        self._decoder.load_state_dict(state["weights"], strict=False)
        self._optimiser.load_state_dict(state["optimiser"])
        self._step, self._warm_from, self._joules = state["step"], state["warm_from"], state["joules"]
        self._monitors, self._earlier = Monitors(**state["monitors"]), state["earlier"]
        self._report(f"resuming at step {self._step} of {self._recipe.steps}")

    def train(self, checkpoint_seconds: float) -> dict[str, Tensor]:
        recipe, last = self._recipe, self._inputs.config.layers
        untouched = self._untouched_losses()
        guard_steps = max(1, recipe.guard_tokens // recipe.tokens_per_step)
        saved = reported = time.monotonic()
        means: dict[int, list[float]] = {}
        for step in range(self._step, recipe.steps):
            losses = self._train_step(step)
            self._monitors.check_losses(step, losses)
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
            if self._decided_by_main(now - saved > checkpoint_seconds or guarded):
                self._save()  # after the guard, whose new weight belongs to this step
                saved = time.monotonic()
        return {name: w.detach().float().cpu() for name, w in self._decoder.state_dict().items()}

    def _decided_by_main(self, wanted: bool) -> bool:
        """The first process's decision: clocks differ, and a checkpoint needs all processes."""
        if self._accelerator.num_processes == 1:
            return wanted
        decision = torch.tensor([int(wanted)], device=self._accelerator.device)
        return bool(broadcast(decision).item())

    def _train_step(self, step: int) -> dict[int, float]:
        """One step of the optimiser; mean cross-entropy of each depth that was trained."""
        recipe, last = self._recipe, self._inputs.config.layers
        draw = np.random.default_rng((recipe.seed, step, 1))
        exits = sorted({int(draw.choice(group)) for group in recipe.exit_groups})
        depths = (*exits, last)
        weight_of, device = dict(recipe.weights), self._accelerator.device
        weights = torch.tensor([weight_of[depth] for depth in depths], device=device)
        weights[-1] *= self._monitors.last_weight
        tokens = self._windows.batch(recipe, step).to(device)
        own = tokens[self._accelerator.process_index :: self._accelerator.num_processes]
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate(step)
        parts = torch.split(own, self._micro)
        losses = torch.zeros(len(depths), device=own.device)
        for i, part in enumerate(parts):
            last_part = i == len(parts) - 1
            no_sync = contextlib.nullcontext if last_part else self._accelerator.no_sync
            with no_sync(self._objective):
                loss, each = self._objective(part, depths, weights)
                self._accelerator.backward(loss / len(parts))
            losses += each.detach() / len(parts)
        self._accelerator.clip_grad_norm_(self._trained.values(), recipe.gradient_clip)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        values = self._accelerator.reduce(losses, "mean").tolist()
        return dict(zip(depths, values, strict=True))

    def _rate(self, step: int) -> float:
        """The recipe's rate; a run that resumes from a delta has new moments, and warms up again."""
        rate = self._recipe.rate(step)
        if self._warm_from:
            rate *= min(1.0, (step - self._warm_from + 1) / max(1, self._recipe.warm_up_steps))
        return rate

    def _untouched_losses(self) -> dict[str, float]:
        inputs, device = self._inputs, self._accelerator.device
        untouched = self._teacher or Decoder.load(inputs.config, dict(inputs.base)).to(device)
        scores = self._score(untouched)
        if self._step == inputs.start.step:  # not where a checkpoint resumes
            self._add_scores(scores if inputs.start.weights is None else self._score(self._decoder))
        return losses_at(scores, inputs.config.layers)

    def _score(self, decoder: Decoder) -> Scores:
        inputs = self._inputs
        return score(decoder, inputs.corpus, self._recipe.exits, _SCORED_POSITIONS, inputs.bos)

    def _guard(self, untouched: dict[str, float]) -> None:
        """Score held-out projects; every process does, so that all set the same weight of the last layer."""
        scores = self._score(self._decoder)
        now = losses_at(scores, self._inputs.config.layers)
        self._share_joules()
        self._add_scores(scores)
        language, rise = worst_rise(untouched, now)
        exits = {
            name: " ".join(f"{by['agreement'][exit]:.2f}" for exit in self._recipe.exits) for name, by in scores.items()
        }
        self._report(
            f"held out: last layer's loss {rise:+.1%} at most ({language}); agreement at {self._recipe.exits}: {exits}"
        )
        if warning := self._monitors.guard(untouched, now):
            self._report(warning)

    def _add_scores(self, scores: Scores) -> None:
        if self._main:
            tokens, found = self._step * self._recipe.tokens_per_step, rounded(scores, 4)
            row = {"tokens": tokens, "joules": round(self._spent()), "scores": found}
            progress.add_row(self._folder, progress.SCORES, row)

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
        if self._main:
            progress.add_row(self._folder, progress.LOG, row)
        self._report(
            f"step {self._step}/{recipe.steps}  {speed:.0f} tokens/s  {left / 60:.0f} min left  {self._spent() / 1000:.1f} kJ ({self._meter.source})  loss {losses}"
        )

    def _own_joules(self) -> float:
        """Of this process since it started. RAPL counts a whole machine, so one process a machine reads it."""
        if self._meter.source == "rapl" and not self._accelerator.is_local_main_process:
            return 0.0
        return (self._meter.read_joules() or 0.0) - self._meter_start

    def _share_joules(self) -> None:
        """Add up what the other processes have used; all must call this together."""
        if self._accelerator.num_processes > 1:
            own = torch.tensor(self._own_joules(), device=self._accelerator.device)
            self._others_joules = float(self._accelerator.reduce(own, "sum")) - float(own)

    def _spent(self) -> float:
        """Joules of the whole run so far; those of other processes as of the last checkpoint or guard."""
        return self._joules + self._own_joules() + self._others_joules

    def _save(self) -> None:
        self._share_joules()
        if self._main:
            state = {
                "step": self._step,
                "warm_from": self._warm_from,
                "earlier": self._earlier,
                "subject": dict(self._inputs.subject),
                "joules": self._spent(),
                "energy_source": self._meter.source,
                "weights": {n: p.detach() for n, p in self._trained.items()},
                "optimiser": self._optimiser.state_dict(),
                "monitors": asdict(self._monitors),
            }
            checkpoint.save(self._folder, self._recipe, state)


def _micro_batches(recipe: Recipe, devices: int) -> int:
    """Sequences that each device takes at a time; all micro-batches have one size, so that means are means."""
    own, rest = divmod(recipe.batch, devices)
    if rest or own % min(own, recipe.micro_batch):
        raise Problem(
            "bad_request",
            f"{recipe.batch} sequences a step cannot be divided among {devices} devices in parts of {recipe.micro_batch}; use a number of devices that divides {recipe.batch}.",
        )
    return min(own, recipe.micro_batch)
