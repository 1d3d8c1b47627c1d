"""What a step needs of memory: predicted on the meta device, and measured by torch's profiler on the CPU."""

from __future__ import annotations

import weakref
from dataclasses import replace
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from green_code.cli import main
from green_code.models.rows import ROWS
from green_code.models.shapes import weight_shapes
from green_code.models.tiny import TinySource
from green_code.models.torch_decoder import Decoder
from green_code_lab.lite import checkpoint, memory, steps
from green_code_lab.lite.memory import Layout, choose, layouts, moment_bytes, predict
from green_code_lab.lite.objective import skeleton
from green_code_lab.lite.plan import PLANNED, plan
from green_code_lab.lite.recipe import Recipe, lite_recipe
from tests.lab.lite.test_trainer import BASE, RECIPE, VOCABULARY, inputs

CONFIG = TinySource().config
TOLERANCE = 0.1
"""Of the measured peak."""


def measured_peak(recipe: Recipe, layout: Layout) -> int:
    """Bytes that a forward and a backward pass adds at its peak, with gradients there already."""
    objective = skeleton(CONFIG, recipe, torch.float32, layout.recompute, False).to_empty(device="cpu")
    for parameter in objective.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    tokens, depths = torch.zeros(layout.micro_batch, recipe.sequence + 1, dtype=torch.int64), (2, 4, 6)
    # The attention that the plan counts: a fused one needs less.
    with sdpa_kernel(SDPBackend.MATH), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        objective(tokens, depths, torch.ones(3))[0].backward()
    events = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


@pytest.mark.parametrize(
    ("changes", "layout"),
    [({}, Layout(False, False, 4)), ({"rank": 4, "teacher": "untouched"}, Layout(False, True, 2))],
    ids=["kept", "recomputed-low-rank"],
)
def test_prediction_is_what_a_profiler_measures(changes: dict[str, object], layout: Layout) -> None:
    recipe = replace(RECIPE, **changes)  # type: ignore[arg-type]
    needed = predict(CONFIG, recipe, layout, 1, half=False)
    assert needed.activations + needed.head == pytest.approx(measured_peak(recipe, layout), rel=TOLERANCE)


@pytest.mark.parametrize("recompute", [False, True])
def test_more_layers_and_sequences_follow_from_few(recompute: bool) -> None:
    """What is extrapolated from some seven layers and four sequences, against all of them run."""
    deep = replace(CONFIG, layers=12, windows=CONFIG.windows * 2, ropes=CONFIG.ropes * 2)
    found = sum(memory._step(deep, RECIPE, recompute, 8, torch.float32))
    assert found == pytest.approx(memory._peak(deep, RECIPE, recompute, 8, torch.float32), rel=0.02)


@pytest.mark.parametrize("optimiser", ["adamw", "adamw8bit"])
def test_moments_take_what_is_predicted(optimiser: str) -> None:
    from torchao.optim import AdamW8bit

    recipe, weight = replace(RECIPE, optimiser=optimiser), torch.nn.Parameter(torch.ones(64, 128))  # type: ignore[arg-type]
    weight.grad = torch.ones_like(weight)
    found = torch.optim.AdamW([weight]) if optimiser == "adamw" else AdamW8bit([weight])
    with torch.compiler.set_stance("force_eager"):
        found.step()
    moments = [found.state[weight][name] for name in ("exp_avg", "exp_avg_sq")]
    size = sum((m.codes.nbytes + m.scale.nbytes) if optimiser == "adamw8bit" else m.nbytes for m in moments)
    assert moment_bytes(weight.numel(), recipe) == size


def test_a_layout_is_chosen_by_memory() -> None:
    """Less memory: first activations are computed again, then fewer sequences are held, then weights are sharded."""
    chosen = []
    free = predict(CONFIG, RECIPE, Layout(False, False, 2), 2, half=False).total / 0.9
    while (found := choose(CONFIG, RECIPE, 2, round(free), half=False)) is not None:
        assert found[1].total <= free
        chosen.append(found[0])
        free *= 0.9
    order = list(layouts(RECIPE, 2))
    places = [order.index(layout) for layout in chosen]
    assert places == sorted(places) and places[0] == 0 and order[places[-1]].shard


def test_plans_of_large_models(capsys: pytest.CaptureFixture[str]) -> None:
    """3B, 8B and 70B: sums that can be checked by hand, and what does not fit is refused with what would."""
    shape = PLANNED["llama-3.2-3b"]
    config = shape.config()
    layer = 3072 * 128 * 2 * (24 + 8) + 3 * 3072 * 8192 + 2 * 3072
    row = plan("llama-3.2-3b", config, lite_recipe(28, 5_000_000), 1, 80 * 10**9)
    assert row.memory.gradients == 4 * 28 * layer and row.memory.optimiser == 8 * 28 * layer
    assert row.memory.weights == 4 * 28 * layer + 2 * (128_256 * 3072 + 3072)
    assert row.memory.teacher == 2 * 28 * layer
    assert main(["adapt", "plan", "--model", "llama-3.1-8b", "--gpus", "2", "--memory", "40"]) == 1
    shown = capsys.readouterr()
    assert "does not fit" in shown.out and "rank 32" in shown.out
    assert "use --rank 32" in shown.err and "--gpus" in shown.err


