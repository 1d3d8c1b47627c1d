"""Packages of Debian and npm: which of their files are taken, and under which licence."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from green_code.problems import Problem
from green_code_lab.corpus import debian, npm
from green_code_lab.corpus.debian import debian_files
from green_code_lab.corpus.files import Report
from green_code_lab.corpus.npm import npm_files
from green_code_lab.corpus.split import HELD_OUT

RUST = "// a file\n" + "".join(f"fn f{i}(x: &'a str) -> usize {{ x.len() + {i} }}\n" for i in range(20))
SCRIPT = "".join(f"export const f{i} = (x) => `${{x}} ${{{i}}}`;\n" for i in range(20))


def make_deb(cache: Path, name: str, licence: str) -> None:
    root = cache / "root"
    documents = root / "usr/share/doc" / name
    sources = root / "usr/share/cargo/registry/free-1.0/src"
    for folder in (root / "DEBIAN", documents, sources):
        folder.mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1.0-2\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: d\n"
    )
    (documents / "copyright").write_text(
        f"Format: https://example.org/\n\nFiles: *\nCopyright: 2020 A\nLicense: {licence}\n"
    )
    (sources / "lib.rs").write_text(RUST)
    subprocess.run(
        ["dpkg-deb", "--build", "-Znone", str(root), str(cache / f"{name}_1.0-2_all.deb")],
        check=True,
        capture_output=True,
    )
    shutil.rmtree(root)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb, a program of Debian")
@pytest.mark.parametrize("relative", [False, True])
def test_debian_packages_with_a_permissive_licence_are_taken(
    relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    make_deb(tmp_path, "librust-free-dev", "Expat or Apache-2.0")
    make_deb(tmp_path, "copyleft", "GPL-3+")
    report = Report()
    (only,) = debian_files(["librust-free-dev", "copyleft"], Path(tmp_path.name) if relative else tmp_path, report)
    assert (only.project, only.version, only.language) == ("librust-free-dev", "1.0-2", "rust")
    assert only.licence == "Expat or Apache-2.0"
    assert report.examples["packages of other licences"] == ["copyleft (GPL-3+)"]
    assert not list(tmp_path.glob("*.tar"))


def make_package(cache: Path, name: str, licence: str) -> None:
    cache.mkdir(exist_ok=True)
    with tarfile.open(cache / f"{name}-1.0.0.tgz", "w:gz") as tarred:
        files = {
            "package.json": json.dumps({"name": name, "license": licence}),
            "src/index.ts": SCRIPT,
            "src/index.d.ts": SCRIPT,
            "lib/index.js": SCRIPT,
            "dist/index.js": SCRIPT,
        }
        for path, text in files.items():
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size = len(text)
            tarred.addfile(entry, io.BytesIO(text.encode()))


def test_npm_packages_give_their_sources_and_not_what_was_compiled_from_them(tmp_path: Path) -> None:
    make_package(tmp_path, "free", "MIT")
    make_package(tmp_path, "closed", "UNLICENSED")
    report = Report()
    files = list(npm_files([("free", "1.0.0"), ("closed", "1.0.0")], tmp_path, report))
    assert [(file.path, file.language, file.licence) for file in files] == [("src/index.ts", "typescript", "MIT")]
    assert report.examples["packages of other licences"] == ["closed (UNLICENSED)"]


def test_the_lists_can_be_read_and_name_what_is_held_out() -> None:
    packages = [name for name, _ in npm.listed(npm.LIST.read_text("utf-8"))]
    names = {*packages, *debian.listed(debian.LIST.read_text("utf-8"))}
    held_out = HELD_OUT & names
    assert {"redux", "librust-serde-json-dev", "ruby-rack", "php-twig", "golang-github-gorilla-mux-dev"} <= held_out
    with pytest.raises(Problem, match=r"npm\.txt, line 1"):
        npm.listed("rxjs")
