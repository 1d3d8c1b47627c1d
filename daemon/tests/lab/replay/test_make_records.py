"""`green-code train records` on `tiny-random`: balanced over the corpus's languages, and made once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from green_code.cli import main
from green_code.engine.loading import Runtime
from green_code_lab.cli import train_stops
from green_code_lab.corpus.files import SourceFile
from green_code_lab.corpus.shards import write_shards
from green_code_lab.replay.record import weights_key
from green_code_lab.replay.records import read_records
from tests.engine.sessions import tiny_runtime

LANGUAGES = ("c", "java", "rust")
BODY = "x\n" * 24


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with tiny_runtime(tmp_path) as runtime:
        parts = {
            (language, part): [
                SourceFile(f"{part}{i}", "1", "MIT", f"{i}.txt", language, f"{language} {i}\n{BODY}") for i in range(6)
            ]
            for language in LANGUAGES for part in ("train", "heldout")
        }  # fmt: skip
        write_shards(tmp_path / "corpus", parts, runtime.vocabulary, 10_000, 1, 1, {})
        yield runtime


def test_records_are_balanced_over_languages_and_a_run_goes_on(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_stops, "jobs_for", lambda runtime: 1)
    arguments = ["train", "records", "--model", runtime.model, "--work", str(tmp_path), "--spans"]

    def languages(part: str) -> Counter[str]:
        records = read_records(tmp_path / "replay" / part, weights_key(runtime.model))
        return Counter(span.language for span in records.spans)

    assert main([*arguments, "2"]) == 0
    assert languages("train") == dict.fromkeys(LANGUAGES, 2) and languages("choice") == dict.fromkeys(LANGUAGES, 1)
    assert "100%" in capsys.readouterr().out.splitlines()[-1]
    with monkeypatch.context() as patch:
        patch.setattr(train_stops, "record_spans", None)
        assert main([*arguments, "2"]) == 0
    capsys.readouterr()
    assert main([*arguments, "4"]) == 0
    assert languages("train") == dict.fromkeys(LANGUAGES, 4)
    assert "2 of 4 files" in capsys.readouterr().out, "whole files of a shorter run are kept"
