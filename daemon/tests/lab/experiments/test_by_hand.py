"""Arithmetic of the experiments against data made by hand, and fakes whose figures are known."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from green_code.engine.loading import Runtime
from green_code.problems import Problem
from green_code_lab.experiments import baselines, drafts, energy, paper, propagation, quality, sessions
from green_code_lab.experiments.common import choose_rows
from green_code_lab.experiments.windows import Spent, spend
from green_code_lab.replay import typist
from green_code_lab.replay.spans import Span
from tests.decoding.reference_forward import reference_forward
from tests.decoding.references import DECODERS, assert_close

LAYERS = range(1, 7)


def costs_of(formula: Any, repetitions: int = 6) -> np.ndarray:
    return np.array([[formula(layer) for layer in LAYERS]] * repetitions, dtype=float)


def test_a_straight_line_is_found_again() -> None:
    line = energy.fit_line(LAYERS, costs_of(lambda layer: 3 + 2 * layer), 0)
    assert line["slope"] == pytest.approx([2, 2, 2]) and line["intercept"] == pytest.approx([3, 3, 3])
    assert line["fixed_share"][0] == pytest.approx(3 / 15)
    assert (line["bend"][0], line["r_squared"]) == pytest.approx((0, 1), abs=1e-9)


def test_a_bend_by_hand() -> None:
    """10 + x² on 1 … 6: least squares gives slope 7 and intercept 10 − 28/3; in the middle the curve is 6.25 below."""
    line = energy.fit_line(LAYERS, costs_of(lambda layer: 10 + layer**2), 0)
    assert (line["intercept"][0], line["slope"][0]) == pytest.approx((10 - 28 / 3, 7))
    assert line["bend"][0] == pytest.approx(-6.25 / (10 - 28 / 3 + 42)) and line["bend"][2] < 0


def test_a_layers_figures_by_hand() -> None:
    windows = {layer: [Spent(layer, 0.5 * layer, 2.0 * layer)] * 3 for layer in (1, 2, 3)}
    two = energy.figures(windows, 0)["arms"][1]
    assert two.pop("joules") == [2, 2, 2]
    assert two == pytest.approx({"layer": 2, "skipped": 1, "line": 2, "of_full": 2 / 3, "cpu_seconds": 1, "wall_seconds": 4})  # fmt: skip


def test_a_window_is_shared_by_its_units_and_a_meter_that_fails_is_told() -> None:
    readings = iter([1.0, 13.0, None, None])
    meter: Any = SimpleNamespace(source="rapl", read_joules=lambda: next(readings), describe=lambda: "a meter")  # fmt: skip
    edges = list[str]()
    assert spend(meter, 0.0, lambda: edges.append("work") or 4, lambda: edges.append("wait")).joules == 3
    assert edges == ["wait", "work", "wait"], "a device's queued work belongs to its window"
    with pytest.raises(Problem, match="gave no readings"):
        spend(meter, 0.0, lambda: 4)


def test_savings_against_both_baselines_by_hand() -> None:
    windows = {name: [Spent(joules, 1, 1)] * 2 for name, joules in (("none", 12.0), ("cache", 1.5), ("agent", 1.2))}  # fmt: skip
    texts = {"none": [[1, 2, 3, 4]], "cache": [[1, 2, 3, 4]], "agent": [[1, 2, 9, 4]]}
    found = baselines.figures(windows, texts)
    assert found[1]["from_uncached"] == pytest.approx([0.875] * 3)
    assert found[2]["from_cached"] == pytest.approx([0.2] * 3)
    assert [arm["same_tokens"] for arm in found] == [1, 1, 0.5]


def test_without_a_cache_every_position_is_computed_for_every_token(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt, count = list(range(5, 40)), 0
    run_layers = runtime.decoder.run_layers

    def counted(first: int, last: int, buffers: Any, start: int, stop: int) -> None:
        nonlocal count
        count += (last + 1 - first) * (stop - start)
        run_layers(first, last, buffers, start, stop)

    monkeypatch.setattr(runtime.decoder, "run_layers", counted)
    chosen = baselines.arms(runtime)
    tokens = chosen["no cache, full depth"](prompt)
    assert count == 6 * sum(range(35, 35 + baselines.TOKENS))
    count = 0
    assert chosen["cache, full depth"](prompt) == tokens
    # Of the prompt but its last position, the last layer makes keys and values alone.
    assert count == 6 * (35 + baselines.TOKENS - 1) - 34


def test_rows_are_drawn_by_the_seed(runtime: Runtime, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("python.jsonl", "java.jsonl")]
    for path in paths:
        path.write_text("".join(json.dumps({"input": f"x{i} =", "gt": "1"}) + "\n" for i in range(50)))
    args = argparse.Namespace(data=paths, work=tmp_path, limit=5, seed=1)
    chosen, settings = choose_rows(runtime, args)
    assert Counter(row.language for row in chosen) == {"python": 5, "java": 5}
    assert settings["data"] == "rows of python.jsonl and java.jsonl; 5 of Java and 5 of Python, drawn with seed 1"  # fmt: skip
    assert choose_rows(runtime, args)[0] == chosen
    args.seed = 2
    assert choose_rows(runtime, args)[0] != chosen


def test_ratios_of_drafts_by_hand() -> None:
    rows = [
        {"tokens": 2, "passes": 2, "rounds": 1, "texts": ["a", "b"], "joules": 4.0, "full": 6.0, "prompt": 2.0},
        {"tokens": 2, "passes": 3, "rounds": 2, "texts": ["c", "d"], "joules": 6.0, "full": 9.0, "prompt": 3.0},
    ]
    found = drafts.summary("n-grams", rows, [rows[0], {**rows[1], "texts": ["c", "e"]}], 0)
    assert found["whole"] == pytest.approx([1.5] * 3) and found["after_prompt"] == pytest.approx([2.0] * 3)
    assert (found["passes"], found["same"], found["joules_per_token"]) == (3, 0.5, 2.5)
    assert found["tokens_a_pass"] == pytest.approx(5 / 3)


def scored(
    language: str, similarity: float, text: str, joules: float, tokens: int = 1, depth: int = 6
) -> dict[str, Any]:
    return {
        "language": language, "edit_similarity": similarity, "exact_match": 0.0, "rouge_l": 0.5, "bleu": 1.0, "weighted_bleu": 1.0,
        "chrf": 1.0, "syntax_match": None, "text": text, "energy_joules": joules, "energy_full_joules": 9.0, "tokens": tokens,
        "exits": [depth] * tokens, "layers_total": 6, "reason": "", "prompt_tokens": 1, "prompt_reused": 0, "layers_run": 1,
        "prompt_layers_run": 1, "energy_source": "", "cpu_seconds": 0.0, "joules": joules, "layers": depth * tokens, "propagating": 0.5,
    }  # fmt: skip


def test_differences_of_quality_are_of_pairs() -> None:
    full = [scored("python", 50, "a", 4.0), scored("java", 0, "x", 1.0), scored("python", 70, "b", 4.0)]
    done = [scored("python", 40, "a", 1.0, depth=2), scored("java", 0, "y", 1.0), scored("python", 60, "c", 3.0, depth=4)]  # fmt: skip
    python, java = quality.summaries(done, full, done)
    assert (python["from_full"], python["from_untouched"]) == ([-10, -10, -10], None)
    assert (python["same"], python["joules"], python["saved"], python["mean_depth"]) == (0.5, 2.0, 0.5, 3)
    assert (java["same"], java["saved"]) == (0, 0)


def test_the_propagating_cache_is_that_of_the_reference() -> None:
    """Five positions of prompt at full depth, but the last layer's output of one alone; then exits down and up."""
    decoder, layers = DECODERS["tiny"], 6
    depths = [layers - 1] * 3 + [layers] + [5, 2, 6, 1, 3, 2, 6, 1, 4]
    tokens = [3 + (7 * i) % 70 for i in range(len(depths))]
    cache, exact = (kind(decoder, None) for kind in (propagation.PropagatingCache, propagation.PromptAtFullDepth))  # fmt: skip
    for each in (cache, exact):
        each.append(tokens[:5])
        for position in range(4, len(depths)):
            each.advance(position, depths[position], position)
            if position + 1 < len(depths):
                each.append([tokens[position + 1]])
    states, keys, values = reference_forward(decoder, tokens, depths)
    assert_close(cache.states(0, len(depths)), states)
    assert not torch.allclose(torch.from_numpy(exact.states(0, len(depths))[6]), states[6], atol=1e-3), "the first that is deeper than one before"  # fmt: skip
    cache.append([3])  # now the last position is propagated, too
    assert_close(cache.buffers.keys[:, :, : len(depths)].transpose(1, 2), keys)
    assert_close(cache.buffers.values[:, :, : len(depths)].transpose(1, 2), values)
    assert (cache.work - cache.prompt_work).layer_positions == sum(depths[4:])
    assert (cache.propagated, exact.propagated) == (sum(layers - depth for depth in depths[4:]), 0)


