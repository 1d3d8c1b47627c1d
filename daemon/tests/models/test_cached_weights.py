"""The cache of converted weights: damage of any kind is noticed and mended, and half a conversion is never there."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

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


def test_whatever_a_reader_raises_the_model_is_converted_again(cache: Path) -> None:
    """`tokenizers` raises exceptions without a class of their own, and its panics are none."""
    conversions: list[Path] = []
    _open(conversions)
    tokenizer = conversions[0] / "tokenizer.json"
    for normalizer in ({"type": "of no kind"}, {"type": "Precompiled", "precompiled_charsmap": "AAAA"}):
        tokenizer.write_text(
            json.dumps({**json.loads(tokenizer.read_text("utf-8")), "normalizer": normalizer}), "utf-8"
        )
        (tokenizer.parent / HASHES).unlink()
        write_hashes(tokenizer.parent)
        check_hashes(tokenizer.parent, None)
        with pytest.raises(BaseException) as caught:
            Tokenizer.from_file(str(tokenizer))
        assert isinstance(caught.value, Exception) == (normalizer["type"] == "of no kind")
        before = len(conversions)
        _open(conversions)
        assert len(conversions) == before + 1


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_removes_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, end: type[BaseException]
) -> None:
    conversions: list[Path] = []
    _open(conversions)

    def ended(*_: Any) -> Any:
        raise end

    monkeypatch.setattr(weights.Vocabulary, "open", ended)
    with pytest.raises(end):
        _open(conversions)
    assert len(conversions) == 1 and conversions[0].is_dir()


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
