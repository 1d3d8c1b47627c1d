"""Training learns, resumes after any stop (kill -9 too) as if it had not stopped, and refuses what does not fit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from green_code.models.delta import Delta
from green_code.models.sources import open_vocabulary
from green_code.models.tiny import TinySource
from green_code.models.torch_decoder import Decoder
from green_code.models.torch_format import as_tensors
from green_code.problems import Problem
from green_code_lab.corpus import Corpus
from green_code_lab.lite import checkpoint, progress
from green_code_lab.lite.low_rank import merged
from green_code_lab.lite.monitors import Monitors
from green_code_lab.lite.recipe import Recipe
from green_code_lab.lite.scores import score
from green_code_lab.lite.steps import write_delta
from green_code_lab.lite.trainer import Start, TrainingInputs, Windows, train

RECIPE = Recipe(
    exit_groups=((2, 3), (4, 5)),
    weights=tuple((depth, 1.0) for depth in range(2, 7)),
    tokens=64 * 4 * 12,
    learning_rate=3e-3,
    sequence=64,
    batch=4,
    micro_batch=4,
    distillation=0.5,
    guard_tokens=64 * 4 * 6,
)
SOURCE = TinySource()
BASE = as_tensors(dict(SOURCE.tensors(None)))
VOCABULARY = open_vocabulary(SOURCE, None)
BOS = VOCABULARY.bos or 0


def shard() -> np.ndarray:
    return np.array(VOCABULARY.encode("def f(self):\n    return self\n" * 400), np.uint16)


def inputs() -> TrainingInputs:
    shards = {
        (language, part): shard()[:size]
        for language in ("python", "java")
        for part, size in (("train", None), ("heldout", 600))
    }
    return TrainingInputs(SOURCE.config, lambda dtype: BASE, Corpus(shards, BOS), BOS, {"base": "tiny"})


def state(folder: Path) -> dict[str, Any]:
    about = checkpoint.load(folder)
    assert about is not None
    return about


def learned(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a run's checkpoint."""
    return {**BASE, **merged(BASE, checkpoint.weights(folder, state(folder)))}


def run(folder: Path, recipe: Recipe = RECIPE) -> dict[str, torch.Tensor]:
    train(inputs(), recipe, folder, lambda _: None)
    return learned(folder)


def assert_learned_alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """The same change up to rounding, which AdamW makes large where a gradient is next to nothing."""
    for name in one:
        if name.startswith("layers.") and one[name].dim() == 2:
            changes = [(weights[name] - BASE[name]).flatten() for weights in (one, other)]
            assert torch.nn.functional.cosine_similarity(*changes, 0) > 0.99, name


def losses(weights: dict[str, torch.Tensor]) -> dict[int, float]:
    decoder = Decoder.load(SOURCE.config, weights)
    return score(decoder, inputs().corpus, (2, 4), 512, BOS)["python"]["loss"]


@pytest.mark.parametrize("teacher", [pytest.param("last", marks=pytest.mark.slow), "untouched"])
def test_exits_learn(tmp_path: Path, teacher: str) -> None:
    recipe = replace(RECIPE, tokens=RECIPE.tokens * 5, teacher=teacher, distillation=0.2)
    weights = run(tmp_path / "run", recipe)
    before, after = losses(BASE), losses(weights)
    assert all(after[depth] < before[depth] / 2 for depth in (2, 4, 6))


