"""What a step needs of memory: predicted on the meta device, and measured by torch's profiler on the CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from green_code.cli import main
from green_code.models.tiny import TinySource
from green_code_lab.lite import memory
from green_code_lab.lite.memory import Layout, choose, layouts, moment_bytes, predict
from green_code_lab.lite.objective import skeleton
from green_code_lab.lite.plan import PLANNED, plan
from green_code_lab.lite.recipe import Recipe, lite_recipe
from tests.lab.lite.test_trainer import RECIPE

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
