"""The folders: variables override defaults, and the runtime folder is always private."""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
from pathlib import Path

import pytest
from platformdirs.api import PlatformDirsABC
from platformdirs.macos import MacOS
from platformdirs.unix import Unix
from platformdirs.windows import Windows

from green_code import folders

unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no uids and file modes")


def test_variables_override_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, folder in (
        (folders.CACHE_VARIABLE, folders.cache_dir),
        (folders.DATA_VARIABLE, folders.data_dir),
        (folders.BUNDLES_VARIABLE, folders.bundles_dir),
        (folders.RUNTIME_VARIABLE, folders.runtime_dir),
    ):
        monkeypatch.setenv(name, str(tmp_path / name))
        assert folder() == tmp_path / name


@unix
def test_without_a_session_folder_the_runtime_folder_is_a_private_one_with_the_uid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(folders.RUNTIME_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(folders.platformdirs, "user_runtime_dir", lambda name: str(tmp_path / "missing" / name))
    folder = folders.runtime_dir()
    assert folder == tmp_path / f"green-code-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@unix
def test_without_a_safe_session_folder_the_private_one_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> str:
        raise PermissionError("a folder that others may write to")

    monkeypatch.delenv(folders.RUNTIME_VARIABLE, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(folders.platformdirs, "user_runtime_dir", refuse)
    assert folders.runtime_dir() == tmp_path / f"green-code-{os.getuid()}"


def test_a_session_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(folders.RUNTIME_VARIABLE, raising=False)
    monkeypatch.setattr(folders.platformdirs, "user_runtime_dir", lambda name: str(tmp_path / name))
    assert folders.runtime_dir() == tmp_path / "green-code"


@pytest.mark.parametrize("platform", [Unix, MacOS, Windows])
def test_the_guide_names_the_folders_that_remain_on_each_platform(
    platform: type[PlatformDirsABC], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the class that platformdirs takes there; this machine is only one of them."""
    guide = (Path(__file__).resolve().parents[2] / "docs" / "guide" / "use.md").read_text("utf-8")
    removal = guide[guide.index("Uninstall the extension") :].partition("\n\n")[0]
    named = re.findall(r"(?:~|%LOCALAPPDATA%)[\w./\\ ]*?green-code", removal)
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr("platformdirs.windows.get_win_folder", lambda _: "%LOCALAPPDATA%")
    dirs = platform(folders.APPLICATION)
    for folder in (dirs.user_data_dir, dirs.user_cache_dir):
        shown = folder.replace("/home/me", "~").replace("%LOCALAPPDATA%/", "%LOCALAPPDATA%\\")
        assert any(shown.startswith(path) for path in named), (shown, named)
