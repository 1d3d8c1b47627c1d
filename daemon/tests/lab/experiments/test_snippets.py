"""The experiment as a command over a tiny model and two small projects; its rows and prompts by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from green_code.engine.runtime import load_runtime

from green_code.models.catalog import TINY
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem
from green_code_lab.cli.experiments import main
from green_code_lab.corpus.files import SourceFile
from green_code_lab.evaluation.datasets import Row
from green_code_lab.experiments import snippets
from green_code_lab.experiments.plots import draw_snippets
from green_code_lab.experiments.snippets import ADDED, ARMS, INSTEAD, LEFT, TODAY, Beside, Place, snippet

TEXT = "".join(f"value_{i} = compute({i}, value_{i})\n" for i in range(12))


def source(path: str, project: str = "held", language: str = "python") -> SourceFile:
    return SourceFile(project, "1", "MIT", path, language, TEXT)


FILES = [
    *(source(f"{folder}/{name}.py") for folder in ("a", "b") for name in ("one", "two")),
    *(source(f"p/{name}.java", "module", "java") for name in ("One", "Two")),
    source("alone.py", "lonely"),
]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "corpus").mkdir()
    listed = [
        {"part": "heldout", "project": f.project, "path": f.path} for f in FILES if f.path != "b/two.py"
    ]
    lines = [*listed, {"part": "train", "project": "other", "path": "x.py"}]
    (folder / "corpus" / "files.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def written(work: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snippets, "installed_files", lambda report: iter([*FILES, source("x.py", "other")]))
        assert (
            main(["snippets", "--model", TINY, "--work", str(work), "--limit", "2", "--out", str(work)]) == 0
        )
    return work


def test_every_arm_completes_the_same_rows(written: Path) -> None:
    found = json.loads((written / "snippets.json").read_text())
    assert found["rows"] == {"python": 2, "java": 2}
    assert found["projects"] == {"python": {"held": 2}, "java": {"module": 2}}
    assert [(arm["name"], arm["language"]) for arm in found["arms"]] == [
        (name, language) for name in ARMS for language in ("python", "java")
    ]
    for arm in found["arms"]:
        assert arm["all"]["rows"] == 2
        if arm["name"] == TODAY:
            assert (arm["all"]["mean"], arm["all"]["interval"]) == (0, [0, 0])
        if arm["name"] in (TODAY, INSTEAD):
            assert arm["prompt_tokens"] <= found["budget"] + 1  # and the beginning-of-text token


def test_page_and_plot_are_made_from_the_data(written: Path, tmp_path: Path) -> None:
    page = (written / "snippets.md").read_text()
    assert "| where room is left |" in page and str(written) not in page and "2 of held; 2 of module" in page
    draw_snippets(json.loads((written / "snippets.json").read_text()), tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == (written / "snippets.svg").read_bytes()


def test_without_a_corpus_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="make corpus"):
        snippets.project_files(tmp_path)


def test_rows_are_of_the_corpus_and_what_lies_beside_them_of_the_project() -> None:
    names = {file.name for file in FILES} - {"held/b/two.py"}
    places = snippets.choose_places(FILES, names, 9, 0)
    assert {place.row.id for place in places} == names - {"lonely/alone.py"}
    assert all(place.row.prefix + place.row.reference + place.row.suffix == TEXT for place in places)
    assert snippets.choose_places(FILES, names, 9, 1) != places
    beside = {place.row.id: [file.name for file in place.files] for place in places}
    assert beside["held/b/one.py"] == ["two.py", "one.py", "two.py"]
    assert beside["module/p/One.java"] == ["Two.java"]
    with pytest.raises(Problem, match="two files"):
        snippets.choose_places(FILES[-1:], names, 9, 0)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return load_runtime(TINY).vocabulary


def test_what_each_arm_puts_before_the_cursor(
    vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snippets, "PROMPT_TOKENS", 100)
    monkeypatch.setattr(snippets, "ROOM", 60)

    def tokens(text: str) -> int:
        return len(vocabulary.encode(text))

    beside = [Beside("b.py", ["first = 1", "second = 2"])]
    first = "# b.py:\n# first = 1\n# second = 2\n"
    row = Row("a", "python", "x = first\n" * 40 + "y = ", "", "second")
    prompts = {arm: snippets.with_snippet(Place(row, beside), arm, vocabulary).prefix for arm in ARMS}
    assert prompts[TODAY] == prompts[LEFT] == snippets.last_lines(row.prefix, 100, vocabulary)
    assert prompts[ADDED] == first + prompts[TODAY]
    assert prompts[INSTEAD].startswith(first + "x = first\n") and prompts[INSTEAD].endswith("\ny = ")
    assert 90 < tokens(prompts[INSTEAD]) <= 100 < tokens(prompts[ADDED])
    early = replace(row, prefix="x = first\nyyyyyyyyy = 1\n")
    assert snippets.with_snippet(Place(early, beside), LEFT, vocabulary).prefix == first + early.prefix
    late = replace(row, prefix="x = 1\ny = first")
    assert snippets.with_snippet(Place(late, beside), LEFT, vocabulary).prefix == late.prefix, (
        "not known then"
    )


CURSOR = "def area(circle):\n    return circle.radius"


def test_the_window_most_like_the_text_comes_as_comments() -> None:
    far = [f"v = {number}" for number in range(60)]
    near = ["", "def length(circle):", "    return 2 * PI * circle.radius", ""]
    found = snippet("python", CURSOR, [Beside("far.py", far), Beside("near.py", [*far, *near])])
    assert found.startswith("# near.py:\n# v = 50\n")
    assert "# def length(circle):\n#     return 2 * PI * circle.radius\n" in found
    assert found.count("\n") <= snippets.WINDOW + 1
    java = snippet("java", "circle.", [Beside("A.java", ["int radius = circle.radius;  "])])
    assert java == "// A.java:\n// int radius = circle.radius;\n"


@pytest.mark.parametrize(
    ("language", "text", "lines"),
    [
        ("python", CURSOR, []),
        ("python", CURSOR, ["", "  "]),
        ("python", CURSOR, ["nothing = alike"]),
        ("python", "", ["circle = radius"]),
        ("python", CURSOR, ["circle = " + "1 + " * snippets._CHARACTERS]),
    ],
)
def test_nothing_where_nothing_fits(language: str, text: str, lines: list[str]) -> None:
    assert snippet(language, text, [Beside("b.py", lines)]) == ""


def test_how_much_is_looked_through_and_taken() -> None:
    like = ["circle.radius = area(circle)"] * 30
    found = snippet("python", CURSOR, [Beside("b.py", like)])
    assert snippets._CHARACTERS - 40 < len(found) <= snippets._CHARACTERS
    assert snippet("python", CURSOR, [Beside("b.py", ["nothing = alike"] * snippets._LINES + like)]) == ""
    first = snippet("python", CURSOR, [Beside("b.py", like), Beside("c.py", like)])
    assert first.startswith("# b.py:"), "of equals the first"
