"""Installed code, the JDK's archive, and a user's own folders and archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from green_code.problems import Problem
from green_code_lab.corpus.files import Report
from green_code_lab.corpus.installed import installed_files
from green_code_lab.corpus.jdk import jdk_files
from green_code_lab.corpus.own_code import own_files
from tests.lab.corpus.samples import code

JAVA = "class A {}\n" * 60


def test_this_interpreters_library_is_found() -> None:
    first = next(installed_files(Report()))
    assert (first.project, first.licence) == ("cpython", "PSF-2.0")


def test_jdk_archive(tmp_path: Path) -> None:
    path = tmp_path / "src.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("java.base/java/lang/A.java", "/*\n * Copyright\n */\npackage java.lang;\n" + JAVA)
        archive.writestr("jdk.localedata/sun/B.java", JAVA)
        archive.writestr("java.base/java/lang/VersionProps.java", 'String java_version =\n  "21.0.13";')
    (only,) = jdk_files(path, Report())
    assert (only.project, only.version) == ("java.base", "21.0.13")
    assert only.text.startswith("package")


@pytest.mark.parametrize("content", [None, b"no archive", "empty"])
def test_a_jdk_archive_that_cannot_be_read(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "src.zip"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        zipfile.ZipFile(path, "w").close()
    with pytest.raises(Problem, match=r"cannot be read|no Java sources"):
        list(jdk_files(path, Report()))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    for name in (
        "main.py",
        "core/a.py",
        "core/secrets.py",
        ".git/b.py",
        "venv/lib/site-packages/c.py",
        "node_modules/d.py",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(code(600, len(name)))
    (root / "core" / "A.java").write_text(JAVA)
    (root / "core" / "stub.pyi").write_text(code(600, 9))
    (root / "core" / "again").symlink_to(root)
    (root / "core" / "odd.py").write_bytes("x = 'é'".encode("latin-1"))
    return root


def test_a_folder_is_a_project_without_what_others_wrote(project: Path) -> None:
    report = Report()
    files = list(own_files(project, report))
    assert {(f.name, f.language, f.licence) for f in files} == {
        ("app/main.py", "python", "own"),
        ("app/core/a.py", "python", "own"),
        ("app/core/A.java", "java", "own"),
    }
    assert report.counts == {"folders of builds, packages or settings": 3, "undecodable": 1, "looks like a secret": 1}


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.xz"])
def test_an_archive_holds_what_its_folder_does(project: Path, tmp_path: Path, suffix: str) -> None:
    archive = tmp_path / f"app{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for path in project.rglob("*.*"):
                zipped.write(path, path.relative_to(project))
    else:
        with tarfile.open(archive, f"w:{suffix.split('.')[-1]}") as tarred:
            tarred.add(project, ".")
    wanted = {(f.name, f.text) for f in own_files(project, Report())}
    assert {(f.name, f.text) for f in own_files(archive, Report())} == wanted


def test_members_that_point_outside_write_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    archive = tmp_path / "in" / "evil.tar"
    with tarfile.open(archive, "w") as tarred:
        entry = tarfile.TarInfo("../../evil.py")
        entry.size = 600
        tarred.addfile(entry, io.BytesIO(b"x" * 600))
        link = tarfile.TarInfo("link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tarred.addfile(link)
    assert list(own_files(archive, Report())) == []
    assert {p.name for p in tmp_path.rglob("*")} == {"in", "evil.tar"}


@pytest.mark.parametrize("name", ["none", "cut.tar.gz", "cut.zip", "notes.txt"])
def test_what_is_no_code_base_is_reported(tmp_path: Path, name: str) -> None:
    if name != "none":
        (tmp_path / name).write_bytes(b"\x1f\x8b cut short")
    with pytest.raises(Problem, match=f"{name} (is neither|cannot be read)"):
        list(own_files(tmp_path / name, Report()))
