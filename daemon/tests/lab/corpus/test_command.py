"""The command, from a user's folders to a corpus."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from green_code.models.sources import open_vocabulary
from green_code.models.tiny import TinySource
from green_code.problems import Problem
from green_code_lab.corpus import open_corpus
from green_code_lab.corpus.command import add_arguments, make_corpus
from tests.lab.corpus.samples import code


def run(work: Path, *arguments: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(arguments)
    args.work, args.seed = work, 1
    make_corpus(args, TinySource(), work / "bundle")


def test_a_users_own_folder_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(40):
        path = tmp_path / "app" / f"part{i % 20}" / f"m{i}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code(3_000, i))
    (tmp_path / "app" / "part0" / "copy.py").write_text(code(3_000, 0))
    (tmp_path / "app" / "secrets.py").write_text(code(3_000, 99))
    (tmp_path / "rows.jsonl").write_text(json.dumps({"language": "python", "prefix": code(900, 7), "reference": ""}))
    run(tmp_path, "--from", str(tmp_path / "app"), "--exclude", str(tmp_path / "rows.jsonl"))
    corpus = open_corpus(tmp_path / "corpus", open_vocabulary(TinySource(), None), 20_000, 1_000)
    assert corpus.languages == ("python",)
    about = json.loads((tmp_path / "corpus" / "corpus.json").read_text())
    assert about["split"] == {"python": "folder"}
    assert about["dropped"] == {
        "copies": {"count": 1, "examples": ["app/part0/m0.py"]},
        "holding an evaluation row": {"count": 1, "examples": ["app/part7/m7.py"]},
        "looks like a secret": {"count": 1, "examples": ["app/secrets.py"]},
    }
    assert "1 copies" in capsys.readouterr().out


def test_an_empty_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Problem, match="too small"):
        run(tmp_path, "--from", str(tmp_path / "empty"))


def test_the_jdk_must_be_given_or_left_out(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="--jdk PATH"):
        run(tmp_path, "--sources", "jdk")
    with pytest.raises(SystemExit):
        run(tmp_path, "--sources", "jdk,web")
