"""Spans: where the cursor rests, what the document is then, and which projects are kept from every choice."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from green_code_lab.replay.spans import FINAL_PROJECTS, Document, Part, Span, documents, draw_spans, kept_away

INDENTED = Span("p", "python", "def f():\n", "    if x:\n        y()", "\n\nf()\n")


def test_a_line_break_and_the_indentation_behind_it_are_one_key() -> None:
    text = INDENTED.text
    assert [text[start:end] for start, end in zip(INDENTED.cursors, INDENTED.cursors[1:], strict=False)] == [
        *"if x:", "\n        ", *"y()"
    ]  # fmt: skip
    assert INDENTED.cursors[0] == 4 and INDENTED.cursors[-1] == len(text) and INDENTED.keys == 9


def test_the_document_has_what_was_typed_between_what_stands_there() -> None:
    for cursor, offset in enumerate(INDENTED.cursors):
        lines, line, index = INDENTED.document_at(cursor)
        typed = INDENTED.before + INDENTED.text[:offset]
        assert "".join(lines) == typed + INDENTED.after
        assert "".join(lines[:line]) + lines[line][:index] == typed


def test_at_the_end_of_a_file_nothing_follows() -> None:
    span = Span("p", "python", "", "x = 1", "")
    assert span.document_at(0) == ([""], 0, 0) and span.document_at(span.keys) == (["x = 1"], 0, 5)


def given(text: str, project: str = "p", language: str = "python") -> Document:
    return Document(project, language, lambda: text)


BODY = "".join(f"x{i} = {i}\n" + "\n" * (i % 3 == 0) for i in range(30))
LANGUAGES = ("c", "java", "python")
FILES = [given(f"# {i} {language}\n{BODY}", f"p{i}", language) for i in range(20) for language in LANGUAGES]


def test_spans_are_whole_lines_with_text_at_both_ends_one_of_each_file() -> None:
    spans = draw_spans(FILES, per_language=8, lines=4, seed=1)
    assert len({(span.project, span.language) for span in spans}) == len(spans) == 8 * len(LANGUAGES)
    texts = {(file.project, file.language): file.text() for file in FILES}
    for span in spans:
        whole = texts[span.project, span.language]
        assert whole.startswith(span.before + span.text) and len(span.text.split("\n")) == 4
        assert span.after == "" or span.before + span.text + span.after == whole
        assert span.before.count("\n") >= 10 and span.text.split("\n")[0].strip() and span.text.split("\n")[-1].strip()
    assert any(not span.after for span in spans) and any(span.after for span in spans)
    assert draw_spans(FILES, 8, 4, 1) == spans != draw_spans(FILES, 8, 4, 2)


def test_languages_take_turns_and_more_spans_begin_with_the_same() -> None:
    few, more = (draw_spans(FILES, count, 4, 1) for count in (3, 8))
    assert [span.language for span in few] == [*LANGUAGES] * 3 and more[: len(few)] == few
    scarce = [file for file in FILES if file.language != "java" or file.project == "p0"]
    assert [span.language for span in draw_spans(scarce, 2, 4, 1)] == [*LANGUAGES, "c", "python"]


def test_no_more_files_are_decoded_than_are_needed() -> None:
    decoded = list[str]()

    def text(name: str) -> str:
        decoded.append(name)
        return BODY

    draw_spans([Document(f"p{i}", "c", partial(text, f"p{i}")) for i in range(50)], 3, 4, 0)
    assert len(decoded) == 3


def test_files_that_are_too_short_or_data_have_none() -> None:
    assert draw_spans([given("x = 1\n" * 9), given(("x" * 500 + "\n") * 40)], 8, 4, 0) == []


def test_every_second_held_out_project_is_kept_away_where_none_is_named() -> None:
    assert kept_away(["requests", "pluggy", *FINAL_PROJECTS]) == FINAL_PROJECTS
    assert kept_away(["one"]) == set()
    four = ["glib", "jq", "curl", "zlib"]
    assert len(kept_away(four)) == 2 and kept_away(four) == kept_away(four[::-1] * 2)


def test_the_projects_of_the_final_part_are_in_no_other(tmp_path: Path) -> None:
    heldout = ["requests", *sorted(FINAL_PROJECTS), "pluggy"]
    projects = {"heldout": heldout, "train": ["flask", "numpy"]}
    entries = [{"part": of, "language": "python", "project": name} for of, own in projects.items() for name in own]
    (tmp_path / "files.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    marker = 0  # each file is the marker and one token
    shards = {
        ("python", of): np.array([token for i in range(len(own)) for token in (marker, 1 + i)])
        for of, own in projects.items()
    }
    corpus: Any = SimpleNamespace(
        languages=["python"],
        shards=shards,
        document_starts=lambda language, of: np.arange(0, len(shards[language, of]), 2),
    )
    vocabulary: Any = SimpleNamespace(decode=lambda ids: f"file {next(iter(ids))}")

    def part(name: Part) -> list[tuple[str, str, str]]:
        return [(file.project, file.language, file.text()) for file in documents(corpus, tmp_path, vocabulary, name)]

    assert part("train") == [("flask", "python", "file 1"), ("numpy", "python", "file 2")]
    assert part("choice") == [("requests", "python", "file 1"), ("pluggy", "python", f"file {len(heldout)}")]
    assert {project for project, _, _ in part("final")} == FINAL_PROJECTS
