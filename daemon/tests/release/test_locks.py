"""The lists that pin what Set Up installs, made by a uv that is scripted: the real one needs the network (make package runs it)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from release import locks
from release.sbom import packages_of

if sys.version_info >= (3, 11):
    import tomllib


def scripted(calls: list[list[str]], fails_at: int | None = None) -> Any:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if len(calls) == fails_at:
            return subprocess.CompletedProcess(
                command, 1, "", "error: dns error: failed to lookup address information\n"
            )
        Path(command[command.index("--output-file") + 1]).write_text(f"a==1 \\\n    --hash=sha256:{len(calls):064x}\n")
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


def test_every_list_has_hashes_for_all_platforms_and_repeats_the_versions_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(locks.subprocess, "run", scripted(calls))
    made = locks.write_locks(tmp_path)
    assert (
        sorted(path.name for path in tmp_path.iterdir())
        == sorted(path.name for path in made)
        == sorted(locks.LISTS.values())
    )
    for number, call in enumerate(calls):
        assert {"--universal", "--generate-hashes", "--no-build"} <= {*call}
        assert call.count("--constraints") == number
    assert [hashes for *_, hashes in packages_of(made[1].read_text())] == [[f"{2:064x}"]]


def test_without_the_index_it_says_so_and_leaves_the_lists_that_were_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks.subprocess, "run", scripted([]))
    locks.write_locks(tmp_path)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    monkeypatch.setattr(locks.subprocess, "run", scripted([], fails_at=2))
    with pytest.raises(locks.LockError, match=r"requirements-hub.txt cannot be pinned.*package index.*dns error"):
        locks.write_locks(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(sys.version_info < (3, 11), reason="no tomllib")
def test_every_extra_for_users_has_a_list() -> None:
    project = tomllib.loads(locks.PROJECT.read_text("utf-8"))["project"]
    assert {*project["optional-dependencies"]} - {"dev", "model"} == {*locks.LISTS} - {""}
    assert project["requires-python"] == f">={locks.OLDEST_PYTHON}"
