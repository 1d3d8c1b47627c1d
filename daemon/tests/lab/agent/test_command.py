"""`green-code train`: bad options fail before anything slow starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from green_code.cli import main
from green_code.models.bundle import write_manifest
from green_code.models.catalog import TINY
from green_code.models.tiny import TinySource


def test_a_prefill_exit_above_the_last_exit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path))
    (tmp_path / TINY).mkdir()
    manifest = {"exits": [2, 4], "prefill_exit": 3, "base": {"model": TINY, "sha256": TinySource().fingerprint()}}
    write_manifest(tmp_path / TINY, manifest)
    assert main(["train", "rollouts", "--model", TINY, "--work", str(tmp_path), "--exits", "2"]) == 1
    assert "prefill exit 3 is above the last of these exits" in capsys.readouterr().err


def test_a_bundle_without_stops_has_none_to_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path))
    (tmp_path / TINY).mkdir()
    write_manifest(tmp_path / TINY, {"exits": [2, 4], "base": {"model": TINY, "sha256": TinySource().fingerprint()}})
    assert main(["train", "watch", "--model", TINY, "--work", str(tmp_path)]) == 1
    assert "run `green-code train stops`" in capsys.readouterr().err
