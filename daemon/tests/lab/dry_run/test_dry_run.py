"""Every command of docs/paper-models.md, on random weights with the layers and exits of the paper's models."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from green_code.cli import main
from green_code.cli import models as models_command
from green_code.engine import loading
from green_code.engine.assumed_costs import assumed_costs
from green_code.models.bundle import MANIFEST
from green_code.models.conversion import convert
from green_code.models.rows import ROWS
from green_code_lab.agent import ppo
from green_code_lab.cli import train as train_command
from green_code_lab.dry_run import __main__ as dry_run
from green_code_lab.dry_run import checkpoints
from green_code_lab.dry_run.commands import MODELS, steps
from green_code_lab.evaluation import watch
from green_code_lab.lite import steps as lite_steps
from green_code_lab.lite.job import Job
from green_code_lab.lite.trainer import TrainingInputs

PAGE = Path(__file__).parents[4] / "docs" / "paper-models.md"


@pytest.fixture
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets that no option sets; what is done stays the same."""
    for module in (loading, train_command):
        monkeypatch.setattr(module, "measured_costs", lambda decoder, *_: assumed_costs(decoder))
    # In processes of their own, importing torch would take most of the time.
    monkeypatch.setattr(train_command, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(train_command, "jobs_for", lambda _: 1)
    for command in (loading, models_command):
        monkeypatch.setattr(command, "convert_apart", convert)
    monkeypatch.setattr(train_command, "_PPO", {"paper": replace(ppo.PAPER, steps=64, updates=2)})
    monkeypatch.setattr(train_command, "_DOCUMENTS", 4)
    compare = train_command.compare
    monkeypatch.setattr(train_command, "compare", lambda agents, *others: compare(islice(agents, 2), *others))
    monkeypatch.setattr(watch, "_LINES", 2)
    monkeypatch.setattr(watch, "texts", lambda texts=watch.texts: texts()[:1])
    recipe = lite_steps.recipe_named
    monkeypatch.setattr(lite_steps, "recipe_named", lambda *words: replace(recipe(*words), batch=2, tokens=2 * 256))
    monkeypatch.setattr(lite_steps, "MANIFEST_POSITIONS", 512)
    monkeypatch.setattr(lite_steps, "TrainingInputs", partial(TrainingInputs, scored_positions=512))
    monkeypatch.setattr(checkpoints, "_TRAINED", 512)


@pytest.mark.parametrize("model", MODELS)
def test_every_command_of_the_page_works_and_leaves_what_it_should(
    model: str, little_work: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with dry_run.inside(tmp_path):
        checkpoints.provide(model, checkpoints.narrower(ROWS[model].shape, 64, 1024))
        for step in steps(model):
            if step.name != "plan":  # of the whole shape: seconds, and test_memory.py has it
                with monkeypatch.context() as patched:
                    if not step.training:
                        patched.setattr(
                            Job, "base", None
                        )  # all weights in float32, for which most machines have no memory
                    assert main(step.dry) == 0, f"{step.on_page}\n{capsys.readouterr().err}"
                assert step.found()
    bundles = [path for path in (tmp_path / "agent_models").iterdir() if (path / MANIFEST).is_file()]
    converted = list((tmp_path / "cache").glob(f"{model}-{'[0-9a-f]' * 16}"))
    assert len(converted) == 1 + len(bundles), "the base model and each bundle are converted once"


@pytest.mark.parametrize("model", MODELS)
def test_the_page_has_these_commands(model: str) -> None:
    text = " ".join(PAGE.read_text("utf-8").replace("\\\n", " ").split())
    for step in steps(model):
        assert step.on_page in text


@pytest.mark.parametrize("model", MODELS)
def test_at_full_shape_a_bundle_stands_for_the_one_whose_training_is_left_out(model: str) -> None:
    names = [name for name, _, _ in dry_run._commands(model, dry_run.FULL)]
    assert "lite" not in names and names[-5:] == ["untrained", "rollouts", "agent", "calibrate", "paper"]


def test_what_a_command_took_and_its_last_line_are_known(tmp_path: Path) -> None:
    ran = dry_run.run(["green_code", "models", "convert", "nothing"], tmp_path / "log")
    assert ran.status == 1 and "nothing" in ran.last_line
    assert ran.peak > 10_000_000 and ran.seconds > 0
