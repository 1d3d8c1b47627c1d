"""Licences, copies, evaluation rows and held-out projects are kept apart."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from green_code.adaptation.corpus import (
    PERMISSIVE,
    SourceFile,
    clean,
    evaluation_windows,
    java_files,
    open_shard,
    python_files,
    write_shards,
)
from green_code.models.sources import open_vocabulary
from green_code.models.tiny import TinySource
from green_code.problems import Problem

WORDS = " ".join(f"name_{i} = call_{i}(argument_{i})" for i in range(40))


def file(project: str, text: str, language: str = "python") -> SourceFile:
    return SourceFile(project, "1", "MIT", f"{project}.py", language, text)


@pytest.mark.parametrize(
    ("licence", "taken"),
    [
        ("MIT", True),
        ("BSD-3-Clause", True),
        ("Apache 2.0", True),
        ("LGPL-3.0", False),
        ("GPL", False),
        ("", False),
        ("Proprietary", False),
        ("Permittivity", False),
    ],
)
def test_only_permissive_licences(licence: str, taken: bool) -> None:
    assert bool(PERMISSIVE.search(licence)) == taken


def test_copies_and_evaluation_rows_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"input": f"<s> {WORDS}", "gt": "x"}) + "\n")
    report: dict[str, int] = {}
    files = [
        file("a", "one = 1\n"),
        file("b", "one  =  1"),
        file("c", "import this\n" + WORDS),
        file("d", "two = 2"),
    ]
    kept = list(clean(files, evaluation_windows([tmp_path / "rows.jsonl"]), report))
    assert [f.project for f in kept] == ["a", "d"]
    assert report == {"copies": 1, "evaluation": 1}


def test_shards_hold_out_whole_projects(tmp_path: Path) -> None:
    vocabulary = open_vocabulary(TinySource(), None)
    files = [
        file("mine", "train me " * 40),
        file("numpy", "hold me " * 40),
        file("java.base", "class A", "java"),
        file("java.logging", "class B", "java"),
    ]
    summary = write_shards(tmp_path, files, vocabulary, 10_000, 1, {})
    assert vocabulary.decode(int(i) for i in open_shard(tmp_path, "python-train")) == "train me " * 40
    assert "hold me" in vocabulary.decode(int(i) for i in open_shard(tmp_path, "python-heldout"))
    assert summary["projects"]["numpy 1"] == {"licence": "MIT", "part": "heldout", "files": 1}
    assert np.asarray(open_shard(tmp_path, "java-train"))[0] == vocabulary.bos


def test_a_language_without_files_is_said(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="no python files for heldout"):
        write_shards(tmp_path, [file("mine", "x = 1")], open_vocabulary(TinySource(), None), 100, 1, {})


def test_this_interpreters_library_is_found() -> None:
    first = next(iter(python_files()))
    assert (first.project, first.licence) == ("cpython", "PSF-2.0")


def test_jdk_archive(tmp_path: Path) -> None:
    path = tmp_path / "src.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "java.base/java/lang/A.java", "/*\n * Copyright\n */\npackage java.lang;\n" + "class A {}\n" * 60
        )
        archive.writestr("jdk.localedata/sun/B.java", "class B {}\n" * 60)
        archive.writestr("java.base/java/lang/VersionProps.java", 'String java_version =\n  "21.0.13";')
    (only,) = java_files(path)
    assert (only.project, only.version) == ("java.base", "21.0.13")
    assert only.text.startswith("package")
    with pytest.raises(Problem, match="cannot be read"):
        list(java_files(tmp_path / "none.zip"))
