"""`make check-gpu` without a card: every part passes on the stand-in, says so, and writes no figures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from green_code.energy.meters import UnknownMeter
from green_code.models.shapes import weight_shapes
from green_code.models.torch_decoder import Decoder
from green_code.problems import Problem
from green_code_lab.benchmark.gpu_check import __main__ as check
from green_code_lab.benchmark.gpu_check import correctness, energy, planned, training, where
from green_code_lab.benchmark.gpu_check.page import write_page
from green_code_lab.benchmark.gpu_check.stand_in import StandIn
from green_code_lab.benchmark.gpu_check.where import Where, smaller
from green_code_lab.benchmark.gpu_shapes import PAPER, SHAPES


@pytest.mark.slow
@pytest.mark.parametrize("part", check.PARTS)
def test_a_part_passes_on_the_stand_in(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(correctness, "compile_apart", lambda: "")  # see below
    assert check.main([part, "--out", str(tmp_path / "out"), "--page", str(tmp_path / "gpu.md")]) == 0
    assert "no card" in capsys.readouterr().out and not list(tmp_path.iterdir())


RIGHT = {
    "float32": 0.0, "int8": 0.01, "int4": 0.01, "rows alone": "the same bits", "head": 0.0, "SVD head": 0.0, "lens": 0.0, "KV projections": 0.0, "agent": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("wrong", [name for name in RIGHT if name != "rows alone"])
def test_whatever_is_wrong_fails_the_check(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correctness, "compile_apart", lambda: "")
    monkeypatch.setattr(correctness, "_compared", lambda *_: RIGHT)
    assert [set(row) for row in correctness.run(Where(None, StandIn))] == [{"model", *RIGHT}] * len(SHAPES)
    monkeypatch.setattr(correctness, "_compared", lambda *_: {**RIGHT, wrong: 0.1})
    with pytest.raises(AssertionError, match=wrong):
        correctness.run(Where(None, StandIn))


@pytest.mark.slow
def test_a_family_is_compared_in_all_that_is_read_from_it() -> None:
    found = correctness._compared(Where(None, StandIn), smaller(SHAPES["Llama-3.2-3B"], 2, 64, 64))
    assert set(found) == set(RIGHT)


def test_joules_are_those_of_the_card_that_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()
    runtime = SimpleNamespace(model="m", agent=None, decoder=SimpleNamespace(gpu="GPU-7"))
    monkeypatch.setattr(energy, "_runtime", lambda where: runtime)
    monkeypatch.setattr(energy, "pick_meter", lambda gpu: asked.append(gpu) or UnknownMeter("no driver"))
    runtime.decoder.synchronise = lambda: None
    monkeypatch.setattr(energy, "SHORT_WINDOW_SECONDS", 0.0)
    with pytest.raises(Problem, match="joules stay unknown"):
        energy.run(Where("A card", StandIn, "GPU-0"))
    assert asked == ["GPU-7"]


def test_of_several_cards_the_best_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    used = list[torch.device]()
    monkeypatch.setattr(where, "why_no_card", lambda: None)
    monkeypatch.setattr(where, "best_card", lambda device: 1)
    monkeypatch.setattr(where, "gpu_uuid", lambda device: f"GPU-{device.index}")
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device.index}")
    found = Where.here()
    assert (found.name, found.gpu, used) == ("card 1", "GPU-1", [torch.device("cuda", 1)])


def test_agents_learn_by_supervision_and_by_two_updates_of_ppo() -> None:
    config = smaller(SHAPES["Llama-3.2-3B"], 4, 64, 64)
    weights = {name: np.full(shape, 0.02, np.float32) for name, shape in weight_shapes(config).items()}
    found = training._agent(Where(None, StandIn), Decoder.load(config, weights), 2, np.arange(64) % 64)
    assert [(row["what"], row["steps"]) for row in found] == [("agent, supervised", 3), ("agent, PPO", 2)]


@pytest.mark.slow
def test_every_kernel_of_the_plans_compiles_for_cards() -> None:
    from green_code_lab.benchmark.gpu_check.compiled import CAPABILITIES, compile_apart

    assert compile_apart().count("kernels compile for compute capability") == len(CAPABILITIES)


@pytest.mark.parametrize("name", PAPER)
def test_the_plan_says_what_the_papers_models_take(name: str) -> None:
    eight, four = planned.planned(name, 8), planned.planned(name, 4)
    assert eight.layer == 8 and eight.launches == 8 * SHAPES[name].layers + eight.head
    assert 0.5 < four.bytes_read / eight.bytes_read < 0.75
    assert 0.4 < eight.bound(3.35e12) / eight.seconds(3.35e12) < 1


def test_the_page_names_the_card_and_has_every_part(tmp_path: Path) -> None:
    for part in check.PARTS:
        (tmp_path / f"{part}.json").write_text(
            f'{{"card": "A card", "rows": [{{"what": "{part}", "figure": 0.12345}}, {{"what": "x"}}]}}'
        )
    write_page(tmp_path, tmp_path / "gpu.md")
    text = (tmp_path / "gpu.md").read_text()
    assert text.startswith("# On A card") and all(
        f"| {part} | 0.1235 |" in text or f"| {part} | 0.1234 |" in text for part in check.PARTS
    )