def test_changes_by_propagation_are_of_pairs_and_joules_are_a_token() -> None:
    full = [scored("java", 50, "a", 2.0), scored("java", 50, "b", 2.0, 3)]
    exact = [scored("java", 50, "a", 1.0), scored("java", 70, "b", 2.0, 3)]
    (found,) = propagation.summaries(exact, [scored("java", 40, "a", 3.0, 2), scored("java", 60, "c", 3.0, 2)], full)  # fmt: skip
    assert found["similarity_change"] == [-10, -10, -10] and found["same_change"][0] == -0.5
    assert (found["joules"], found["same"], found["equal_texts"], found["layers_propagated"]) == (3 / 4, 1, 0.5, 6)  # fmt: skip
    # The interval's ends are of the first pair alone, and of the second alone.
    assert found["joules_change"] == pytest.approx([6 / 4 - 3 / 4, 3 / 2 - 1 / 1, 3 / 2 - 2 / 3])
    assert "joules_change" not in propagation.summaries(exact, [], full)[0]


def test_deeper_tokens_by_hand() -> None:
    assert propagation.deeper([[13, 13, 15], [18, 15, 13], [13, 18, 15, 13], []]) == 3 / 10
    assert propagation.deeper([[]]) == 0


def test_without_a_cache_every_position_is_paid_for_every_token() -> None:
    work = paper.uncached_work(10, [2, 3], 4)
    assert (work.layer_batches, work.layer_positions, work.head_batches, work.decisions) == (5, 2 * 10 + 3 * 11, 2, 4)  # fmt: skip


