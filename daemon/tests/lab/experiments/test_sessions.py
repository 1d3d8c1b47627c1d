"""The experiment as a command over a tiny model, and its typist by hand."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from green_code.models.catalog import TINY
from green_code_lab.cli.experiments import main
from green_code_lab.experiments import sessions
from green_code_lab.experiments.plots import draw_sessions


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sessions")
    words = ["sessions", "--model", TINY, "--limit", "1", "--work", str(folder / "no corpus")]
    assert main([*words, "--out", str(folder)]) == 0
    return folder


def test_exact_types_what_full_depth_types(written: Path) -> None:
    found = json.loads((written / "sessions.json").read_text())
    assert found["files"] == {"python": 1, "java": 1}
    full, exact = found["arms"]  # without an agent there is no fast
    assert full["ratio"] == {"value": 1, "low": 1, "high": 1}
    assert exact["same_texts"] == 1
    assert exact["requests"] == full["requests"] > 0
    # Healing takes the last token back, and it is computed again; the last layer is not run over all.
    assert found["layers"] - 1 <= full["prompt_depth"] <= found["layers"]


def test_page_and_plot_are_made_from_the_data(written: Path, tmp_path: Path) -> None:
    page = (written / "sessions.md").read_text()
    assert "| exact |" in page and str(written) not in page and "too few for figures" in page
    draw_sessions(json.loads((written / "sessions.json").read_text()), tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == (written / "sessions.svg").read_bytes()


class Knowing:
    """Says the rest of the line once `after` characters of it are there, and what goes wrong late before that."""

    model = TINY

    def __init__(self, line: str, after: int) -> None:
        self.line, self.after, self.asked = line, after, list[str]()

    def new_session(self) -> Knowing:
        return self

    def complete(self, params: Any, cancelled: Any, budget: float) -> Any:
        typed = params["prefix"].rpartition("\n")[2]
        self.asked.append(typed)
        rest = self.line[len(typed) :]
        text = rest if len(typed) >= self.after else rest[:6] + "?"
        return {
            "text": text, "energy_joules": 2.0, "cpu_seconds": 0.5, "wall_seconds": 0.5, "tokens": 3,
            "prompt_layers_run": 12, "prompt_tokens": 10, "prompt_reused": 8,
        }  # fmt: skip


def test_the_typist_by_hand() -> None:
    line = "    value = first + second"
    model, arm = Knowing(line, 12), sessions.Arm("exact", "exact", "agent", 0.9)
    file = sessions.File("a", "python", "x = 1\n", f"{line}\n\n", "y = 2\n")
    done = sessions.type_file(model, arm, file)  # type: ignore[arg-type]
    # At 4: wrong from the seventh character on; at 8 that still agrees; at 12 it does not, and the answer is right.
    assert model.asked == [line[:4], line[:12]]
    assert (done.requests, done.typed_along, done.joules, done.tokens) == (2, 1, 4.0, 6)
    assert (done.characters, done.accepted) == (len(line) - 4, len(line) - 12)
    assert (done.prompt_layers, done.prompt_positions) == (24, 4)


def test_sums_by_hand() -> None:
    measured = [
        sessions.Session(file, "python", arm, requests=2, joules=joules, cpu_seconds=1, wall_seconds=1, characters=10, accepted=5, prompt_positions=1)
        for arm, each in ((sessions.FULL, (6.0, 3.0)), ("exact", (4.0, 2.0)))
        for file, joules in zip("ab", each, strict=True)
    ]  # fmt: skip
    found = sessions.summary(sessions.Arm("exact", "exact", "agent", 0.9), measured, 0)
    assert found["ratio"] == pytest.approx({"value": 1.5, "low": 1.5, "high": 1.5})
    assert found["joules_per_request"] == pytest.approx(1.5)
    assert found["accepted"]["value"] == pytest.approx(0.5)


def test_a_place_is_a_whole_number_of_lines_in_the_middle() -> None:
    text = "".join(f"line {i}\n" for i in range(100))
    place = sessions._place("a", "python", text, random.Random(0))
    assert place is not None and place.before + place.lines + place.after == text
    assert place.lines.count("\n") == sessions.LINES and place.before.count("\n") >= 30
    assert sessions._place("a", "python", "one\n" * 5, random.Random(0)) is None
