"""A bundle is changed as a whole or not at all, whenever the process that changes it ends."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from green_code.cli.doctor import check_bundles
from green_code.models.bundle import CALIBRATION, GATE, MANIFEST, bundle_of, changing, load_bundle, write_manifest
from tests.faults import failing, killed_at

_MANIFEST = {"base": {"model": "tiny", "sha256": "0" * 64}, "exits": [1, 2]}


def _version(number: int, file: str = GATE) -> str:
    return json.dumps({"version": number, "file": file})


def _write(path: Path, number: int) -> None:
    with changing(path) as folder:
        (folder / GATE).write_text(_version(number))
        if number % 2:
            (folder / CALIBRATION).write_text("{}")
        else:
            (folder / CALIBRATION).unlink(missing_ok=True)
        write_manifest(folder, _MANIFEST)


def _read(path: Path) -> int:
    """The version; raises Problem if the bundle is neither the old nor the new one."""
    bundle = load_bundle(path)
    version = int(json.loads((path / GATE).read_text())["version"])
    assert (bundle.part(CALIBRATION) is not None) == bool(version % 2)
    return version


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.parametrize("exists", [True, False])
def test_a_kill_at_any_operation_leaves_the_old_or_the_new_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path / "bundles"))
    monkeypatch.setattr(os, "fsync", lambda _: None)
    path, seen = tmp_path / "bundles" / "one", set()
    for operation in range(1, 200):
        if exists:
            _write(path, 2)
            (path / "notes.md").write_text("kept")
        elif path.exists():
            shutil.rmtree(path)
        killed = killed_at(operation, lambda: _write(path, 3))
        if bundle_of("one") is None:
            seen.add(None)
        else:
            seen.add(_read(path))
            assert not exists or (path / "notes.md").read_text() == "kept"
        if not killed:
            break
    assert operation > 10 and seen == {2 if exists else None, 3}
    _write(path, 4)
    assert [one.name for one in path.parent.iterdir()] == ["one"], "what was left is removed"


def test_a_change_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one"
    _write(path, 1)
    with pytest.raises(ZeroDivisionError), changing(path) as folder:
        (folder / GATE).write_text(_version(2))
        assert 1 / 0
    assert failing(monkeypatch, "fsync") == []
    with pytest.raises(OSError, match="Input/output"):
        _write(path, 2)
    assert _read(path) == 1 and [one.name for one in tmp_path.iterdir()] == ["one"]


def test_doctor_sees_no_bundle_in_what_a_killed_process_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path))
    (tmp_path / ".one.new").mkdir()
    (tmp_path / ".one.new" / MANIFEST).write_text("{}")
    finding = check_bundles()
    assert not isinstance(finding, list) and finding.found.startswith("none in")
