"""A LITE run: on one CPU or many GPUs by accelerate's launcher, seeded, monitored, resumable to the step.

A run is a folder: `state.json` and tensors (checkpoint.py), `log.jsonl` and `scores.jsonl` (progress.py). A run that was killed,
even by kill -9, resumes from its checkpoint and ends with the weights of one that was not. How a step is laid out on the devices
follows from their free memory (memory.py).

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
from accelerate.utils import AutocastKwargs, DistributedDataParallelKwargs, broadcast, gather
from torch import Tensor

from green_code.energy.meters import pick_meter
from green_code.models.config import ModelConfig
from green_code.models.device import bfloat16_pays, gpu_uuid
from green_code.problems import Problem
from green_code_lab.corpus import Corpus
from green_code_lab.lite import checkpoint, progress
from green_code_lab.lite.infilling import Infilling
from green_code_lab.lite.joules import RunJoules, in_words, whole
from green_code_lab.lite.low_rank import initial
from green_code_lab.lite.memory import Layout, choose, free_memory, least, moment_bytes
from green_code_lab.lite.monitors import Monitors, worst_rise
from green_code_lab.lite.objective import fusing_pays, skeleton
from green_code_lab.lite.recipe import Recipe
from green_code_lab.lite.scores import Scores, begin_with, losses_at, rounded, score
from green_code_lab.lite.sharding import fill, shard

_REPORT_SECONDS = 30.0
_CHECKPOINT_SECONDS = 300.0


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    Attributes:
        weights: float32, a bundle's delta applied; None: the untouched ones.
        step: the step of the recipe that they have reached. joules: what that took; None: unknown.
        earlier: records of the runs before, for the bundle's manifest.
    """

    weights: Mapping[str, Tensor] | None
    step: int = 0
    joules: float | None = 0.0
    earlier: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class TrainingInputs:
    """
    Attributes:
        base: reads the untouched weights, in a type. bos: the first token of every window.
        subject: identifies this base and corpus; a checkpoint resumes with equal ones only.
        infilling: the form of half of the windows, where the model is served with such prompts.
        scored_positions: per language, at each guard. untouched: the untouched model's scores at these, where they are known.
    """

    config: ModelConfig
    base: Callable[[torch.dtype], Mapping[str, Tensor]]
    corpus: Corpus
    bos: int | None
    subject: Mapping[str, str]
    start: Start = Start(None)
    infilling: Infilling | None = None
    scored_positions: int = 8_192
    untouched: Scores | None = None


