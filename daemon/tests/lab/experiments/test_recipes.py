"""The experiment as a command, over a tiny model: what it compares and keeps, and how a cut run goes on."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from green_code.engine.runtime import load_runtime

from green_code.models.catalog import TINY
from green_code_lab.cli.experiments import main
from green_code_lab.corpus import Corpus, open_corpus
from green_code_lab.corpus.files import SourceFile
from green_code_lab.corpus.shards import write_shards
from green_code_lab.experiments import bench, recipes, recipes_page
from green_code_lab.experiments.held_out import divide, open_divided
from green_code_lab.experiments.layers import untouched
from green_code_lab.experiments.plots import draw_recipes
from green_code_lab.experiments.variants import Variant, starting_point, variants
from green_code_lab.lite import checkpoint, progress

FUNCTION = "def area{n}(side, height):\n    total = side * {n} + height\n    return total\n\n\n"
CLASS = "class Area{n} {{\n    int total(int side) {{\n        return side * {n};\n    }}\n}}\n"


DEFAULT = starting_point(6, 2048, 0)
NAMES = ["default", "last-layer-3", "paper-weights", "global-exits"]  # test_variants.py has the others


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus in two languages."""
    folder = tmp_path_factory.mktemp("work")
    parts = {
        (language, part): [
            SourceFile(
                "project",
                "1",
                "MIT",
                f"{part}{i}",
                language,
                "".join(text.format(n=i * 100 + j) for j in range(12)),
            )
            for i in range(count)
        ]
        for language, text in (("python", FUNCTION), ("java", CLASS))
        for part, count in (("train", 60), ("heldout", 8))
    }
    write_shards(folder / "corpus", parts, load_runtime(TINY).vocabulary, 100_000, 1, 1, {})
    return folder


def command(work: Path, out: Path, rows: int = 1) -> list[str]:
    words = ["recipes", "--model", TINY, "--work", str(work), "--out", str(out), "--rows", str(rows)]
    return [*words, "--tokens", "3000", "--trials", "2", "--trial-tokens", "2048"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    _quicken(monkeypatch)


def _quicken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bench, "POSITIONS", 512)
    patch.setattr(progress, "draw", lambda _: None)
    patch.setattr(recipes, "variants", lambda *given: (_few(variants(*given)[0]), ["the others"]))


def _few(found: list[Variant]) -> list[Variant]:
    return [variant for variant in found if variant.name in NAMES]


