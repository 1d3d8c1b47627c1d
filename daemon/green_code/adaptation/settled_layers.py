"""Layers above the plateau and entries learn together: to say what full depth said, behind what has settled.

What settles misses most of the layers above it (models/sublayers.py). Entries make up for some of that; for more, those who look
at them have to learn as well (SwiftKV tunes queries, too, arXiv 2410.03960). The bundle as it was teaches. Most windows of a batch
rise in stretches, each over the entries of all that is before it (entries.py), the others whole, so that full depth stays what it
was; of both, whatever depth decides is to say what full depth said.

A run is a folder with a checkpoint; one that was cut goes on from there, and ends as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from green_code.adaptation import checkpoint
from green_code.adaptation.entries import (
    RISEN,
    Drawn,
    counted,
    cross_entropies,
    entries_of,
    head_rows,
    on_cpu,
    read,
    rise,
    scales_of,
    stretches,
)
from green_code.adaptation.export import bits_for
from green_code.adaptation.monitors import Monitors
from green_code.adaptation.recipe import SettledRecipe
from green_code.adaptation.rounding import Rounding
from green_code.adaptation.trainer import Lesson
from green_code.energy.meters import pick_meter
from green_code.models.decoder import Decoder
from green_code.models.device import bfloat16_pays, compute_device, gpu_uuid
from green_code.models.reading import Lens, Reading
from green_code.models.serving import Served

_REPORT_SECONDS, _CHECKPOINT_SECONDS = 30.0, 300.0


@dataclass(frozen=True)
class Taught:
    """The matrices that learned, float32 on the CPU, which a delta is to hold, the entries, and what it took."""

    matrices: Mapping[str, Tensor]
    entries: Mapping[int, Lens]
    step: int
    joules: float
    energy_source: str


class Teaching:
    """A run, from its beginning, or from the run folder's checkpoint.

    Args:
        lesson: its start has the bundle's weights. reading: its lenses stay, its entries, if it has some, are where those begin that
            learn. served: reads windows, and says what is wanted of them.
    Raises:
        Problem: the checkpoint belongs to another run, or there is no room for one.
    """

    def __init__(
        self,
        lesson: Lesson,
        recipe: SettledRecipe,
        reading: Reading,
        served: Served,
        plateau: int,
        run: Path,
        report: Callable[[str], None],
    ) -> None:
        run.mkdir(parents=True, exist_ok=True)
        self._lesson, self._recipe, self._folder, self._report = lesson, recipe, run, report
        self._served, self._plateau, self._sublayers = served, plateau, reading.sublayers
        self._device = device = compute_device()
        self._drawn = Drawn(lesson.corpus, "train", lesson.bos)
        weights = lesson.start.weights or lesson.base
        decoder = Decoder.load(lesson.config, {name: w.clone() for name, w in weights.items()}).to(device)
        decoder.wear(reading.lenses)
        self._decoder = decoder
        self._learned = {
            name: matrix
            for name, matrix in decoder.named_parameters()
            if name.startswith("layers.") and int(name.split(".")[1]) >= plateau and matrix.dim() == 2
        }
        for matrix in self._learned.values():
            matrix.requires_grad_(True)
        bits = bits_for(self._learned, lesson.config.layers)
        self._rounding = Rounding(self._learned, lesson.base, bits)
        first = read(served, self._rows(0), plateau)
        self._scales = scales_of(decoder, first.settled.to(device), plateau, reading.sublayers)
        self._entries = {layer: self._begun(layer, reading) for layer in self._scales}
        self._head = head_rows(decoder, lesson.corpus)
        groups: list[dict[str, Any]] = [
            {"params": list(own.values())} for own in (self._learned, self._entries)
        ]
        self._optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
        self._meter = pick_meter(gpu_uuid(device))
        self._monitors, self._step, self._joules = Monitors(), 0, 0.0
        checkpoint.check_room(run, self._learned)
        self._resume()
        self._meter_start = self._meter.read_joules() or 0.0

    def _begun(self, layer: int, reading: Reading) -> Tensor:
        """What is learned of a layer's entries, over its scales."""
        outer, gain = self._scales[layer]
        begun = torch.zeros(len(outer), len(gain), device=self._device)
        if (entry := reading.entries.get(layer)) is not None:
            begun = (entry.matrix * entry.gain).to(self._device) / outer[:, None] / gain
        return begun.requires_grad_(True)

    def _found(self) -> dict[int, Lens]:
        return entries_of(self._entries, self._scales)

    def _resume(self) -> None:
        state = checkpoint.load(self._folder)
        if state is None:
            return
        checkpoint.check(self._folder, state, self._recipe, self._lesson.subject)
        with torch.no_grad():
            for name, weight in state["weights"].items():
                self._learned[name].copy_(weight)
            for layer, part in self._entries.items():
                part.copy_(state["entries"][layer])
        self._optimiser.load_state_dict(state["optimiser"])
        self._step, self._joules = state["step"], state["joules"]
        self._monitors = Monitors(**state["monitors"])
        self._report(f"going on at step {self._step} of {self._recipe.steps}")

    def go(self, checkpoint_seconds: float = _CHECKPOINT_SECONDS) -> Taught:
        """Train to the recipe's end; raises Problem where the loss is no number or climbs away."""
        recipe = self._recipe
        saved = reported = time.monotonic()
        sums, since = dict.fromkeys(recipe.depths, 0.0), self._step
        while self._step < recipe.steps:
            if self._step % recipe.rounded_steps == 0:
                self._rounding.round()
            losses = self._learn()
            self._monitors.watch(self._step, losses)
            self._step += 1
            for depth, loss in losses.items():
                sums[depth] += loss
            now, at_end = time.monotonic(), self._step == recipe.steps
            if now - reported > _REPORT_SECONDS or at_end:
                steps = self._step - since
                means = {depth: round(total / steps, 4) for depth, total in sums.items()}
                speed = steps * recipe.tokens_per_step / (now - reported)
                left = (recipe.steps - self._step) * recipe.tokens_per_step / speed
                self._report(
                    f"step {self._step}/{recipe.steps}  {speed:.0f} tokens/s  {left / 60:.0f} min left  {self._spent() / 1000:.1f} kJ ({self._meter.source})  cross-entropy behind what settled {means}"
                )
                sums, since, reported = dict.fromkeys(recipe.depths, 0.0), self._step, now
            # Where matrices are to be rounded next: so a run that goes on sees the same ones.
            if at_end or (now - saved > checkpoint_seconds and self._step % recipe.rounded_steps == 0):
                self._save()
                saved = now
        matrices = {name: matrix.float().cpu() for name, matrix in self._rounding.behind().items()}
        return Taught(matrices, on_cpu(self._found()), self._step, self._spent(), self._meter.source)

    def _rows(self, step: int) -> list[np.ndarray]:
        return self._drawn.rows(self._recipe.batch, np.random.default_rng((self._recipe.seed, step)))

    def _learn(self) -> dict[int, float]:
        """One step of the optimiser; cross-entropies behind what settled, by depth."""
        recipe, device = self._recipe, self._device
        batch = read(self._served, self._rows(self._step), self._plateau)
        settled, last = batch.settled.to(device), batch.last.to(device)
        windows, count, _ = settled.shape
        draw = np.random.default_rng((recipe.seed, self._step, 1))
        starts = stretches(count, int(draw.integers(0, RISEN))).to(device)
        counts = counted(starts)
        whole = torch.zeros(windows, dtype=torch.bool, device=device)
        whole[torch.from_numpy(draw.permutation(windows)[: recipe.whole]).to(device)] = True
        rates = (recipe.learning_rate, recipe.entry_rate)
        for group, rate in zip(self._optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * recipe.rate_share(self._step)
        decoder, losses = self._decoder, {}
        loss = torch.zeros((), device=device)
        half = bfloat16_pays(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            projections = {layer: decoder.entry_projection(layer, e) for layer, e in self._found().items()}
            risen = rise(decoder, settled, starts * ~whole[:, None], projections, self._sublayers)
            asked = {depth: risen[depth][:, counts] for depth in recipe.depths}
            each = cross_entropies(decoder, self._head, last[:, counts], asked, recipe.depths)
        for depth, of in each.items():
            factor = recipe.whole_weights[depth == decoder.config.layers]
            loss = loss + torch.where(whole, factor * of, of).mean()
            losses[depth] = of[~whole].mean().item()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._learned.values(), recipe.gradient_clip)
        self._optimiser.step()
        return losses

    def _spent(self) -> float:
        return self._joules + (self._meter.read_joules() or 0.0) - self._meter_start

    def _save(self) -> None:
        state = {
            "step": self._step,
            "subject": dict(self._lesson.subject),
            "joules": self._spent(),
            "energy_source": self._meter.source,
            "weights": self._rounding.behind(),
            "entries": {layer: part.detach() for layer, part in self._entries.items()},
            "optimiser": self._optimiser.state_dict(),
            "monitors": self._monitors.state(),
        }
        checkpoint.save(self._folder, self._recipe, state)