def test_a_run_that_stops_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = Monitors.check_losses

    def stop(self: Monitors, step: int, found: dict[int, float]) -> None:
        checked(self, step, found)
        if step == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Monitors, "check_losses", stop)
        train(inputs(), RECIPE, tmp_path / "stopped", lambda _: None, checkpoint_seconds=0)
    assert state(tmp_path / "stopped")["step"] == 8
    resumed, whole = run(tmp_path / "stopped"), run(tmp_path / "whole")
    for name, weight in whole.items():
        torch.testing.assert_close(resumed[name], weight, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_with_the_same_weights(tmp_path: Path) -> None:
    """kill -9 of another process, twice, against a run that is not disturbed."""
    recipe = replace(RECIPE, tokens=RECIPE.tokens * 8)
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            f"""
            from dataclasses import replace
            from pathlib import Path
            from tests.lab.lite.test_trainer import RECIPE, inputs, train

            recipe = replace(RECIPE, tokens={recipe.tokens})
            train(inputs(), recipe, Path({str(tmp_path / "killed")!r}), print, checkpoint_seconds=0.05)
            """
        )
    )
    written = tmp_path / "killed" / checkpoint.STATE
    reached: list[int] = []
    for _ in range(2):
        before = written.stat().st_mtime_ns if written.is_file() else 0
        process = subprocess.Popen(
            [sys.executable, script], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        )
        while process.poll() is None and not (written.is_file() and written.stat().st_mtime_ns > before):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
        reached.append(state(tmp_path / "killed")["step"])
    assert 0 < reached[0] < reached[1] < recipe.steps
    resumed, whole = run(tmp_path / "killed", recipe), run(tmp_path / "whole", recipe)
    for name, weight in whole.items():
        torch.testing.assert_close(resumed[name], weight, msg=lambda text, name=name: f"{name}: {text}")