def test_sums_of_sessions_by_hand() -> None:
    def summed(**changes: Any) -> dict[str, Any]:
        typed = typist.Typed(Span("p", "python", "", "x", ""), 10, **changes)
        return sessions.sums(typed)

    def fates(taken: float, nothing: float) -> dict[str, float]:
        return {"taken": taken, "wrong": 0.0, "nothing": nothing}

    own = [summed(accepted=4, joules=2.0, shown=1, right=1, requests=5, opening=3.0, by_fate=fates(1.0, 1.0)),
           summed(accepted=4, joules=2.0, shown=3, right=1, rejected=2, requests=5, opening=4.0, by_fate=fates(2.0, 0.0))]  # fmt: skip
    before, full, exact = ([summed(accepted=2, joules=joules)] * 2 for joules in (16.0, 8.0, 3.0))
    compared = {"own": own, sessions.BEFORE: before, sessions.FULL: full, sessions.EXACT: exact}
    found = sessions.summary("own", compared, 0)
    assert found["cheaper_than_before"] == pytest.approx([16] * 3) and found["opening"] == 3.5
    assert found["joules_per_character"] == pytest.approx([0.5] * 3)
    assert found["cheaper_than_full"] == pytest.approx([8] * 3) and found["cheaper_than_exact"] == pytest.approx(
        [3] * 3
    )
    assert (found["accepted"][0], found["more_accepted"][0], found["right"][0]) == pytest.approx((0.4, 2, 0.5))
    per_100 = ("shown_per_100", "rejected_per_100", "requests_per_100", "joules_per_100_keys")
    assert [found[name] for name in per_100] == pytest.approx([20, 10, 50, 20])
    assert (found["taken"], found["wrong"], found["nothing"]) == (0.75, 0, 0.25)


def test_sessions_go_on_where_a_run_was_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each span by each arm once; another bundle's replays are no results of this one."""
    served: list[str] = []

    def replay(_: Any, job: Any) -> dict[str, Any]:
        served.append(f"{job[0].name} {job[1].project}")
        return {"joules": len(served)}

    monkeypatch.setattr(sessions, "_replay", replay)
    monkeypatch.setattr(sessions, "jobs_for", lambda _: 1)
    monkeypatch.setattr(sessions, "version", lambda runtime, arm, seed: f"{runtime}-{arm.name}")
    arms: Any = [SimpleNamespace(name="full"), SimpleNamespace(name="exact")]
    spans: Any = [SimpleNamespace(project=name, before="", text="x = 1") for name in ("a", "b")]
    args = argparse.Namespace(work=tmp_path, seed=0)

    def serve(bundle: str, count: int) -> list[int]:
        served.clear()
        found = sessions._serve(bundle, arms, spans[:count], args, lambda _: None)  # type: ignore[arg-type]
        return [sums["joules"] for sums in found.values()]

    assert serve("old", 1) == [1, 2] and served == ["full a", "exact a"]
    assert serve("old", 2) == [1, 2, 1, 2] and served == ["full b", "exact b"]
    assert serve("new", 1) == [1, 2] and served == ["full a", "exact a"]
