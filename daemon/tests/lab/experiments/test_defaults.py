"""Which files are typed with how many threads, what is kept between runs, and the figures; on a tiny model, end to end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from green_code.models.catalog import TINY
from green_code.problems import Problem
from green_code_lab.corpus.files import SourceFile
from green_code_lab.experiments import defaults
from green_code_lab.replay.service import timed_span
from green_code_lab.replay.typist import Typed
from tests.lab.experiments.conftest import Run

TEXTS = {
    "python": "def area{n}(side, height):\n    total = side * {n} + height\n    return total\n\n\n",
    "go": "func Area{n}(side int) int {{\n\treturn side * {n}\n}}\n\n",
    "java": "class Area{n} {{\n    int total(int side) {{\n        return side * {n};\n    }}\n}}\n",
}


def files(*languages: str, project: str = "koa", count: int = 3) -> list[SourceFile]:
    return [
        SourceFile(project, "1", "MIT", f"{language}{i}", language, "".join(TEXTS[language].format(n=100 * i + j) for j in range(12)))
        for language in languages for i in range(count)
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "LINES", 2)
    monkeypatch.setattr(defaults, "most_workers", lambda: 3)
    monkeypatch.setattr(defaults, "jobs_for", lambda _: 1)
    monkeypatch.setattr(defaults, "engine_start", lambda *_: (0.5, 10**8))
    monkeypatch.setattr(defaults, "held_out_files", lambda *_: files("python", "go"))


def test_languages_take_turns_and_a_seed_draws_the_files() -> None:
    spans = defaults.draw(files("python", "go", "java"), 2, seed=0)
    assert [span.language for span in spans] == ["go", "java", "python"] * 2
    assert spans == defaults.draw(files("python", "go", "java"), 2, seed=0)
    assert spans[:3] != defaults.draw(files("python", "go", "java"), 2, seed=1)[:3]


def test_projects_that_were_kept_away_from_choices_come_alone() -> None:
    own = [*files("python", "java"), *files("python", project="networkx", count=1)]
    found = [(span.project, span.language) for span in defaults.draw(own, 2, seed=0)]
    assert found == [("koa", "java"), ("networkx", "python"), ("koa", "java")]


def test_a_model_in_each_mode_and_a_run_that_goes_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replays: list[tuple[str, str]] = []

    def lucky(runtime: Any, span: Any, arm: Any, seed: int) -> tuple[Typed, list[float]]:
        """One suggestion is accepted, which a model with random weights hardly achieves."""
        replays.append((arm.name, span.language))
        typed, waits = timed_span(runtime, span, arm, seed)
        assert len(waits) == 1 + typed.requests - typed.cancelled and all(wait > 0 for wait in waits)
        return replace(typed, accepted=typed.accepted + 1, shown=typed.shown + 1, right=typed.right + 1), waits

    monkeypatch.setattr(defaults, "timed_span", lucky)
    words = ("--models", TINY, "--work", tmp_path)
    first = run("defaults", tmp_path, *words, "--spans", 1)
    every = [(mode, stop) for mode in ("full", "exact", "fast") for stop in ("none", "eager", "balanced", "sure")]
    assert [(arm["mode"], arm["stop"]) for arm in first["arms"]] == every
    assert len(replays) == 3 * 2 * len(every) and len(set(replays)) == 2 * len(every), (
        "both files for joules, and timed with one thread and two"
    )
    full, exact = (
        next(arm for arm in first["arms"] if (arm["mode"], arm["stop"]) == (mode, "none")) for mode in ("full", "exact")
    )
    assert full["cheaper"] == full["kept"] == full["more"] == [1, 1, 1] and full["kept"] == exact["kept"], (
        "exact shows the same text"
    )
    assert {"p50_1", "p95_1", "p50_2", "p95_2"} <= set(full) and full["p50_1"] <= full["p95_1"]
    (model,) = first["models"]
    assert model["resident_mb"] == 100 and model["cold_1"] > 0 and model["cold_2"] > 0
    assert [row["language"] for row in first["languages"]] == ["Go", "Python"]

    replays.clear()
    second = run("defaults", tmp_path, *words, "--spans", 2)
    assert len(replays) == 2 * len(every) and "2 of Go, 2 of Python" in second["settings"]["data"], "only the new files"
    replays.clear()
    assert run("defaults", tmp_path, *words, "--spans", 2)["arms"] == second["arms"] and not replays
    third = run("defaults", tmp_path, *words, "--spans", 3, "--minutes", 1e-9)
    assert third["arms"] == second["arms"] and not replays, "no time is left for further files"


def test_what_cannot_be_measured_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Problem, match="give more --minutes"):
        run("defaults", tmp_path, "--models", TINY, "--work", tmp_path, "--minutes", 1e-9)
    monkeypatch.setattr(defaults, "held_out_files", lambda *_: [])
    with pytest.raises(Problem, match="give the corpus's folder with --work"):
        run("defaults", tmp_path, "--models", TINY, "--work", tmp_path)


@pytest.mark.parametrize(
    ("records", "rows", "file"), [("sides", 8, "README.md"), ("choices", 12, "docs/experiments/defaults.md")]
)
def test_light_and_standard_are_the_readme_s_table_and_the_page_s(records: str, rows: int, file: str) -> None:
    page = Path(__file__).parents[4]
    found = json.loads((page / "docs" / "experiments" / "defaults.json").read_text("utf-8"))
    (table,) = (table for table in defaults.EXPERIMENT.tables if table.records == records)
    assert found[records] == getattr(defaults, records)(found) and len(found[records]) == rows
    assert table.markdown(found).split("\n\n")[-1] in (page / file).read_text("utf-8")


def test_what_the_readme_says_of_full_depth_is_what_was_found() -> None:
    page = Path(__file__).parents[4]
    found = json.loads((page / "docs" / "experiments" / "defaults.json").read_text("utf-8"))
    always, default = (
        next(row for row in found["choices"] if (row["mode"], row["stop"]) == arm)
        for arm in (("full", "none"), ("exact", "balanced"))
    )
    times = [
        always[key][0] / default[key][0] for key in ("light_joules_per_character", "standard_joules_per_character")
    ]
    light, standard = (
        {key[len(side) + 1 :]: row for key, row in always.items() if key.startswith(side)}
        for side in ("light", "standard")
    )
    readme = " ".join((page / "README.md").read_text("utf-8").split())
    assert (
        f"{light['joules_per_character'][0]:.2f} J with *light* and {standard['joules_per_character'][0]:.2f} J with *standard*, "
        f"{light['accepted'][0]:.1%} and {standard['accepted'][0]:.1%} of the characters are accepted, "
        f"and {light['right']:.0%} and {standard['right']:.0%} of the suggestions are right"
    ).replace("%", " %") in readme
    assert (
        f"**{times[0]:.1f} times less energy with the light model, {times[1]:.1f} times with the standard one**"
        in readme
    )
