"""What is held out shares no project with what is trained on, as far as there are projects."""

from __future__ import annotations

import pytest

from green_code_lab.corpus.files import OWN, Report, SourceFile
from green_code_lab.corpus.split import split, within_share
from tests.lab.corpus.samples import file


def own(projects: int, folders: int, files: int, characters: int = 100) -> list[SourceFile]:
    return [
        file(f"p{p}", "x" * characters, f"src/f{f}/m{m}.py", OWN)
        for p in range(projects)
        for f in range(folders)
        for m in range(files)
    ]


def test_named_projects_are_held_out() -> None:
    files = [file(name, "x", language="java") for name in ("java.base", "java.logging", "java.sql")]
    parts, units = split([*files, file("numpy", "x"), file("mine", "x"), file("numpy", "x", licence=OWN)], 1)
    assert [f.project for f in parts["java", "heldout"]] == ["java.logging"]
    assert {(f.project, f.licence) for f in parts["python", "heldout"]} >= {("numpy", "MIT")}
    assert ("mine", "MIT") in {(f.project, f.licence) for f in parts["python", "train"]}
    assert units["java"] == "project"


@pytest.mark.parametrize(
    ("files", "unit"),
    [
        (own(30, 2, 5), "project"),
        (own(1, 30, 5), "folder"),
        ([file("p", "x" * 100, f"{i % 2}/{i % 40}/{i}.py", OWN) for i in range(200)], "folder"),
        (own(1, 1, 60), "file"),
        (own(2, 1, 30), "file"),  # half of the code is too much to hold out
        ([*own(2, 20, 5), *own(1, 1, 1, 20)], "folder"),  # and next to nothing is too little
    ],
)
def test_the_unit_is_the_coarsest_that_can_be_held_out(files: list[SourceFile], unit: str) -> None:
    keys = {"project": lambda f: f.project, "folder": lambda f: f.name.rsplit("/", 1)[0], "file": lambda f: f.name}
    for seed in range(5):
        parts, units = split(files, seed)
        assert units == {"python": unit}
        held, trained = parts["python", "heldout"], parts["python", "train"]
        assert not {keys[unit](f) for f in held} & {keys[unit](f) for f in trained}
        assert 0.01 < sum(len(f.text) for f in held) / sum(len(f.text) for f in files) <= 0.1
        assert sorted(f.name for f in held + trained) == sorted(f.name for f in files)


def test_the_seed_draws() -> None:
    def held(seed: int) -> set[str]:
        return {f.project for f in split(own(30, 1, 2), seed)[0]["python", "heldout"]}

    assert held(1) == held(1)
    assert len({frozenset(held(seed)) for seed in range(5)}) > 1


def test_a_file_name_in_an_odd_encoding_is_a_name() -> None:
    parts, _ = split([file("p", "x" * 200, f"{i}-\udce9.py", OWN) for i in range(30)], 1)
    assert parts["python", "heldout"]


def test_of_few_files_the_smallest_is_held_out() -> None:
    files = [file("p", "x" * size, f"{size}.py", OWN) for size in (300, 100, 200)]
    assert [f.path for f in split(files, 1)[0]["python", "heldout"]] == ["100.py"]
    assert split(files[:1], 1)[0]["python", "heldout"] == []


def test_no_project_has_more_than_its_share_unless_it_is_the_users() -> None:
    large = [file("large", "x" * 100_000, f"{i}.py") for i in range(60)]
    mine = [file("mine", "x" * 100_000, f"{i}.py", OWN) for i in range(60)]
    report = Report()
    kept = [f.project for f in within_share([*large, *mine], 1, report)]
    assert (kept.count("large"), kept.count("mine")) == (20, 60)
    assert report.counts == {"beyond a project's share": 40}
