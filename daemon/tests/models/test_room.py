"""Room for a model: estimated as it is written, checked first, and where it lacks, the sentence says what would fit."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from green_code.kernels.binding import open_kernel
from green_code.kernels.weight_format import weight_formats
from green_code.models import conversion, room
from green_code.models.catalog import TINY, find_model
from green_code.models.rows import ROWS
from green_code.models.weights import open_model
from green_code.problems import Problem

pytestmark = pytest.mark.skipif(open_kernel() is None, reason="no kernel is built")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))
    return tmp_path


def memory(monkeypatch: pytest.MonkeyPatch, total: float, free: float) -> None:
    monkeypatch.setattr(room, "total_memory", lambda: int(total))
    monkeypatch.setattr(room, "available_memory", lambda: int(free))


def test_the_estimate_is_what_is_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_DESCRIPTION_BYTES", 0)
    opened = open_model(find_model(TINY), None, weight_formats())
    (folder,) = cache.iterdir()
    written = sum(path.stat().st_size for path in folder.glob("*.npy"))
    weight_format = next(iter(weight_formats()))
    sizes = weight_format.sizes(opened.decoder.config, conversion.Adapters())
    assert room.room_for(opened.decoder.config, sizes).disk_bytes == pytest.approx(written, abs=1000)


def test_a_full_disk_is_noticed_before_anything_is_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    with pytest.raises(Problem, match=r"needs .* on the disk.* 10 MB free") as caught:
        open_model(find_model(TINY), None, weight_formats())
    assert caught.value.reason == "cache_unwritable" and not list(cache.iterdir())


def test_where_memory_lacks_the_largest_model_that_fits_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory(monkeypatch, 4e9, 4e9)
    weight_format = next(iter(weight_formats()))

    def room_of(name: str) -> room.Room:
        config = ROWS[name].shape.config()
        return room.room_for(config, weight_format.sizes(config, conversion.Adapters()))

    largest = max(ROWS.values(), key=lambda row: row.parameters)
    with pytest.raises(Problem, match=r"not enough memory for it: it needs .*; |would fit") as caught:
        room.check_memory("it", room_of(largest.name), lambda c: weight_format.sizes(c, conversion.Adapters()))
    fitting = [name for name in ROWS if room.why_no_memory(room_of(name)) is None]
    best = max(fitting, key=lambda name: ROWS[name].parameters)
    assert f"select a smaller model: {best} would fit." in str(caught.value)
    assert room_of(best).memory_bytes <= 4e9 < room_of(largest.name).memory_bytes


def test_a_conversion_needs_free_memory_for_its_largest_weight(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory(monkeypatch, 4e9, 1e8)
    with pytest.raises(Problem, match=r"its conversion needs .* and 100 MB are free"):
        open_model(find_model(TINY), None, weight_formats())
    assert not list(cache.iterdir())
