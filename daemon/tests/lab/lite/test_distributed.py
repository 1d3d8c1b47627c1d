"""Several processes (gloo, on the CPU) learn what one does, whole or sharded; a run goes on with another number of them."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from green_code_lab.lite import trainer
from green_code_lab.lite.memory import Layout
from green_code_lab.lite.recipe import Recipe
from green_code_lab.lite.trainer import train
from tests.lab.lite.test_trainer import BASE, RECIPE, assert_learned_alike, inputs, learned, run

SHORT = replace(RECIPE, tokens=64 * 4 * 6, distillation=0.5, teacher="untouched")
LOW_RANK = replace(SHORT, rank=4)


@pytest.fixture(autouse=True)
def one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the log: means over all steps, however fast they are."""
    monkeypatch.setattr(trainer, "_REPORT_SECONDS", math.inf)


def _process(rank: int, port: int, folder: Path, recipe: Recipe, layout: Layout) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    AcceleratorState._reset_state(True)  # this process's, which was forked
    whole = inputs()
    # Where weights are sharded, the first process reads them for all.
    own = replace(whole, base=whole.base if rank == 0 or not layout.shard else _never)
    train(own, recipe, folder, lambda _: None, checkpoint_seconds=0, layout=layout)
    torch.distributed.destroy_process_group()


def _never(_: torch.dtype) -> dict[str, torch.Tensor]:
    raise AssertionError("read by another process than the first")


def run_two(folder: Path, recipe: Recipe, layout: Layout) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_process, args=(rank, port, folder, recipe, layout)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0, 0]


def logged(folder: Path) -> dict[str, float]:
    losses: dict[str, float] = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])["losses"]
    return losses


@pytest.mark.parametrize(
    ("recipe", "layout"),
    [(SHORT, Layout(False, False, 2)), (SHORT, Layout(True, True, 1)), (LOW_RANK, Layout(True, False, 2))],
    ids=["whole", "sharded", "sharded-low-rank"],
)
def test_two_processes_learn_what_one_does(tmp_path: Path, recipe: Recipe, layout: Layout) -> None:
    run_two(tmp_path / "two", recipe, layout)
    one = run(tmp_path / "one", recipe)
    assert logged(tmp_path / "two") == pytest.approx(logged(tmp_path / "one"), abs=2e-3)
    assert_learned_alike(learned(tmp_path / "two"), one)


def test_a_sharded_run_goes_on_in_one_process(tmp_path: Path) -> None:
    """Its first half with two; the checkpoint's shards are joined."""
    half = replace(SHORT, tokens=SHORT.tokens // 2)
    run_two(tmp_path / "run", half, Layout(True, False, 2))
    about = json.loads((tmp_path / "run" / "state.json").read_text())
    about["recipe"]["tokens"] = SHORT.tokens  # as of a run that was cut
    (tmp_path / "run" / "state.json").write_text(json.dumps(about))
    assert_learned_alike(run(tmp_path / "run", SHORT), run(tmp_path / "one", SHORT))


def test_low_rank_differences_learn_and_the_base_stays(tmp_path: Path) -> None:
    """With moments of 8 bits, which differ by how a weight is dealt out: other runs could not be compared with them."""
    found = run(tmp_path / "run", replace(LOW_RANK, tokens=RECIPE.tokens * 2, optimiser="adamw8bit"))
    assert (
        logged(tmp_path / "run")["6"]
        < json.loads((tmp_path / "run" / "scores.jsonl").read_text().splitlines()[0])["scores"]["python"]["loss"]["6"]
    )
    for name, weight in found.items():
        if name.startswith("layers.") and weight.dim() == 2:
            singular = torch.linalg.svdvals(weight - BASE[name])
            assert singular[0] > 0 and singular[4:].max() < 1e-4 * singular[0], name
        else:
            assert torch.equal(weight, BASE[name])
