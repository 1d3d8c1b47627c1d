"""Source distributions from an index on this machine: what is taken, kept and refused."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from green_code.problems import Problem
from green_code_lab.corpus.files import Report
from green_code_lab.corpus.sdists import LIST, index_url, listed, sdist_files
from green_code_lab.corpus.split import HELD_OUT
from tests.lab.corpus.samples import code


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site" / "simple").mkdir(parents=True)
    return tmp_path / "site"


@pytest.fixture
def index(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/simple/"
    server.shutdown()
    thread.join()
    server.server_close()


def publish(site: Path, name: str, licence: str, digest: str | None = None) -> None:
    """Version 1.0 of a project, as an index holds it."""
    archive = site / f"{name}-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tarred:
        for path, text in {
            "PKG-INFO": f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\nLicense-Expression: {licence}\n\n",
            f"src/{name}/core.py": code(900, len(name)),
            f"src/{name}/_vendor/other.py": code(900, 1),
        }.items():
            entry = tarfile.TarInfo(f"{name}-1.0/{path}")
            entry.size = len(text)
            tarred.addfile(entry, io.BytesIO(text.encode()))
    digest = digest or hashlib.sha256(archive.read_bytes()).hexdigest()
    (site / "simple" / name).mkdir()
    (site / "simple" / name / "index.html").write_text(
        f'<!DOCTYPE html><a href="/{archive.name}#sha256={digest}">{archive.name}</a>'
    )


def test_permissive_projects_are_taken_with_version_and_licence(site: Path, index: str, tmp_path: Path) -> None:
    publish(site, "free", "MIT")
    publish(site, "copyleft", "GPL-3.0-only")
    report = Report()
    (only,) = sdist_files([("free", "1.0"), ("copyleft", "1.0")], tmp_path / "cache", index, report)
    assert (only.project, only.version, only.licence, only.path) == ("free", "1.0", "MIT", "src/free/core.py")
    assert report.examples == {"packages of other licences": ["copyleft (GPL-3.0-only)"]}


def test_a_download_is_kept(site: Path, index: str, tmp_path: Path) -> None:
    publish(site, "free", "MIT")
    first = list(sdist_files([("free", "1.0")], tmp_path / "cache", index, Report()))
    assert list(sdist_files([("free", "1.0")], tmp_path / "cache", "http://127.0.0.1:1/", Report())) == first


def test_what_the_index_cannot_give_whole_is_counted(site: Path, index: str, tmp_path: Path) -> None:
    publish(site, "free", "MIT")
    publish(site, "damaged", "MIT", digest="0" * 64)
    projects = [("free", "1.0"), ("free", "2.0"), ("damaged", "1.0"), ("absent", "1.0")]
    report = Report()
    assert len(list(sdist_files(projects, tmp_path / "cache", index, report))) == 1
    assert report.counts == {"projects not downloaded": 3}
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["free-1.0.tar.gz"]
    with pytest.raises(Problem, match="none of the listed"):
        list(sdist_files([("absent", "1.0")], tmp_path / "cache", index, Report()))


def test_an_index_out_of_reach_is_said_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="--sources installed,jdk") as caught:
        list(sdist_files([("free", "1.0")], tmp_path, "http://me:secret@127.0.0.1:1/simple/", Report()))
    assert "secret" not in str(caught.value)


def test_the_index_is_pips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1/simple/")
    assert index_url() == "http://127.0.0.1/simple/"


def test_the_list_is_pinned_and_has_no_held_out_project() -> None:
    names = [name for name, _ in listed(LIST.read_text())]
    assert len(names) == len(set(names)) >= 60
    assert not HELD_OUT & set(names)
    with pytest.raises(Problem, match="line 2"):
        listed("flask==3.1.3\nflask>=3\n")
