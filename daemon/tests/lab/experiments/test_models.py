"""The table of models: which are measured, with which weights, and what is made of samples; and one model from end to end."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import psutil
import pytest

from green_code.models import store
from green_code.models.bundle import Bundle
from green_code.models.catalog import TINY
from green_code.models.rows import ROWS, Row
from green_code.problems import Problem
from green_code_lab.experiments import models
from green_code_lab.experiments.models import Candidate, candidates, check_room, summary, times
from tests.lab.experiments.conftest import Run

HERE = ("gemma-3-270m", "smollm2-135m-instruct")


@pytest.fixture(autouse=True)
def downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models of the catalog are here, and one of them has a bundle."""

    def bundle_of(name: str) -> Bundle | None:
        return Bundle(Path(name), {}, None, {}) if name == HERE[0] else None

    def state_of(row: Row) -> str:
        return "downloaded" if row.name in HERE else "available"

    monkeypatch.setattr(models, "bundle_of", bundle_of)
    monkeypatch.setattr(store, "state_of", state_of)


def test_every_shape_of_the_catalog_is_measured_once_with_published_weights_where_they_are_here() -> None:
    found = candidates([], quick=False)
    assert [(each.name, each.adapted) for each in found if not each.random] == [
        (HERE[0], True),
        (HERE[0], False),
        (HERE[1], False),
    ]
    shapes = [each.row.shape for each in found if each.row is not None and not each.adapted]
    assert len(shapes) == len(set(shapes)) and set(shapes) == {row.shape for row in ROWS.values()}
    assert "smollm2-135m" not in [each.name for each in found], "it has the shape of one that is here"


def test_quick_measures_what_is_here_and_a_name_is_measured_in_any_case() -> None:
    assert {each.name for each in candidates([], quick=True)} == set(HERE)
    (large,) = candidates(["qwen2.5-coder-7b"], quick=True)
    assert large.random
    with pytest.raises(Problem, match="neither a folder"):
        candidates(["missing"], quick=False)


def test_a_model_without_room_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Disk", "free")(1 << 62))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: namedtuple("Memory", "available")(1 << 62))
    check_room(ROWS["smollm2-135m"], tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: namedtuple("Memory", "available")(4 << 30))
    with pytest.raises(Problem, match=r"needs 1\d GB of memory, and 4 are free"):
        check_room(ROWS["qwen2.5-coder-7b"], tmp_path)


def samples(engine: str, token_ms: float, prompt_ms: float) -> list[dict[str, Any]]:
    """Three rounds on a machine that gets slower; the ratio of two engines stays."""
    return [
        {"engine": engine, "threads": 1, "round": n, "bytes": 50_000_000, "token_ms": n * token_ms, "prompt_ms": n * prompt_ms}
        for n in (1, 2, 3)
    ]  # fmt: skip


def test_times_are_medians_and_gains_are_ratios_within_a_round() -> None:
    measured = samples("int8", 10, 100) + samples(models.LLAMA_CPP, 15, 400)
    ours, theirs = times(measured, {"int8": 0.3}, {1: 12.0})
    assert ours["token_ms"] == [20, 10, 30] and ours["gb_per_s"] == pytest.approx(0.3 / 0.020)
    assert ours["token_ms_gain"] == [1.5, 1.5, 1.5] and ours["prompt_ms_gain"] == [4, 4, 4]
    assert theirs["token_ms"][0] == 30 and "gb" not in theirs and "token_ms_gain" not in theirs


def test_the_first_table_is_of_the_format_that_the_product_chooses() -> None:
    formats: list[dict[str, Any]] = [
        {"format": f"int{n}", "bits": 4, "fim": True, "half": 0.5, "seconds": n, "peak_gb": n, "resident_mb": n} for n in (8, 4)
    ]  # fmt: skip
    measured = times(samples("int8", 10, 100) + samples("int4", 6, 100), {"int8": 1, "int4": 0.5}, {1: 10})
    found = summary(formats, measured, None)
    assert (found["chosen"], found["token_1"][0], found["seconds"], found["fim"]) == ("int4", 12, 4, "yes")
    assert summary(formats, measured, ROWS["llama-3.2-1b"])["fim"] == "no (its card)"
    assert summary(formats, measured, ROWS["llama-3.2-1b"])["half"] is None, "random weights agree by chance"


@pytest.mark.slow
def test_a_model_from_end_to_end(tmp_path: Path, run: Run) -> None:
    (model,) = (
        found := run("models", tmp_path, "--models", TINY, "--repetitions", 1, "--work", tmp_path / "work")
    )["models"]  # fmt: skip
    assert model["loads"] == model["int8"] == model["int4"] == "yes", model
    assert {(each["format"], each["rounds"]) for each in found["times"]} == {("int8", 2), ("int4", 2)}
    eight, four = found["formats"]
    assert four["weights_gb"] < eight["weights_gb"] and four["disk_gb"] < eight["disk_gb"]
    assert not list((tmp_path / "work").iterdir())


def test_a_model_that_does_not_load_has_a_line(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    good = ([{"format": "int8", "bits": 8, "fim": True, "half": 0.5, "seconds": 1, "peak_gb": 1, "resident_mb": 1}], times(samples("int8", 10, 100), {"int8": 1}, {1: 10}))  # fmt: skip

    def of_model(candidate: Candidate, *_: object) -> Any:
        if candidate.random:
            raise Problem("model_damaged", "it is damaged")
        return good

    monkeypatch.setattr(models, "_of_model", of_model)
    names = (TINY, "qwen2.5-coder-7b")
    small, large = run("models", tmp_path, "--models", *names, "--work", tmp_path / "work")["models"]
    assert (small["loads"], large["loads"]) == ("yes", "not measured here: it is damaged")
    with pytest.raises(Problem, match="no model could be measured; the first is not measured here: it is damaged"):
        run("models", tmp_path, "--models", names[1], "--work", tmp_path / "work")
