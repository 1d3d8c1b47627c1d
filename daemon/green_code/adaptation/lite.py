"""LITE: teach the one head to read intermediate layers (arXiv 2310.18581), with little compute.

The paper's loss is Σ wℓ·CEℓ over all exits. On a budget of a few million tokens two things work better: per step
only some exits are trained, drawn at random, and half of an exit's loss is the divergence from the last layer's own
distribution of that step (self-distillation). Where the untouched model teaches instead, it teaches the last layer as
well, which then stays what it was on code unlike the corpus. Embeddings, final norm and head stay as they are, so that every exit
speaks the base model's language.

A run is a folder: `state.pt` (weights, optimiser, position; replaced atomically), `log.jsonl` (a line a report).
It resumes at the step of its last checkpoint, or from a bundle's delta with fresh optimiser moments.

Must not know: what is shipped (export.py) or how exits are chosen in service.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from green_code.adaptation.corpus import open_shard
from green_code.adaptation.head_loss import head_loss
from green_code.models.decoder import Decoder
from green_code.models.families import ModelConfig
from green_code.problems import Problem

LANGUAGES = ("python", "java")


@dataclass(frozen=True)
class Recipe:
    """Everything that shapes a run. Two runs of equal recipe, corpus and device give equal weights."""

    exit_groups: tuple[tuple[int, ...], ...] = ((5, 7, 9, 11), (13, 15))  # one exit of each is drawn a step
    tokens: int = 1_300_000
    sequence: int = 256
    batch: int = 8
    learning_rate: float = 2e-4
    warm_up_steps: int = 20
    final_rate_share: float = 0.1  # where the cosine ends, as a share of the peak
    weight_decay: float = 0.0
    distillation: float = 0.5  # share of an exit's loss that is KL(last layer ‖ exit)
    teacher: Literal["last", "untouched"] = (
        "last"  # whose distribution: this model's last layer, or the base's
    )
    gradient_clip: float = 1.0
    seed: int = 1

    @property
    def steps(self) -> int:
        return self.tokens // (self.sequence * self.batch)

    def rate(self, step: int) -> float:
        if step < self.warm_up_steps:
            return self.learning_rate * (step + 1) / self.warm_up_steps
        done = (step - self.warm_up_steps) / max(1, self.steps - self.warm_up_steps)
        cosine = (1 + math.cos(math.pi * min(1.0, done))) / 2
        return self.learning_rate * (self.final_rate_share + (1 - self.final_rate_share) * cosine)

    def exits(self) -> tuple[int, ...]:
        return tuple(sorted({exit for group in self.exit_groups for exit in group}))


def batch_at(shards: Mapping[str, np.ndarray], recipe: Recipe, step: int, bos: int | None) -> Tensor:
    """(batch, sequence + 1) token ids of one step: languages in turn, places drawn by seed and step alone.

    Each window begins with `bos`, as prompts do: Gemma is another, worse model without it.
    """
    generator = np.random.default_rng((recipe.seed, step))
    rows = []
    for i in range(recipe.batch):
        shard = shards[LANGUAGES[i % len(shards)]]
        start = int(generator.integers(0, len(shard) - recipe.sequence - 1))
        rows.append(shard[start : start + recipe.sequence + 1].astype(np.int64))
    return _begin_with(bos, torch.from_numpy(np.stack(rows)))


def _begin_with(bos: int | None, tokens: Tensor) -> Tensor:
    if bos is not None:
        tokens[:, 0] = bos
    return tokens


def hidden_at(decoder: Decoder, tokens: Tensor, depths: tuple[int, ...]) -> dict[int, Tensor]:
    """Hidden states (B, N, C) after each of `depths` layers, in one pass without cache."""
    x = decoder.embed_tokens(tokens)
    states = {}
    for layer in range(1, max(depths) + 1):
        x = decoder.run_layer(layer, x)
        if layer in depths:
            states[layer] = x
    return states


def step_loss(
    decoder: Decoder,
    head: Tensor,
    tokens: Tensor,
    exits: tuple[int, ...],
    distillation: float,
    teacher: Decoder | None,
) -> tuple[Tensor, dict[int, float]]:
    """Loss of one step, and the cross-entropy (nats per token) of each exit and of the last layer.

    `teacher` is the untouched model where that one teaches.
    """
    depths = (*exits, decoder.config.layers)
    states = hidden_at(decoder, tokens[:, :-1], depths)
    normed = torch.stack([decoder.norm(states[depth]).flatten(0, 1) for depth in depths]).to(head.dtype)
    lesson = None
    if teacher is not None:
        with torch.no_grad():
            last = hidden_at(teacher, tokens[:, :-1], (decoder.config.layers,))[decoder.config.layers]
            lesson = teacher.norm(last).flatten(0, 1).to(head.dtype)
    total, losses = head_loss(normed, head, tokens[:, 1:].reshape(-1), distillation, lesson)
    return total, dict(zip(depths, losses.tolist(), strict=True))


@torch.no_grad()
def evaluate(
    decoder: Decoder,
    folder: Path,
    depths: tuple[int, ...],
    positions: int,
    bos: int | None,
    part: str = "heldout",
) -> dict[str, dict[str, dict[int, float]]]:
    """Teacher-forced scores on held-out projects: {language: {accuracy, agreement, loss: {depth: value}}}.

    Agreement is with the last layer's own top token. `positions` per language, in sequences of 256.
    """
    last = decoder.config.layers
    result: dict[str, dict[str, dict[int, float]]] = {}
    for language in LANGUAGES:
        shard = open_shard(folder, f"{language}-{part}")
        rows = max(1, positions // 256)
        starts = np.linspace(0, len(shard) - 258, rows).astype(int)
        sums = {name: dict.fromkeys((*depths, last), 0.0) for name in ("accuracy", "agreement", "loss")}
        for at in range(0, rows, 8):
            tokens = torch.from_numpy(
                np.stack([shard[s : s + 257].astype(np.int64) for s in starts[at : at + 8]])
            )
            tokens = _begin_with(bos, tokens)
            with torch.autocast(
                decoder.device.type,
                torch.bfloat16,
                enabled=decoder.dtype == torch.float32 and bfloat16_pays(),
            ):
                states = hidden_at(decoder, tokens[:, :-1].to(decoder.device), (*depths, last))
                target = tokens[:, 1:].to(decoder.device)
                logits = {depth: decoder.logits(state) for depth, state in states.items()}
            final = logits[last].argmax(-1)
            for depth, value in logits.items():
                top = value.argmax(-1)
                sums["accuracy"][depth] += (top == target).float().sum().item()
                sums["agreement"][depth] += (top == final).float().sum().item()
                sums["loss"][depth] += F.cross_entropy(
                    value.flatten(0, 1).float(), target.flatten(), reduction="sum"
                ).item()
        result[language] = {name: {d: v / (rows * 256) for d, v in by.items()} for name, by in sums.items()}
    return result


def bfloat16_pays() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (GPUs of today do)."""
    return torch.cuda.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def train(
    config: ModelConfig,
    base: Mapping[str, Tensor],
    corpus: Path,
    run: Path,
    recipe: Recipe,
    bos: int | None,
    start: Mapping[str, Tensor] | None = None,
    report: Callable[[str], None] = print,
    checkpoint_seconds: float = 300.0,
) -> Decoder:
    """Train to the recipe's end, or go on from the run folder's checkpoint.

    Args:
        base: the untouched weights, float32. `bos`: the token that every window begins with. `start`: weights to begin from instead (a bundle's delta applied).
        run: folder of checkpoint and log.
    Raises:
        Problem: the checkpoint belongs to another recipe, or the loss is not finite.
    """
    run.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(recipe.seed)
    decoder = Decoder.load(config, {name: w.clone() for name, w in (start or base).items()}).to(device)
    trained = [p for name, p in decoder.named_parameters() if name.startswith("layers.")]
    for parameter in trained:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(
        trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    teacher = None
    if recipe.teacher == "untouched":
        teacher = Decoder.load(config, dict(base)).to(device).requires_grad_(False)
    first = _resume(run / "state.pt", recipe, decoder, optimiser)
    head = (decoder.embed if config.tied_head else decoder.head).weight.detach()
    head = head.bfloat16() if bfloat16_pays() else head
    shards = {language: open_shard(corpus, f"{language}-train") for language in LANGUAGES}
    saved = reported = time.monotonic()
    means: dict[int, list[float]] = {}
    for step in range(first, recipe.steps):
        draw = np.random.default_rng((recipe.seed, step, 1))
        exits = tuple(sorted({int(draw.choice(group)) for group in recipe.exit_groups}))
        tokens = batch_at(shards, recipe, step, bos).to(device)
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_pays()):
            loss, parts = step_loss(decoder, head, tokens, exits, recipe.distillation, teacher)
        if not torch.isfinite(loss):
            raise Problem(
                "internal_error",
                f"the loss is {loss.item()} at step {step}; resume with a lower learning rate ({recipe.learning_rate}).",
            )
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, recipe.gradient_clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        for depth, value in parts.items():
            means.setdefault(depth, []).append(value)
        now = time.monotonic()
        if now - reported > 30 or step == recipe.steps - 1:
            speed = recipe.sequence * recipe.batch * len(means[config.layers]) / (now - reported)
            losses = {depth: round(sum(v) / len(v), 3) for depth, v in sorted(means.items())}
            left = (recipe.steps - step - 1) * recipe.sequence * recipe.batch / speed
            row = {
                "step": step + 1,
                "tokens": (step + 1) * recipe.sequence * recipe.batch,
                "losses": losses,
                "tokens_per_second": round(speed),
                "rate": recipe.rate(step),
            }
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            report(
                f"step {step + 1}/{recipe.steps}  {speed:.0f} tokens/s  {left / 60:.0f} min left  loss {losses}"
            )
            means, reported = {}, now
        if now - saved > checkpoint_seconds or step == recipe.steps - 1:
            _save(run / "state.pt", recipe, decoder, optimiser, step + 1)
            saved = time.monotonic()
    return decoder.requires_grad_(False)


def _save(path: Path, recipe: Recipe, decoder: Decoder, optimiser: torch.optim.Optimizer, step: int) -> None:
    part = path.with_suffix(".part")
    torch.save(
        {
            "recipe": asdict(recipe),
            "step": step,
            "weights": decoder.state_dict(),
            "optimiser": optimiser.state_dict(),
        },
        part,
    )
    part.replace(path)


def _resume(path: Path, recipe: Recipe, decoder: Decoder, optimiser: torch.optim.Optimizer) -> int:
    if not path.is_file():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["recipe"] != asdict(recipe):
        raise Problem(
            "bad_request", f"{path} belongs to another recipe; give another --run folder, or delete it."
        )
    decoder.load_state_dict(state["weights"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])
