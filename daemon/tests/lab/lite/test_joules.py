"""Joules of a run with fake counters: a machine's are counted once, and what cannot be read is unknown, never 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from green_code.energy.meters import GpuAndHost, NvmlMeter, RaplMeter, UnknownMeter
from green_code_lab.lite import progress, trainer
from green_code_lab.lite.joules import RunJoules
from green_code_lab.lite.steps import training_record
from green_code_lab.lite.trainer import train
from tests.energy.test_meters import FakeNvml, NvmlError, make_package
from tests.lab.lite.test_trainer import RECIPE, inputs, state


def shared(processes: Sequence[RunJoules]) -> list[float | None]:
    """What each says was spent, after all have shared. Numbers are added up when all have given theirs."""
    given = list[float]()
    for process in processes:
        process.share(lambda own: given.append(own) or 0.0)  # type: ignore[func-returns-value]
    for process in processes:
        process.share(lambda _: sum(given))
    return [process.spent() for process in processes]


def test_eight_cards_of_a_machine_have_its_hosts_joules_added_once(tmp_path: Path) -> None:
    package = make_package(tmp_path, "intel-rapl:0", 0, 9_999_999, "package-0")
    cards = [GpuAndHost(NvmlMeter(FakeNvml([0, *[5_000] * 9]), "GPU-1"), RaplMeter([package])) for i in range(8)]
    (package / "energy_uj").write_text("3000000\n")
    processes = [RunJoules(card, i == 0, 100.0) for i, card in enumerate(cards)]
    assert shared(processes) == [100 + 8 * 5 + 3] * 8


def test_processes_of_one_processor_have_its_joules_once(tmp_path: Path) -> None:
    package = make_package(tmp_path, "intel-rapl:0", 0, 9_999_999, "package-0")
    processes = [RunJoules(RaplMeter([package]), rank == 0, 0.0) for rank in range(2)]
    (package / "energy_uj").write_text("3000000\n")
    assert shared(processes) == [3, 3]


def test_a_card_without_a_counter_leaves_the_sum_unknown(tmp_path: Path) -> None:
    with_counter = NvmlMeter(FakeNvml([0, *[5_000] * 9]), "GPU-1")
    processes = [RunJoules(meter, i == 0, 0.0) for i, meter in enumerate((with_counter, UnknownMeter("no driver")))]
    assert shared(processes) == [None, None]


def test_a_reading_that_fails_is_unknown_and_the_next_one_is_whole() -> None:
    joules = RunJoules(NvmlMeter(FakeNvml([0, 5_000, NvmlError("lost"), 9_000]), "GPU-1"), True, 1.0)
    assert [joules.spent(), joules.spent(), joules.spent()] == [6.0, None, 10.0]


def test_a_run_without_a_counter_says_unknown_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trainer, "pick_meter", lambda gpu: UnknownMeter("no driver"))
    recipe = replace(RECIPE, tokens=2 * RECIPE.tokens_per_step)
    train(inputs(), recipe, tmp_path)
    assert "joules unknown" in capsys.readouterr().out
    logged = [row for name in (progress.LOG, progress.SCORES) for row in progress.rows(tmp_path, name)]
    assert logged and all(row["joules"] is None for row in logged)
    about = state(tmp_path)
    assert about["joules"] is None and training_record(about, recipe, {})["joules"] is None
    earlier = {**about, "joules": 5.0, "earlier": [{"tokens": 1, "joules": None}]}
    assert training_record(earlier, recipe, {})["joules"] is None