def train(
    inputs: TrainingInputs,
    recipe: Recipe,
    run: Path,
    report: Callable[[str], None] = print,
    checkpoint_seconds: float = _CHECKPOINT_SECONDS,
    layout: Layout | None = None,
) -> None:
    """Train to the recipe's end, or resume from the run folder's checkpoint, which has the trained weights in the end.

    Args:
        layout: by default the fastest that the free memory has room for.
    Raises:
        Problem: the checkpoint belongs to another recipe, there is no room for one, a monitor stops the run, the batch does not
            divide among the devices, or they lack memory.
    """
    run.mkdir(parents=True, exist_ok=True)
    _Run(inputs, recipe, run, report, layout).train(checkpoint_seconds)


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
    def __init__(
        self, inputs: TrainingInputs, recipe: Recipe, run: Path, report: Callable[[str], None], layout: Layout | None
    ) -> None:
        self._inputs, self._recipe, self._folder = inputs, recipe, run
        cpu = not torch.cuda.is_available()
        half = bfloat16_pays(torch.device("cpu" if cpu else "cuda"))
        # Each weight is used once in a forward pass; gradients need no second copy for communication.
        handlers = [AutocastKwargs(cache_enabled=False), DistributedDataParallelKwargs(gradient_as_bucket_view=True)]
        self._accelerator = Accelerator(cpu=cpu, mixed_precision="bf16" if half else "no", kwargs_handlers=handlers)
        self._main = self._accelerator.is_main_process
        self._report = report if self._main else lambda _: None
        device = self._accelerator.device
        layout = layout or self._choose(half)
        self._micro = layout.micro_batch
        fuse = fusing_pays(inputs.config)
        self._objective = skeleton(
            inputs.config, recipe, torch.bfloat16 if half else torch.float32, layout.recompute, fuse
        )
        self._decoder = self._objective.decoder
        if layout.shard:
            shard(self._objective, device, half)
        self._objective.to_empty(device=device)
        self._trained = {n: p for n, p in self._decoder.named_parameters() if p.requires_grad}
        sizes = {name: parameter.numel() for name, parameter in self._trained.items()}
        if self._main:
            checkpoint.check_room(run, sum(4 * size + moment_bytes(size, recipe) for size in sizes.values()))
        self._report(
            f"{device}, {'bfloat16' if half else 'float32'}, {'compiled' if fuse else 'not compiled'}, {sum(sizes.values()):,} numbers trained, {_described(layout)}"
        )
        self._fused = fuse
        self._optimiser = _optimiser(recipe, list(self._trained.values()))
        self._step_model: Any = self._objective if layout.shard else self._accelerator.prepare(self._objective)
        self._loads = self._main or not layout.shard
        self._windows = Windows(inputs.corpus, inputs.bos, inputs.infilling)
        self._monitors, before = Monitors(), inputs.start.joules
        self._step = self._warm_from = inputs.start.step
        self._earlier = list(inputs.start.earlier)
        self._untouched: dict[str, float] | None = None
        dtype = torch.bfloat16 if half and recipe.rank is not None else torch.float32
        self._load(self._objective, inputs.base(dtype) if self._loads else None)
        if (about := checkpoint.load(run)) is not None:
            self._resume(about)
            before = about["joules"]
        self._joules = RunJoules(pick_meter(gpu_uuid(device)), self._accelerator.is_local_main_process, before)

    def _choose(self, half: bool) -> Layout:
        """Raises Problem where no layout fits."""
        devices, device = self._accelerator.num_processes, self._accelerator.device
        own = torch.tensor([free_memory(device, devices)], device=device)
        free = int(gather(own).min() if devices > 1 else own)
        config, recipe = self._inputs.config, self._recipe
        if (chosen := choose(config, recipe, devices, free, half)) is not None:
            return chosen[0]
        needed = least(config, recipe, devices, half).total
        raise Problem(
            "no_memory",
            f"training needs {needed / 1e9:.1f} GB on each device, and {free / 1e9:.1f} are free; `green-code adapt plan` says what would fit, such as a --rank.",
        )

    def _load(self, module: torch.nn.Module, weights: Mapping[str, Tensor] | None) -> None:
        """Fill the decoder, or it and its teacher. Where weights are sharded, the first process's count; others give None."""

        def weight_of(name: str) -> Tensor:
            own = name.removeprefix("decoder.").removeprefix("teacher.")
            if weights is not None and own in weights:
                return weights[own]
            return initial(own, self._trained[own].shape, self._recipe.seed)

        fill(module, None if weights is None else weight_of)

    def _resume(self, about: Mapping[str, Any]) -> None:
        checkpoint.check(self._folder, about, self._recipe, self._inputs.subject)
        self._begin_moments()
        checkpoint.read(self._folder, about, self._tensors())
        self._step, self._warm_from = about["step"], about["warm_from"]
        self._monitors, self._earlier = Monitors.from_json(about["monitors"]), about["earlier"]
        self._untouched = about["untouched"]
        self._report(f"resuming at step {self._step} of {self._recipe.steps}")

    def _begin_moments(self) -> None:
        """Have the optimiser make its moments, whose values are then read."""
        for parameter in self._trained.values():
            parameter.grad = torch.zeros_like(parameter)
        self._set_rate(0.0)
        self._advance()

    def _tensors(self) -> checkpoint.Tensors:
        return {
            checkpoint.WEIGHTS: {name: parameter.detach() for name, parameter in self._trained.items()},
            "moments": {name: dict(self._optimiser.state[parameter]) for name, parameter in self._trained.items()},
        }

    def train(self, checkpoint_seconds: float) -> None:
        recipe, last = self._recipe, self._inputs.config.layers
        untouched = self._untouched = self._untouched_losses()
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
        self._set_rate(self._rate(step))
        parts = torch.split(own, self._micro)
        losses = torch.zeros(len(depths), device=own.device)
        for i, part in enumerate(parts):
            last_part = i == len(parts) - 1
            no_sync = contextlib.nullcontext if last_part else self._accelerator.no_sync
            with no_sync(self._step_model):  # sharded gradients are summed at once: whole ones would take the memory
                loss, each = self._step_model(part, depths, weights)
                self._accelerator.backward(loss / len(parts))
            losses += each.detach() / len(parts)
        torch.nn.utils.clip_grad_norm_(self._trained.values(), recipe.gradient_clip)
        self._advance()
        values = self._accelerator.reduce(losses, "mean").tolist()
        return dict(zip(depths, values, strict=True))

    def _advance(self) -> None:
        # AdamW8bit compiles itself; where the model is not compiled, it is not either.
        stance: Any = contextlib.nullcontext() if self._fused else torch.compiler.set_stance("force_eager")
        with stance:
            self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    def _set_rate(self, rate: float) -> None:
        for group in self._optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def _rate(self, step: int) -> float:
        """The recipe's rate; a run that resumes from a delta has new moments, and warms up again."""
        rate = self._recipe.rate(step)
        if self._warm_from:
            rate *= min(1.0, (step - self._warm_from + 1) / max(1, self._recipe.warm_up_steps))
        return rate

    def _untouched_losses(self) -> dict[str, float]:
        """The last layer's held-out losses before any training, by language; those of the start are scored beside them."""
        if self._untouched is not None:  # a checkpoint resumes
            return self._untouched
        start, scores = self._inputs.start.weights, self._inputs.untouched or self._score()
        if start is not None:
            self._load(self._decoder, start if self._loads else None)
        self._add_scores(scores if start is None else self._score())
        return losses_at(scores, self._inputs.config.layers)

    def _score(self) -> Scores:
        inputs = self._inputs

        def sums(tokens: Tensor, depths: tuple[int, ...]) -> Tensor:
            found: Tensor = self._step_model(tokens, depths, None)[0]
            return found

        return score(self._decoder, inputs.corpus, self._recipe.exits, inputs.scored_positions, inputs.bos, sums)

    def _guard(self, untouched: dict[str, float]) -> None:
        """Score held-out projects; every process does, so that all set the same weight of the last layer."""
        scores = self._score()
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
            row = {"tokens": tokens, "joules": whole(self._joules.spent()), "scores": found}
            progress.add_row(self._folder, progress.SCORES, row)

    def _log(self, means: dict[int, list[float]], steps: int, seconds: float) -> None:
        recipe = self._recipe
        speed = recipe.tokens_per_step * steps / seconds
        joules = self._joules.spent()
        losses = {str(depth): round(sum(v) / len(v), 3) for depth, v in sorted(means.items())}
        left = (recipe.steps - self._step) * recipe.tokens_per_step / speed
        row = {
            "step": self._step,
            "tokens": self._step * recipe.tokens_per_step,
            "losses": losses,
            "tokens_per_second": round(speed),
            "seconds_left": round(left),
            "rate": self._rate(self._step - 1),
            "joules": whole(joules),
            "energy_source": self._joules.source,
        }
        if self._main:
            progress.add_row(self._folder, progress.LOG, row)
        self._report(
            f"step {self._step}/{recipe.steps}  {speed:.0f} tokens/s  {left / 60:.0f} min left  {in_words(joules, self._joules.source)}  loss {losses}"
        )

    def _share_joules(self) -> None:
        """All processes must call this together."""
        if self._accelerator.num_processes > 1:
            self._joules.share(self._add_up)

    def _add_up(self, own: float) -> float:
        part = torch.tensor(own, dtype=torch.float64, device=self._accelerator.device)
        return float(self._accelerator.reduce(part, "sum"))

    def _save(self) -> None:
        self._share_joules()
        about = {
            "step": self._step,
            "warm_from": self._warm_from,
            "earlier": self._earlier,
            "subject": dict(self._inputs.subject),
            "joules": self._joules.spent(),
            "energy_source": self._joules.source,
            "monitors": asdict(self._monitors),
            "untouched": self._untouched,
        }
        checkpoint.save(self._folder, self._recipe, about, self._tensors())


def _optimiser(recipe: Recipe, trained: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(trained, lr=rate, weight_decay=decay, fused=True)
    from torchao.optim import AdamW8bit

    found: torch.optim.Optimizer = AdamW8bit(trained, lr=rate, weight_decay=decay)
    return found


def _described(layout: Layout) -> str:
    parts = [f"{layout.micro_batch} sequences at a time"]
    return ", ".join((*parts, *["recomputed"] * layout.recompute, *["sharded"] * layout.shard))
