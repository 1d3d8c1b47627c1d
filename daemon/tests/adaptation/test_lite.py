"""Training learns, stops and goes on as if it had not stopped, and refuses what does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from green_code.adaptation.export import export_delta, trained_weights
from green_code.adaptation.lite import Recipe, batch_at, evaluate, train
from green_code.models.delta import read_delta
from green_code.models.sources import open_vocabulary
from green_code.models.tiny import TinySource
from green_code.problems import Problem

RECIPE = Recipe(exit_groups=((2, 3), (4, 5)), tokens=64 * 4 * 12, sequence=64, batch=4, learning_rate=3e-3)
SOURCE = TinySource()
BASE = dict(SOURCE.tensors(None))
BOS = open_vocabulary(SOURCE, None).bos


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    vocabulary = open_vocabulary(SOURCE, None)
    ids = np.array(vocabulary.encode("def f(self):\n    return self\n" * 400), np.uint16)
    for language in ("python", "java"):
        ids.tofile(tmp_path / f"{language}-train.bin")
        ids.tofile(tmp_path / f"{language}-heldout.bin")
    return tmp_path


def run(corpus: Path, folder: Path, recipe: Recipe = RECIPE) -> dict[str, torch.Tensor]:
    decoder = train(SOURCE.config, BASE, corpus, folder, recipe, BOS, report=lambda _: None)
    return dict(decoder.state_dict())


def test_exits_learn_and_the_embedding_does_not(corpus: Path, tmp_path: Path) -> None:
    weights = run(corpus, tmp_path / "run", replace(RECIPE, tokens=RECIPE.tokens * 5))
    assert torch.equal(weights["embed.weight"], BASE["embed.weight"])
    from green_code.models.decoder import Decoder

    before = evaluate(Decoder.load(SOURCE.config, BASE), corpus, (2, 4), 512, BOS)["python"]["loss"]
    after = evaluate(Decoder.load(SOURCE.config, weights), corpus, (2, 4), 512, BOS)["python"]["loss"]
    assert all(after[depth] < before[depth] / 2 for depth in (2, 4, 6))


def test_a_run_that_was_cut_off_ends_with_the_same_weights(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(corpus, tmp_path / "whole")
    from green_code.adaptation import lite

    taken, save = [], lite._save

    def save_and_die(path: Path, *args: object) -> None:
        save(path, *args)  # type: ignore[arg-type]
        taken.append(path)
        if len(taken) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(lite, "_save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        train(
            SOURCE.config,
            BASE,
            corpus,
            tmp_path / "cut",
            RECIPE,
            BOS,
            report=lambda _: None,
            checkpoint_seconds=0,
        )
    assert torch.load(tmp_path / "cut" / "state.pt", weights_only=True)["step"] < RECIPE.steps
    resumed = run(corpus, tmp_path / "cut")
    for name, weight in whole.items():
        torch.testing.assert_close(resumed[name], weight, msg=lambda text, name=name: f"{name}: {text}")


def test_checkpoint_of_another_recipe_is_refused(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run")
    with pytest.raises(Problem, match="another recipe"):
        run(corpus, tmp_path / "run", replace(RECIPE, learning_rate=1e-5))


def test_missing_corpus_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="green-code adapt corpus"):
        run(tmp_path, tmp_path / "run")


def test_log_has_a_line_a_report(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run")
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert last["tokens"] == RECIPE.tokens
    assert set(last["losses"]) >= {"6"}


def test_export_keeps_what_was_learned(corpus: Path, tmp_path: Path) -> None:
    weights = run(corpus, tmp_path / "run")
    stored, _, tokens = trained_weights(tmp_path / "run")
    assert tokens == RECIPE.tokens
    export_delta(
        BASE, {n: w for n, w in stored.items() if "mlp_out" not in n and "qkv" in n}, 6, tmp_path / "d"
    )
    for name, delta in read_delta(tmp_path / "d"):
        learned = weights[name] - BASE[name]
        assert torch.nn.functional.cosine_similarity(delta.flatten(), learned.flatten(), 0) > 0.9


def test_windows_begin_as_prompts_do(corpus: Path) -> None:
    shards = {"python": np.arange(2, 302, dtype=np.uint16)}
    with_bos, without = (batch_at(shards, RECIPE, 3, bos) for bos in (BOS, None))
    assert (with_bos[:, 0] == BOS).all()
    assert torch.equal(with_bos[:, 1:], without[:, 1:])
    assert not (without[:, 0] == BOS).any()
