"""The writer: every page is what it makes of its data; tables, figures and plots by hand."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from green_code.engine.loading import Runtime
from green_code.problems import Problem
from green_code_lab.cli.experiments import EXPERIMENTS
from green_code_lab.experiments import experiment
from green_code_lab.experiments.experiment import (
    Experiment,
    Table,
    cell,
    interval_figure,
    mean_figure,
    provenance,
    ratio_figure,
    rounded,
)
from green_code_lab.experiments.plots import Bars, Curves
from tests.lab.experiments.conftest import Run

ROOT = Path(__file__).parents[4]
PAGES = ROOT / "docs" / "experiments"
RECORDS = [
    {"name": "a", "language": "python", "x": 1, "y": [0.5, 0.25, 0.75], "none": None},
    {"name": "b", "language": "java", "x": 2.5, "y": [0.25, 0.0, 0.5], "only": 0.001234},
]
FOUND = {
    "experiment": "toy", "date": "2026-01-01", "command": "green-code experiments toy", "commit": "abc", "model": "tiny",
    "weights": "0123456789abcdef", "notes": ["First.", "Second."], "settings": {"data": "rows", "seed": 0}, "arms": RECORDS,
    "machine": {
        "processor": "CPU", "gpu": None, "system": "Linux", "cores": 2, "compute": "kernel", "torch": "2", "threads": 1,
        "python": "3.11", "green_code": "0.1",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_page_is_what_the_writer_makes_of_its_data(name: str) -> None:
    """After a change of the writer: `green-code experiments NAME --redraw`."""
    pages = ROOT / EXPERIMENTS[name].folder
    found = json.loads((pages / f"{name}.json").read_text("utf-8"))
    assert (pages / f"{name}.md").read_text("utf-8") == EXPERIMENTS[name].page(found)
    assert (pages / f"{name}.svg").stat().st_size <= 60_000


def test_every_page_has_an_experiment_and_all_are_small() -> None:
    here = {name for name, experiment in EXPERIMENTS.items() if ROOT / experiment.folder == PAGES}
    assert {page.stem for page in PAGES.glob("*.md")} == {*here, "training"}
    assert sum(path.stat().st_size for path in PAGES.iterdir() if path.suffix in (".md", ".json")) <= 330_000


@pytest.mark.parametrize(
    ("figure", "form", "text"),
    [
        (None, "1", "–"), ("a|b", "", "a\\|b"), (3, "0", "3"), (0.125, "%", "12.5 %"), (-0.125, "+%", "−12.5 %"), (0.0064, "m2", "6.40"),
        (-0.04, "+1", "+0.0"), ([1.5, 1.25, 1.75], "x2", "1.50x [1.25, 1.75]"), ([0.5, -0.25, 1], "+%", "+50.0 % [−25.0, +100.0]"),
    ],
)  # fmt: skip
def test_figures_in_tables(figure: Any, form: str, text: str) -> None:
    assert cell(figure, form) == text


def test_a_table_for_each_value_with_the_columns_that_have_figures() -> None:
    columns = (("name", "name", ""), ("x", "x", "1"), ("none", "none", "1"), ("only", "only", "m1"))
    table = Table("arms", "Arms", "What *x* is.", columns, ("language",))
    assert table.markdown(FOUND).split("\n\n") == [
        "## Arms", "What *x* is.",
        "Python:", "| name | x |\n| :-- | --: |\n| a | 1.0 |",
        "Java:", "| name | x | only |\n| :-- | --: | --: |\n| b | 2.5 | 1.2 |",
    ]  # fmt: skip
    assert table.markdown({"arms": []}) == ""


def toy(plot: Curves | Bars) -> Experiment:
    table = Table("arms", "Arms", "Text.", (("name", "name", ""), ("y", "y", "%")))
    text = "What\nis y?\n\nBy counting.\n"
    return Experiment("toy", "A toy", text, lambda *_: {}, {}, (table,), plot)


CURVES = Curves("y over x", "arms", None, "x", "y", "x", "y", "name")


def test_a_page_has_question_notes_tables_method_and_provenance() -> None:
    page = toy(CURVES).page(FOUND).split("\n\n")
    assert page[:5] == ["# A toy", "What is y?", "![y over x](toy.svg)", "- First.\n- Second.", "## Arms"]
    assert page[6].endswith("| a | 50.0 % [25.0, 75.0] |\n| b | 25.0 % [0.0, 50.0] |")
    assert page[7:9] == ["## How it was measured", "By counting."]
    machine = "CPU, Linux, usable cores: 2, kernel, torch 2, threads: 1, Python 3.11, Green Code 0.1"
    conditions = ("date: 2026-01-01", "commit: abc", f"machine: {machine}", "model: tiny, weights 0123456789ab")  # fmt: skip
    assert page[9].splitlines() == [f"- {condition}" for condition in (*conditions, "data: rows", "seed: 0")]
    assert page[10] == "```\ngreen-code experiments toy\n```"


@pytest.mark.parametrize("plot", [CURVES, Bars("y", "arms", "language", "name", (("y", "y"), ("only", "z")), "share")])
def test_a_plot_is_small_and_the_same_for_the_same_data(plot: Curves | Bars, tmp_path: Path) -> None:
    texts = []
    for _ in range(2):
        toy(plot).write(FOUND, tmp_path)
        texts.append((tmp_path / "toy.svg").read_text("utf-8"))
    text = texts[0]
    assert text == texts[1]
    assert "<svg" in text and "Date" not in text and len(text) < 20_000
    assert not any(len(number.partition(".")[2]) > 2 for number in text.split('d="')[1].partition('"')[0].split())  # fmt: skip


def test_figures_and_their_intervals() -> None:
    assert mean_figure([1.0, 1.0]) == [1, 1, 1]
    assert ratio_figure([(3.0, 2.0), (6.0, 4.0)], 0) == [1.5, 1.5, 1.5]
    value, low, high = interval_figure([1.0, 2.0, 3.0], sum)
    assert (value, low <= 6 <= high) == (6, True)
    assert rounded({"a": [1 / 3, 12, (1234567.0, "x")]}) == {"a": [0.333333, 12, [1234570.0, "x"]]}


def test_a_page_is_written_anew_from_its_data(run: Run, tmp_path: Path) -> None:
    for end in ("json", "md", "svg"):
        (tmp_path / f"rewards.{end}").write_bytes((PAGES / f"rewards.{end}").read_bytes())
    data = json.loads((tmp_path / "rewards.json").read_text("utf-8"))
    data["notes"] = ["Another sentence."]
    (tmp_path / "rewards.json").write_text(json.dumps(data), "utf-8")
    run("rewards", tmp_path, "--redraw")
    assert "- Another sentence." in (tmp_path / "rewards.md").read_text("utf-8")


def test_what_cannot_be_is_told(run: Run, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="--limit must be more than 0"):
        run("layers", tmp_path, "--limit", 0)
    with pytest.raises(Problem, match="give another folder with --out"):
        run("layers", tmp_path, "--redraw")
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(Problem, match="give files that hold rows with --data"):
        run("layers", tmp_path, "--data", tmp_path / "rows.jsonl")
    with pytest.raises(Problem, match="green-code train rollouts"):
        run("rewards", tmp_path, "--work", tmp_path)


def test_a_page_has_a_command_that_can_be_given_again(runtime: Runtime) -> None:
    options = {"model": Path("there/tiny"), "data": [], "device": "", "seed": 0}
    assert provenance(runtime, "layers", options)["command"] == "green-code experiments layers --model tiny --seed 0"


def test_a_page_names_the_card_that_computed(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    assert provenance(runtime, "layers", {})["machine"]["gpu"] is None
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda card: f"card {card.index}")
    monkeypatch.setattr(experiment, "gpu_uuid", lambda card: f"GPU-{card.index}")
    for gpu, name in (("GPU-1", "card 1"), ("mps", "mps")):
        other: Any = SimpleNamespace(model="m", weights="", decoder=SimpleNamespace(gpu=gpu, description=""))
        assert provenance(other, "layers", {})["machine"]["gpu"] == name
