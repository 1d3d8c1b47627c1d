"""The form of prompts: figures by hand, and each form over the same rows."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from green_code.engine.loading import Runtime
from green_code.models.catalog import TINY
from green_code_lab.cli import evaluate
from green_code_lab.evaluation.datasets import load_rows
from green_code_lab.experiments import fim
from tests.engine.sessions import filling_in

CODE = "".join(f"def area_{i}(side):\n    total = side * {i} + {i}\n    return total\n\n\n" for i in range(5))


def row(name: str, text: str, joules: float, **changes: Any) -> dict[str, Any]:
    scores = {"edit_similarity": 50.0, "exact_match": 0.0, "opened_joules": 2.0, "prompt": "fim", "prompt_tokens": 10}
    return {"id": name, "text": text, "energy_joules": joules, **scores, **changes}


def test_figures_by_hand() -> None:
    """Only what is right as it is counts, and all joules do."""
    done = [row("a", "total ", 1.0, edit_similarity=100.0, exact_match=1.0), row("b", "totals", 3.0, prompt="prefix")]
    base = [row("a", "", 1.0), row("b", "", 1.0, edit_similarity=20.0)]
    found = fim.figures(done, base, {"a": "total = 1", "b": "total = 2"}, 0)
    assert (found["accepted"], found["joules"], found["accepted_a_joule"][0]) == (2.5, 2.0, 1.25)
    assert (found["edit_similarity"][0], found["from_prefix"][0]) == (75, 40)
    assert (found["exact_match"], found["filled_in"], found["rows"]) == (0.5, 0.5, 2)


def test_rows_are_cut_out_of_files_and_completed_in_each_form(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, data = tmp_path / "code", tmp_path / "rows.jsonl"
    source.mkdir()
    for name in ("one.py", "two.py"):
        (source / name).write_text(f"# {name}\n{CODE}")
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    assert evaluate.run(parser.parse_args(["--cut", str(source), "--data", str(data)])) == 0
    rows = load_rows(data)
    assert len(rows) == 2 and all(r.prefix + r.reference + r.suffix in ((source / n).read_text() for n in ("one.py", "two.py")) for r in rows)  # fmt: skip
    monkeypatch.setattr(fim, "jobs_for", lambda _: 1)
    args = argparse.Namespace(data=[data], limit=2, seed=0, work=tmp_path, model=TINY, beside=[])
    found = fim.measure(filling_in(runtime), args, lambda _: None)
    own = [arm for arm in found["arms"] if arm["language"] == "python"]
    assert [(arm["prompt"], arm["filled_in"]) for arm in own] == [
        ("prefix", 0),
        ("fim 64", 1),
        ("fim 96", 1),
        ("fim 128", 1),
    ]
    assert own[0]["prompt_tokens"] < own[1]["prompt_tokens"] <= own[3]["prompt_tokens"]
    assert own[0]["opened_joules"] < own[1]["opened_joules"]
    assert json.dumps(found)