def test_a_checkpoint_holds_the_guards_verdict_on_its_own_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a run cut right after a guard would go on with another weight than one that was not."""
    monkeypatch.setattr("green_code_lab.lite.monitors.worst_rise", lambda *_: ("python", 0.05))
    run(tmp_path / "run")  # two guards, each of which raises the last layer's weight by half
    assert state(tmp_path / "run")["monitors"]["last_weight"] == pytest.approx(1.5**2)


def test_going_on_from_a_bundles_weights_begins_at_its_step(tmp_path: Path) -> None:
    half = run(tmp_path / "half", replace(RECIPE, tokens=RECIPE.tokens // 2))
    train(
        replace(inputs(), start=Start(half, RECIPE.steps // 2, earlier=[{"tokens": 7}])),
        RECIPE,
        tmp_path / "rest",
        lambda _: None,
    )
    first = json.loads((tmp_path / "rest" / "log.jsonl").read_text().splitlines()[0])
    assert first["step"] == RECIPE.steps
    found = state(tmp_path / "rest")
    assert (found["warm_from"], found["earlier"]) == (6, [{"tokens": 7}])
    rows = [json.loads(line) for line in (tmp_path / "rest" / "scores.jsonl").read_text().splitlines()]
    assert rows[0]["scores"]["python"]["loss"]["6"] == pytest.approx(losses(half)[6], abs=0.1), "of the start"
    assert found["untouched"]["python"] == pytest.approx(losses(BASE)[6], abs=0.1), "not of the start"


def test_small_parts_of_a_batch_give_the_same_weights(tmp_path: Path) -> None:
    whole, parts = run(tmp_path / "whole"), run(tmp_path / "parts", replace(RECIPE, micro_batch=1))
    assert_learned_alike(parts, whole)


def test_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run")
    with pytest.raises(Problem, match=r"another run \(learning_rate differ"):
        run(tmp_path / "run", replace(RECIPE, learning_rate=1e-5))


def test_checkpoint_of_another_model_or_corpus_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run")
    with pytest.raises(Problem, match=r"another run \(base differ"):
        train(replace(inputs(), subject={"base": "other"}), RECIPE, tmp_path / "run", lambda _: None)


def test_a_log_that_was_cut_in_the_middle_of_a_row_goes_on(tmp_path: Path) -> None:
    progress.add_row(tmp_path, progress.LOG, {"tokens": 1})
    with (tmp_path / progress.LOG).open("a") as log:
        log.write('{"tokens": 2, "los')
    progress.add_row(tmp_path, progress.LOG, {"tokens": 3})
    assert [row["tokens"] for row in progress.rows(tmp_path, progress.LOG)] == [1, 3]


def test_a_damaged_checkpoint_is_reported(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / checkpoint.STATE).write_bytes(b"half a file")
    with pytest.raises(Problem, match="cannot be read"):
        run(tmp_path / "run")


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "run", RECIPE)
    before = learned(tmp_path / "run")

    def full(_tensors: object, checkpoint_id: Path, no_dist: bool) -> None:
        checkpoint_id.mkdir()
        (checkpoint_id / "__0_0.distcp").write_bytes(b"a part")
        raise RuntimeError("unexpected pos 64 vs 0")  # what torch's writer says on a full disk

    monkeypatch.setattr(checkpoint.state_dict_saver, "save", full)
    with pytest.raises(Problem, match=r"free .* GB"):
        checkpoint.save(tmp_path / "run", RECIPE, {"step": 99}, {"weights": BASE})
    assert all(torch.equal(weight, before[name]) for name, weight in learned(tmp_path / "run").items())
    assert len(list((tmp_path / "run").glob("tensors-*"))) == 1


def test_no_room_for_checkpoints_is_said_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(Problem, match="checkpoints need"):
        run(tmp_path / "run")


def test_a_run_goes_on_in_the_room_that_its_second_checkpoint_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "run")
    usage, size = (shutil.disk_usage(tmp_path), sum(w.nbytes for n, w in BASE.items() if n.startswith("layers.")))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4 * size))
    run(tmp_path / "run")
    with pytest.raises(Problem, match="checkpoints need"):
        run(tmp_path / "another")


def test_the_log_of_a_run(tmp_path: Path) -> None:
    run(tmp_path / "run")
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert last["tokens"] == RECIPE.tokens
    assert last["joules"] >= 0 and last["seconds_left"] == 0
    assert last["energy_source"] in ("estimate", "rapl", "nvml")
    scores = [json.loads(line) for line in (tmp_path / "run" / "scores.jsonl").read_text().splitlines()]
    assert [row["tokens"] for row in scores] == [0, RECIPE.tokens // 2, RECIPE.tokens]
    assert set(scores[0]["scores"]["java"]["agreement"]) == {"2", "3", "4", "5", "6"}


def test_what_is_shipped_keeps_what_was_learned(tmp_path: Path) -> None:
    run(tmp_path / "run")
    trained = learned(tmp_path / "run")
    some = {n: w for n, w in trained.items() if "qkv" in n}
    write_delta(BASE, some, 6, tmp_path / "d")
    delta = Delta(tmp_path / "d")
    for name in delta.names:
        change, kept = trained[name] - BASE[name], torch.from_numpy(delta.read(name))
        assert torch.nn.functional.cosine_similarity(kept.flatten(), change.flatten(), 0) > 0.9


def test_windows_begin_as_prompts_do() -> None:
    corpus = Corpus({("python", "train"): np.arange(2, 302, dtype=np.uint16)}, BOS)
    with_bos, without = (Windows(corpus, bos).batch(RECIPE, 3) for bos in (BOS, None))
    assert (with_bos[:, 0] == BOS).all()
    assert torch.equal(with_bos[:, 1:], without[:, 1:])


def test_some_windows_begin_where_documents_do() -> None:
    document = np.array([BOS, *range(5, 205)], np.uint16)
    windows = Windows(Corpus({("java", "train"): np.concatenate([document] * 20)}, BOS), BOS)
    batches = [windows.batch(replace(RECIPE, document_starts=0.5), step) for step in range(50)]
    starts = torch.cat(batches)[:, 1] == 5
    assert 0.4 < starts.float().mean() < 0.6


def test_each_of_many_languages_is_drawn() -> None:
    """Also where a batch has fewer windows than there are languages."""
    shards = {(f"language{i}", "train"): np.full(600, 100 + i, np.uint16) for i in range(10)}
    windows = Windows(Corpus(shards, BOS), BOS)
    drawn = {int(row[1]) for step in range(5) for row in windows.batch(RECIPE, step)}
    assert drawn == set(range(100, 110)), f"of {5 * RECIPE.batch} windows"
