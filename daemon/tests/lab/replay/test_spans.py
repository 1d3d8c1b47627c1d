"""Spans: where the cursor rests, what the document is then, and which projects are kept from every choice."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from green_code_lab.replay.spans import FINAL_PROJECTS, Part, Span, documents, draw_spans

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


def test_spans_are_whole_lines_with_text_at_both_ends_one_of_each_file() -> None:
    body = "".join(f"x{i} = {i}\n" + "\n" * (i % 3 == 0) for i in range(30))
    files = [(f"p{i}", language, f"# {i} {language}\n" + body) for i in range(20) for language in ("python", "java")]
    spans = draw_spans(iter(files), per_language=8, lines=4, seed=1)
    assert [sum(span.language == language for span in spans) for language in ("python", "java")] == [8, 8]
    assert len({(span.project, span.language) for span in spans}) == 16
    texts = {(project, language): text for project, language, text in files}
    for span in spans:
        whole = texts[span.project, span.language]
        assert whole.startswith(span.before + span.text) and len(span.text.split("\n")) == 4
        assert span.after == "" or span.before + span.text + span.after == whole
        assert span.before.count("\n") >= 10 and span.text.split("\n")[0].strip() and span.text.split("\n")[-1].strip()
    assert any(not span.after for span in spans) and any(span.after for span in spans)
    assert draw_spans(iter(files), 8, 4, 1) == spans != draw_spans(iter(files), 8, 4, 2)


def test_files_that_are_too_short_or_data_have_none() -> None:
    short, data = "x = 1\n" * 9, ("x" * 500 + "\n") * 40
    assert draw_spans(iter([("p", "python", short), ("p", "python", data)]), 8, 4, 0) == []


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
        document_starts=lambda language, of: list(range(0, len(shards[language, of]), 2)),
    )
    vocabulary: Any = SimpleNamespace(decode=lambda ids: f"file {next(iter(ids))}")

    def part(name: Part) -> list[tuple[str, str, str]]:
        return list(documents(corpus, tmp_path, vocabulary, name))

    assert part("train") == [("flask", "python", "file 1"), ("numpy", "python", "file 2")]
    assert part("choice") == [("requests", "python", "file 1"), ("pluggy", "python", f"file {len(heldout)}")]
    assert {project for project, _, _ in part("final")} == FINAL_PROJECTS
