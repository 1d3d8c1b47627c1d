"""Which thresholds become presets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from green_code.link.messages import CompletionParams
from green_code_lab.agent import calibrate as calibrating
from green_code_lab.agent.calibrate import FULL_DEPTH, LINES, THRESHOLDS, calibrate, choose_presets, file_means
from green_code_lab.evaluation.watch import unlike_rows

FULL = {"threshold": FULL_DEPTH, "saving": 0.05, "joules": 1.9, "joules_full": 2.0, "edit_similarity": 60.0}


def point(threshold: float, saving: float, quality: float, balanced: float, saver: float) -> dict[str, Any]:
    """The last three are p-values."""
    p = {"quality": quality, "balanced": balanced, "saver": saver}
    joules = {"joules": 2 * (1 - saving), "joules_full": 2.0}
    unlike = {"loses": False}
    return {
        "threshold": threshold,
        "saving": saving,
        "edit_similarity": 59.0,
        "p_values": p,
        "unlike": unlike,
        **joules,
    }


def test_a_preset_saves_most_among_the_certified_and_full_depth_is_always_one() -> None:
    curve = [
        point(0.5, 0.3, 0.9, 0.5, 0.01),
        point(0.8, 0.2, 0.01, 0.04, 0.01),
        point(0.9, 0.1, 0.3, 0.02, 0.01),  # tested first: quality ends here, although 0.8 would be certified
    ]
    presets = choose_presets([*curve, FULL])
    assert {name: preset["threshold"] for name, preset in presets.items()} == {
        "quality": FULL_DEPTH,
        "balanced": 0.8,
        "saver": 0.5,
    }
    assert presets["saver"]["saved_joules"] == pytest.approx(0.6)
    assert presets["quality"]["saving"] == 0.05  # drafts'
    assert presets["quality"]["confidence"] == 0.95


def test_a_threshold_that_saves_less_than_full_depth_with_drafts_is_no_preset() -> None:
    assert choose_presets([point(0.9, 0.04, 0.01, 0.01, 0.01), FULL])["saver"]["threshold"] == FULL_DEPTH


def test_a_threshold_that_loses_on_lines_unlike_the_corpus_is_no_preset() -> None:
    harmful = {**point(0.8, 0.2, 0.01, 0.01, 0.01), "unlike": {"loses": True}}
    presets = choose_presets([harmful, point(0.9, 0.1, 0.01, 0.01, 0.01), FULL])
    assert {preset["threshold"] for preset in presets.values()} == {0.9}


def test_a_file_counts_once_by_the_mean_of_its_lines() -> None:
    full = [{"edit_similarity": value} for value in (10.0, 20.0, 30.0, 40.0)]  # first lines, then second ones
    done = [{"edit_similarity": value} for value in (8.0, 20.0, 26.0, 40.0)]
    found = file_means(full, done, 2, seed=0)
    assert sorted(zip(*found, strict=True)) == [(20.0, 17.0), (30.0, 30.0)]


def test_lines_of_a_file_are_tested_together_and_few_files_certify_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of two languages, completed by their own names, so that the texts show which rows are of a file."""
    files = [(language, f"# {language} {n}\n" * 10 + "value = compute(value)\n" * 10) for n in range(40) for language in ("python", "java")]  # fmt: skip
    short = [("python", "too = short")]
    monkeypatch.setattr(calibrating, "held_out_documents", lambda *_: iter([*files, *short]))
    grouped: list[list[set[str]]] = []

    def watched(full: Any, done: Any, count: int, seed: int) -> Any:
        grouped.append([{row["text"] for row in full[file::count]} for file in range(count)])
        return file_means(full, done, count, seed)

    monkeypatch.setattr(calibrating, "file_means", watched)

    def complete(requests: Iterable[CompletionParams]) -> Iterator[dict[str, Any]]:
        for params in requests:
            name, fast = params["prefix"].split("\n")[0], params["decoding"] == "fast"
            careful = not fast or float(params["threshold"]) >= 0.9
            yield {
                "text": name if careful else "",
                "exits": [18 if careful else 13], "tokens": 1, "layers_run": 18, "layers_total": 18, "prompt_tokens": 9,
                "prompt_layers_run": 162, "energy_joules": float(params["threshold"]), "energy_full_joules": 1.0,
                "energy_source": "estimate", "wall_seconds": 0.0, "cpu_seconds": 0.0, "reason": "end_of_line",
                "prompt_reused": 0,
            }  # fmt: skip

    runtime: Any = SimpleNamespace(vocabulary=None, model="m", energy_source="estimate", weights="w")
    found = calibrate(runtime, None, 20, LINES, 1, complete, lambda _: None)  # type: ignore[arg-type]
    assert (found["reference"]["rows"], found["reference"]["files"]) == (40 * LINES, 40)
    assert len(grouped) == len(THRESHOLDS)
    for by_file in grouped:
        assert all(len(texts) == 1 for texts in by_file) and len(set.union(*by_file)) == 40
    assert {preset["threshold"] for preset in found["presets"].values()} == {FULL_DEPTH}
    assert all(each["unlike"]["rows"] == len(unlike_rows()) for each in found["curve"])
    agreements = {point["threshold"]: point["agreement"] for point in found["curve"]}
    assert (agreements[0.8], agreements[0.9]) == (0, 1)
    short = calibrate(runtime, None, 1, 1, 1, complete, lambda _: None)  # type: ignore[arg-type]
    assert short["reference"]["rows"] == 2
    assert {each["unlike"]["rows"] for each in short["curve"]} == {2}, "no more lines unlike the corpus than like it"
