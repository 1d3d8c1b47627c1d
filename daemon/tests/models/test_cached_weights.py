"""The cache of converted weights: damage of any kind is noticed and mended, and half a conversion is never there."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from green_code.kernels.weight_format import weight_formats
from green_code.models import block_hashes, weights
from green_code.models.block_hashes import BLOCK_BYTES, HASHES, check_hashes, write_hashes
from green_code.models.catalog import TINY, find_model
from green_code.models.conversion import DESCRIPTION, convert
from green_code.models.weights import Model, open_model
from green_code.problems import Problem
from tests.faults import failing


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _open(conversions: list[Path], then: Callable[[Path], object] = lambda _: None) -> Model:
    def counted(*args: Any) -> None:
        convert(*args)
        conversions.append(args[3])
        then(args[3])

    return open_model(find_model(TINY), None, weight_formats(), converter=counted)


def _half_random(path: Path) -> None:
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[half:] = random.Random(0).randbytes(len(content) - half)
    path.write_bytes(content)


_DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "half random": _half_random,
    "other JSON": lambda path: path.write_text("[" * 2000),
    "removed": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


def test_what_is_damaged_in_whatever_way_is_converted_again(cache: Path) -> None:
    conversions: list[Path] = []
    _open(conversions)
    [folder] = conversions
    names = sorted(path.name for path in folder.iterdir())
    assert {DESCRIPTION, HASHES, "tokenizer.json"} < set(names)
    cases = [("tokenizer.json", damage) for damage in _DAMAGE] + [(name, "half random") for name in names]
    for count, (name, damage) in enumerate(cases, start=2):
        _DAMAGE[damage](folder / name)
        _open(conversions)
        assert len(conversions) == count, (name, damage)
        check_hashes(folder, None)
    _open(conversions)
    assert len(conversions) == 1 + len(cases)


def test_a_disk_that_damages_every_conversion_is_a_clear_error(cache: Path) -> None:
    conversions: list[Path] = []
    with pytest.raises(Problem, match=r"still cannot be opened .* GREEN_CODE_CACHE_DIR") as caught:
        _open(conversions, lambda folder: (folder / "tokenizer.json").write_bytes(b""))
    assert caught.value.reason == "model_damaged" and len(conversions) == 2 and "doctor" not in str(caught.value)


def test_whatever_a_reader_raises_the_model_is_converted_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `tokenizers` does, whose exceptions have no class of their own."""
    real, conversions = weights.Vocabulary.open, list[Path]()

    def once(*args: Any) -> Any:
        monkeypatch.setattr(weights.Vocabulary, "open", real)
        raise Exception("EOF while parsing a value")

    monkeypatch.setattr(weights.Vocabulary, "open", once)
    _open(conversions)
    assert len(conversions) == 2


def test_a_conversion_that_the_disk_does_not_confirm_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        with pytest.MonkeyPatch.context() as patch:
            calls = iter(range(100))
            failed = failing(patch, "fsync", lambda *_, calls=calls, number=number: next(calls) == number)
            try:
                _open([])
            except Problem as problem:
                assert problem.reason == "cache_unwritable" and failed
            if not failed:
                break
        for folder in cache.iterdir():  # the last call, of the cache itself, fails when the conversion is whole
            check_hashes(folder, None)
            folder.rename(cache.parent / f"aside-{number}")
    assert number > 5


def test_random_blocks_of_a_large_file_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_hashes, "SMALL_BYTES", 2 * BLOCK_BYTES)
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(os.urandom(40 * BLOCK_BYTES + 1))
    small.write_bytes(b"small")
    write_hashes(tmp_path)
    with large.open("r+b") as file:
        file.seek(40 * BLOCK_BYTES)
        file.write(b"\0" if large.read_bytes()[-1] else b"\1")
    check_hashes(tmp_path, 0)
    with pytest.raises(ValueError, match="large is changed in block 40"):
        check_hashes(tmp_path, 41)
    for number in range(1, 41):
        with large.open("r+b") as file:
            file.seek(number * BLOCK_BYTES - 1)
            file.write(b"\0")
    with pytest.raises(ValueError, match="large is changed"):
        check_hashes(tmp_path, 10)
    small.write_bytes(b"smell")
    with pytest.raises(ValueError, match="small is changed"):
        check_hashes(tmp_path, 0)