PAGES = Path(__file__).parents[4] / "docs"


@pytest.mark.slow
def test_the_guide_has_what_is_printed_for_3b_8b_and_70b(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapt", "plan", "--gpus", "4", "--memory", "80"]) == 0
    _, _, printed = capsys.readouterr().out.partition("\n")
    assert printed in (PAGES / "guide/adapt.md").read_text("utf-8")
    # 70B, sharded on four cards, by hand: GB of one card.
    layers = 80 * (8192 * 128 * 2 * (64 + 8) + 3 * 8192 * 28_672 + 2 * 8192) / 4 / 1e9
    table = 2 * 128_256 * 8192 * 2 / 4 / 1e9  # embedding and head, bfloat16
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in printed.splitlines() if "70b" in line]
    whole, eight_bits, low_rank = ([*row[:3], *map(float, row[3:11]), row[11]] for row in rows)
    assert whole[3:7] == pytest.approx([4 * layers + table, 2 * layers, 4 * layers, 8 * layers], abs=0.06)
    assert eight_bits[6] == pytest.approx(2 * layers * (1 + 1 / 64), rel=0.01)
    assert low_rank[3] == pytest.approx(2 * layers + table, rel=0.02) and low_rank[4] == 0
    assert [row[-1] for row in (whole, eight_bits)] == ["does not fit"] * 2 and "sharded" in low_rank[-1]


@pytest.mark.slow
@pytest.mark.parametrize(("at", "model"), [(2, "llama-3.2-3b"), (3, "opt-2.7b")])
def test_the_page_of_the_papers_models_says_what_they_take(
    at: int, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (PAGES / "paper-models.md").read_text("utf-8").splitlines()
    said = {line.split("|")[1].strip(): line.split("|")[at].strip() for line in lines if line.startswith("| ")}
    assert main(["adapt", "plan", "--model", model, "--recipe", "paper", "--memory", "80"]) == 0
    planned = [line.split("|")[-3].strip() for line in capsys.readouterr().out.splitlines() if f"| {model} |" in line]
    names = ("a card's memory for `lite`, AdamW", "with `--optimiser adamw8bit`", "with `--rank 32`")
    assert [said[name] for name in names] == [f"{size} GB" for size in planned]
    shapes = weight_shapes(ROWS[model].shape.config())
    layers, every = (
        sum(prod(shape) for name, shape in shapes.items() if name.startswith(start)) for start in ("layers.", "")
    )
    assert said["memory for `export`"] == f"{4 * (every + layers) / 1e9:.0f} GB"


def test_export_holds_the_layers_twice_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base model's and, of the run's and those of the delta, one at a time."""
    learned, alive = list[weakref.ref[torch.Tensor]](), list[int]()

    def weights(*_: object) -> dict[str, torch.Tensor]:
        found = {name: weight + 0.01 for name, weight in BASE.items() if name.startswith("layers.")}
        learned.extend(map(weakref.ref, found.values()))
        return found

    def score(decoder: Decoder, *_: object) -> dict[str, Any]:
        alive.append(sum(ref() is not None for ref in learned))
        return {"python": {"loss": {decoder.config.layers: 1.0}}}

    about = {"recipe": {}, "step": 1, "earlier": [], "joules": 1.0, "energy_source": "estimate"}
    for name, function in (
        ("load", lambda _: about),
        ("recipe_of", lambda _: RECIPE),
        ("check", lambda *_: None),
        ("weights", weights),
    ):
        monkeypatch.setattr(checkpoint, name, function)
    monkeypatch.setattr(steps, "score", score)
    monkeypatch.setattr(steps, "shards_of", lambda _: {})
    given, replaced = inputs(), list[str]()
    job: Any = SimpleNamespace(
        lite_folder=tmp_path, bundle=tmp_path, corpus_folder=tmp_path, config=CONFIG, subject=given.subject, vocabulary=VOCABULARY,
        base=lambda: dict(BASE), corpus=lambda _: given.corpus, manifest=lambda *_: {}, replace_part=lambda *parts: replaced.append(parts[1]),
    )  # fmt: skip
    steps.export(job, lambda *_: {})
    assert alive == [len(learned), len(learned), 0] and replaced == ["delta.safetensors"]
