"""What a model is expected to need, and which one is recommended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from green_code.engine import machine_speed as measuring
from green_code.engine.expected import Expected, expected, recommended
from green_code.engine.machine_speed import MachineSpeed, machine_speed
from green_code.kernels.binding import LEVEL_VARIABLE, open_kernel
from green_code.models.rows import LIGHT, ROWS, STANDARD

MEASURED = Path(__file__).parents[3] / "docs" / "experiments" / "models.json"
NEED = Expected(10**9, 700_000_000, 0.01, 0.5, 0.1, 1.0, "estimate", measured=True)
REFERENCE = MachineSpeed(1.0, 1.0, 1.0, 1.0)
GIGABYTE = 10**9


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    machine_speed.cache_clear()
    yield tmp_path / "cache"
    machine_speed.cache_clear()


@pytest.mark.parametrize(
    ("need", "fits", "gigabytes", "best"),
    [
        (NEED, True, 16, STANDARD),
        (replace(NEED, prompt_seconds=0.95), True, 16, LIGHT),  # 0.95 s and 11 tokens of 10 ms
        (replace(NEED, token_seconds=0.06), True, 16, LIGHT),
        (NEED, False, 16, LIGHT),  # the disk is full
        (NEED, True, 2, LIGHT),  # an editor needs memory as well
        (replace(NEED, measured=False), True, 16, LIGHT),  # without the kernel it takes several times as long
    ],
)
def test_the_standard_model_is_recommended_where_it_is_fast_and_fits(
    need: Expected, fits: bool, gigabytes: int, best: str
) -> None:
    assert recommended(need, fits, gigabytes * GIGABYTE) == best


def test_a_machine_scales_times_and_joules_by_what_it_needed() -> None:
    shape = ROWS[STANDARD].shape
    base, scaled = (expected(shape, False, speed) for speed in (REFERENCE, MachineSpeed(0.5, 1.5, 0.25, 2.0)))
    assert (scaled.token_seconds, scaled.token_joules) == pytest.approx(
        (0.5 * base.token_seconds, 1.5 * base.token_joules)
    )
    assert (scaled.prompt_seconds, scaled.prompt_joules) == pytest.approx(
        (0.25 * base.prompt_seconds, 2 * base.prompt_joules)
    )
    assert expected(shape, False, None) == replace(base, measured=False)


def test_the_estimate_is_near_what_was_measured_on_the_reference_machine() -> None:
    """Prompts of 256 tokens and tokens behind them, on one thread, by the experiment `models`."""
    rows = {
        row["model"]: row for row in json.loads(MEASURED.read_text("utf-8"))["models"] if row["weights"] == "published"
    }
    for name in (STANDARD, LIGHT):
        need = expected(ROWS[name].shape, False, REFERENCE)
        assert 1000 * need.token_seconds == pytest.approx(rows[name]["token_1"][0], rel=0.35)
        assert 1000 * need.prompt_seconds == pytest.approx(rows[name]["prompt_1"][0], rel=0.35)


def test_a_machine_is_measured_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if open_kernel() is None:
        pytest.skip("the kernel is not built")
    small = replace(ROWS[STANDARD].shape, layers=2, mlp_width=64, vocabulary=64)
    monkeypatch.setattr(measuring, "_SHAPE", small)
    monkeypatch.setattr(measuring, "_LAYERS", 2)
    monkeypatch.setattr(measuring, "_SECONDS", 0.0)
    monkeypatch.setattr(measuring, "_OWN_SHARE", 0.0)  # other tests may run
    first = machine_speed()
    assert first is not None and all(ratio > 0 for ratio in astuple(first))
    machine_speed.cache_clear()  # another process
    monkeypatch.setattr(measuring, "measure", None)
    assert machine_speed() == first
    (kept,) = cache.glob("speed-*.json")
    kept.write_text("damaged")
    machine_speed.cache_clear()
    monkeypatch.setattr(measuring, "measure", lambda _: REFERENCE)
    assert machine_speed() == REFERENCE, "what cannot be read is measured again"


def test_what_other_programs_disturbed_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine time passes without processor time; a token and a prompt on two threads take twice their time of it."""
    if open_kernel() is None:
        pytest.skip("the kernel is not built")
    for speed, is_kept in ((MachineSpeed(13.2, 1.6, 10.0, 1.0), False), (MachineSpeed(0.5, 1.0, 0.5, 1.0), True)):
        machine_speed.cache_clear()
        monkeypatch.setattr(measuring, "measure", lambda _, speed=speed: speed)
        assert machine_speed() == speed and bool(list(cache.glob("*"))) == is_kept


def test_without_the_kernel_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEVEL_VARIABLE, "off")
    assert machine_speed() is None