@pytest.fixture(scope="module")
def written(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, which was cut in the search and in the middle of a variant."""
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        _quicken(patch)
        for name, calls in (("train", 1), ("evaluate", 5)):
            with pytest.MonkeyPatch.context() as cut:
                cut.setattr(bench, name, _cut_after(getattr(bench, name), calls))
                with pytest.raises(KeyboardInterrupt):
                    main(command(work, out))
        assert main(command(work, out)) == 0
    return out


def _cut_after(function: Callable[..., Any], calls: int) -> Callable[..., Any]:
    left = iter(range(calls))

    def counted(*args: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return function(*args)

    return counted


@pytest.fixture
def found(written: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((written / "recipes.json").read_text())
    return content


def test_every_variant_has_the_same_budget_and_the_defaults_exits_are_scored(found: dict[str, Any]) -> None:
    names = {variant["name"]: variant for variant in found["variants"]}
    assert list(names) == NAMES
    late = DEFAULT.exit_groups[-1][0]
    for variant in names.values():
        assert variant["tokens"] == variant["recipe"]["tokens"] == found["tokens"] == 2048
        assert variant["joules"] >= 0 and variant["seconds"] > 0
        assert {*DEFAULT.exits, 6} <= {point["depth"] for point in variant["points"]}
        own = max(e for e in (3, 4) if e <= late) if variant["name"] == "global-exits" else late
        assert [line["depth"] for line in variant["lines"]] == [own, 6]
    trained = {point["depth"] for point in names["global-exits"]["points"] if point["trained"]}
    assert trained == {3, 4, 6}
    assert (names["global-exits"]["score"], names["default"]["score"] is None) == (None, False)


def test_figures_are_against_the_untouched_model(found: dict[str, Any]) -> None:
    untouched = found["untouched"]
    assert [point["depth"] for point in untouched["points"]] == [1, 2, 3, 4, 5, 6]
    assert untouched["lines"][-1]["difference"] == 0
    for variant in found["variants"]:
        rises = [
            by["loss"] / untouched["points"][-1]["languages"][language]["loss"] - 1
            for language, by in variant["points"][-1]["languages"].items()
        ]
        assert len(rises) == 2
        assert variant["last_rise"] == pytest.approx(max(rises))
        last = variant["lines"][-1]
        expected = last["edit_similarity"] - untouched["lines"][-1]["edit_similarity"]
        assert last["difference"] == pytest.approx(expected)


def test_forms_are_those_of_the_defaults_change(found: dict[str, Any]) -> None:
    trained, default = found["forms"][0], found["variants"][0]
    assert trained["points"] == default["points"]
    assert trained["last_rise"] == default["last_rise"]


def test_what_is_finished_is_not_made_again_and_checkpoints_are_gone(
    written: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not list((work / "experiments").rglob(checkpoint.STATE))
    for name in ("train", "score"):
        monkeypatch.setattr(bench, name, _cut_after(getattr(bench, name), 0))
    assert main(command(work, tmp_path)) == 0
    for name in ("recipes.json", "recipes.md", "recipes.svg"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


@pytest.mark.usefixtures("written")
def test_results_of_other_rows_are_not_taken_for_these(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(work, tmp_path, rows=2)) == 1
    assert "is of another run (rows differ); delete the folder" in capsys.readouterr().err


def test_trials_of_another_recipe_or_model_are_not_taken_for_these(work: Path) -> None:
    runtime = load_runtime(TINY)
    one = bench.Bench(runtime, {}, open_divided(work / "corpus", runtime.vocabulary, 1), (), print)
    other = replace(one, untouched=untouched(runtime))
    digests = {one.digest(DEFAULT), one.digest(replace(DEFAULT, learning_rate=1.0)), other.digest(DEFAULT)}
    assert len(digests) == 3


def test_the_page_says_what_the_data_say(found: dict[str, Any], written: Path) -> None:
    page = (written / "recipes.md").read_text()
    default = found["variants"][0]
    cells = [f"{p['agreement'] * 100:.1f}" for p in default["points"] if p["depth"] in DEFAULT.exits]
    assert "Left out: the others." in page
    assert f"| the default | {' | '.join(cells)} |" in page
    assert "--tokens 3000 --trials 2 --trial-tokens 2048 --rows 1 --seed 0" in page
    assert str(written) not in page and str(written) not in json.dumps(found)
    for weight_format in found["forms"]:
        assert f"| {weight_format['label']} | {weight_format['megabytes']:.1f} |" in page


def test_sentences_follow_the_data(found: dict[str, Any]) -> None:
    changed = copy.deepcopy(found)
    default, other = changed["variants"][:2]
    label = f"*{other['label']}*"
    default["score"], other["score"], other["last_rise"] = 0.40, 0.60, 0.05
    other["lines"][-1]["interval"] = [-9.0, -1.0]
    other["lines"][0]["edit_similarity"] = 99.0
    for variant in changed["variants"][2:]:
        variant["score"], variant["last_rise"] = None, 0.0
    learned = {**copy.deepcopy(default), "name": "learned-weights", "label": "learned weights", "score": 0.3}
    paper = next(variant for variant in changed["variants"] if variant["name"] == "paper-weights")
    paper["score"], default["last_rise"] = 0.2, 0.0
    changed["variants"].append(learned)
    trial = changed["search"]["trials"][0]
    changed["search"]["trials"].append(
        {**trial, "number": 2, "score": 0.5, "weights": [[d, 0.25] for d, _ in trial["weights"]]}
    )
    changed["search"]["best"] = 2
    page = " ".join(recipes_page.page(changed).split())
    assert f"The highest score is that of {label}: 60.0, 20.0 points above the default, with one seed" in page
    assert f"it more weight, with {label}." in page
    assert f"for the worse, with {label}." in page
    assert f"best with {label}: from layer {DEFAULT.exit_groups[-1][0]}, edit similarity 99.0" in page
    assert "Trial 3 is best with 50.0" in page
    assert "the learned weights' score is 30.0, the default's 40.0 and the paper's 20.0" in page
    assert f"| learned (trial 3) |{' 0.25 |' * len(trial['weights'])}" in page


def test_a_plot_is_the_same_for_the_same_data(found: dict[str, Any], written: Path, tmp_path: Path) -> None:
    draw_recipes(found, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == (written / "recipes.svg").read_bytes()
    assert "last layer three times as heavy" in (tmp_path / "again.svg").read_text()


def test_weights_are_not_chosen_by_the_text_that_they_are_compared_on(work: Path) -> None:
    divided = open_divided(work / "corpus", load_runtime(TINY).vocabulary, 2048)
    for language in ("python", "java"):
        whole = open_corpus(work / "corpus", load_runtime(TINY).vocabulary, 1, 1).shards[language, "heldout"]
        search, comparison = (
            part.shards[language, "heldout"] for part in (divided.search, divided.comparison)
        )
        assert np.array_equal(np.concatenate([search, comparison]), whole)
        assert comparison[0] == divided.comparison.document_marker
        assert abs(len(search) - len(comparison)) < len(whole) / 4


def test_one_document_is_cut_in_its_middle() -> None:
    shards = {("python", part): np.arange(1, 2001, dtype=np.uint16) for part in ("train", "heldout")}
    divided = divide(Corpus(shards, 1))
    assert [len(part.shards["python", "heldout"]) for part in (divided.search, divided.comparison)] == [
        1000,
        1000,
    ]
