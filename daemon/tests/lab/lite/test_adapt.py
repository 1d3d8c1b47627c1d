"""`green-code adapt` from a folder of code to a bundle that completes, for every family, in seconds."""

from __future__ import annotations

import json
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from green_code.cli import main
from green_code.engine import loading
from green_code.engine.loading import load_runtime
from green_code.engine.requests import completion_params
from green_code.models.bundle import (
    CALIBRATION,
    KV_PROJECTIONS,
    LENSES,
    MANIFEST,
    SVD_HEAD,
    load_bundle,
    refresh_manifest,
)
from green_code_lab.agent import ppo, supervised
from green_code_lab.agent.baselines import compare
from green_code_lab.agent.record import PARTS
from green_code_lab.agent.rollouts import open_rollouts
from green_code_lab.cli import train as train_command
from green_code_lab.evaluation.datasets import Row
from green_code_lab.evaluation.run import evaluate
from green_code_lab.heads import kv_projections, steps
from green_code_lab.lite import checkpoint
from green_code_lab.lite import steps as lite_steps
from tests.models.references import FAMILY_MODELS, random_model

FUNCTION = "def area{n}(side, height):\n    total = side * {n} + height\n    return total\n\n\n"
CLASS = "class Area{n} {{\n    int total(int side) {{\n        return side * {n};\n    }}\n}}\n"
TOKENS = 16 * 2048


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small projects in two languages, no two files alike enough to be copies."""
    folder = tmp_path_factory.mktemp("code")
    for project in range(4):
        for file in range(5):
            base = folder / f"project{project}" / f"file{file}"
            base.parent.mkdir(exist_ok=True)
            numbers = [(project * 5 + file) * 1000 + i * 7 for i in range(38)]
            base.with_suffix(".py").write_text("".join(FUNCTION.format(n=n) for n in numbers))
            base.with_suffix(".java").write_text("".join(CLASS.format(n=n) for n in numbers))
    return folder


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNTIME_DIR", "DATA_DIR", "CACHE_DIR", "BUNDLES"):
        monkeypatch.setenv(f"GREEN_CODE_{name}", str(tmp_path / name.lower()))
    monkeypatch.setattr(loading, "SHORT_WINDOW_SECONDS", 0.05)  # costs are not what is tested
    monkeypatch.setattr(kv_projections, "_RATE", 3e-2)
    monkeypatch.setattr(kv_projections, "HELD_OUT_WINDOWS", 8)
    small = {"WINDOWS": 160, "POSITIONS": 4_096, "MOMENT_POSITIONS": 2_048, "MANIFEST_POSITIONS": 2_048}
    for name, size in small.items():
        monkeypatch.setattr(steps, name, size)
    monkeypatch.setattr(lite_steps, "MANIFEST_POSITIONS", 2_048)


def adapt(*words: object) -> int:
    return main(["adapt", *map(str, words)])


@pytest.mark.parametrize(
    "family",
    [pytest.param(f, marks=() if f == "gemma3_text" else pytest.mark.slow) for f in ("gemma3_text", "llama", "opt")],
)
def test_a_folder_of_code_becomes_a_bundle_that_completes(family: str, code: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    kind, options = FAMILY_MODELS[family]
    reference = random_model(kind, options, spread=0.02)
    for config in (reference.config, reference.generation_config):
        config.eos_token_id, config.bos_token_id, config.pad_token_id = 0, None, None
    reference.save_pretrained(model)
    vocabulary = {piece: i for i, piece in enumerate(["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>").save_pretrained(model)

    out, work = tmp_path / "bundles" / "model", tmp_path / "work"
    options = ("--model", model, "--from", code, "--out", out, "--work", work, "--tokens", TOKENS, "--rate", "3e-3", "--prefill-exit", 1)  # fmt: skip
    assert adapt(*options) == 0
    bundle = load_bundle(out)
    training = bundle.manifest["training"]
    assert training["tokens"] == TOKENS
    assert training["joules"] > 0
    exit = bundle.exits[0]
    for language in ("python", "java"):
        untouched, shipped = (
            training["held_out"][name][language]["loss"][str(exit)] for name in ("untouched", "shipped")
        )
        assert shipped < 0.995 * untouched  # the frozen random head leaves little to learn
        if (lenses := bundle.manifest.get("lenses")) is not None:
            plain, through = (lenses["held_out"][name][language]["loss"] for name in ("plain", "lens"))
            assert plain == pytest.approx(training["held_out"]["shipped"][language]["loss"])
            assert through[str(exit)] < plain[str(exit)] + 0.01
    plain, learned = (
        sum(
            one["divergence"]
            for by in bundle.manifest["kv_projections"]["held_out"][name].values()
            for one in by.values()
        )
        for name in ("plain", "learned")
    )
    assert learned < plain
    assert (bundle.prefill_exit, bundle.part(KV_PROJECTIONS) is not None) == (1, True)
    by_rms = reference.config.model_type not in ("gpt2", "opt")
    assert (bundle.part(LENSES) is not None) == by_rms, "a lens is for norms by the root mean square"
    row = Row("a", "python", "def area3(side, height):\n    total = ", "", "side")
    params = completion_params("", model=str(model), decoding="fast", policy=f"fixed:{exit}", threshold=1.0, max_tokens=6, single_line=False, max_lines=8, max_prompt_tokens=64)  # fmt: skip
    (result,) = evaluate(load_runtime(str(model), lambda *_: None), [row], params, lambda _: None)
    assert set(result["exits"]) == {exit}
    assert adapt(*options) == 0, "a finished run, started again, is exported again"


@pytest.mark.slow
def test_one_command_for_ones_own_code(code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second bundle of a model starts from the first, trains the requested exits, and is a model by its own name."""
    bundles = tmp_path / "bundles"
    common = ("--model", "tiny-random", "--from", code, "--tokens", TOKENS)
    assert adapt(*common, "--work", tmp_path / "first") == 0
    assert "starting from the untouched weights" in capsys.readouterr().out
    assert adapt(*common, "--work", tmp_path / "second", "--out", bundles / "mine", "--exits", "2,4") == 0
    assert f"starting from bundle tiny-random, trained on {TOKENS:,} tokens" in capsys.readouterr().out
    mine = load_bundle(bundles / "mine")
    training = mine.manifest["training"]
    assert (mine.exits, training["recipe"]["exit_groups"]) == ((2, 4), [[2, 4]])
    assert training["tokens"] == 2 * TOKENS
    assert [run["tokens"] for run in training["earlier"]] == [TOKENS]
    assert load_runtime("mine", lambda *_: None).bundle == "mine"

    options = (*common, "--work", tmp_path / "second", "--out", bundles / "mine", "--exits", "2,4")
    assert adapt("kv-projections", *options) == 0
    assert load_bundle(bundles / "mine").prefill_exit is None, "none was requested"
    for words, prefill_exit in ((("kv-projections", "--prefill-exit", 2), 2), (("--prefill-exit", 1), 1), ((), 1)):
        (bundles / "mine" / CALIBRATION).write_text("{}")
        assert adapt(*words, *options) == 0
        mine = load_bundle(bundles / "mine")
        assert (mine.prefill_exit, mine.part(KV_PROJECTIONS) is not None) == (prefill_exit, True)
        assert (bundles / "mine" / CALIBRATION).exists() == (not words), "it was of the old KV projections"
    manifest = bundles / "mine" / MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "prefill_exit": 3}))
    assert main(["bundle", "mine"]) == 1, "as its KV projections are of another prefill exit"
    assert adapt("kv-projections", *options) == 0
    assert main(["bundle", "mine"]) == 0
    for changed in (False, True):
        (bundles / "mine" / CALIBRATION).write_text("{}")
        if changed:
            svd_head = bundles / "mine" / SVD_HEAD
            save_file({"directions": load_file(svd_head)["directions"].flip(0).contiguous()}, svd_head)
        refresh_manifest(bundles / "mine")
        assert adapt("svd-head", *options) == 0
        assert (bundles / "mine" / CALIBRATION).exists() != changed, "it was of the old head"
    assert adapt("lenses", *options) == 0
    mine = load_bundle(bundles / "mine")
    assert (mine.prefill_exit, mine.part(KV_PROJECTIONS)) == (3, None), (
        "KV projections were learned behind other lenses"
    )


@pytest.mark.slow
def test_an_agent_and_its_calibration_for_ones_own_code(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`green-code train` as the guide has it: agents are trained on some documents and chosen by others of the training projects."""
    common = ("--model", "tiny-random", "--work", tmp_path / "work")
    assert adapt(*common, "--from", code, "--tokens", 4096, "--exits", "2,4") == 0
    compared: list[tuple[set[str], int]] = []

    def watched(baselines: Any, rollouts: Any, *rest: Any) -> Any:
        baselines = list(baselines)
        compared.append(({baseline.family for baseline in baselines}, len(rollouts.final_tokens)))
        return compare(baselines, rollouts, *rest)

    monkeypatch.setattr(train_command, "compare", watched)
    monkeypatch.setattr(ppo.Arguments, "__init__", partialmethod(ppo.Arguments.__init__, updates=2, environments=8, steps=32))  # fmt: skip
    monkeypatch.setattr(supervised.Arguments, "__init__", partialmethod(supervised.Arguments.__init__, steps=8, rounds=1, documents=8))  # fmt: skip
    monkeypatch.setattr(train_command, "_DOCUMENTS", 8)
    words = ["train", *map(str, common), "--positions", "600", "--files", "2"]
    assert main(words) == 0
    bundle = load_bundle(tmp_path / "bundles" / "tiny-random")
    agent = bundle.manifest["agent"]
    assert bundle.exits == (2, 4)
    (candidates, validation), (everyone, held) = compared
    assert candidates <= {"supervised", "PPO", "supervised + PPO"} < everyone
    parts = {part: len(open_rollouts(tmp_path / "work" / "rollouts" / part).final_tokens) for part in PARTS}
    assert (validation, held) == (parts["validation"], parts["heldout"]) and agent["positions"] == parts["train"]
    assert agent["method"] in candidates
    assert {score["family"] for score in agent["held_out"]} == everyone
    assert bundle.calibration["reference"]["files"] == 4
    assert [point["threshold"] for point in bundle.calibration["curve"]][-1] == 1
    assert load_runtime("tiny-random", lambda *_: None).agent is not None


def test_a_corpus_without_these_evaluation_rows_is_refused(
    code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    common = ("--model", "tiny-random", "--from", code, "--work", tmp_path / "work", "--exclude", rows)
    for reference, status in (("1", 0), ("2", 1)):
        rows.write_text(json.dumps({"language": "python", "prefix": "x = ", "reference": reference}))
        assert adapt(*(("corpus",) if status == 0 else ()), *common) == status
    assert "other sources or options" in capsys.readouterr().err


@pytest.mark.slow
def test_a_bundle_exported_part_way_resumes(code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--model", "tiny-random", "--from", code, "--tokens", TOKENS)
    assert adapt(*common, "--work", tmp_path / "work") == 0
    manifest = tmp_path / "bundles" / "tiny-random" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["training"]["step"] = 12  # as an export of a cut run has it
    manifest.write_text(json.dumps(content))
    (tmp_path / "work" / "lite" / checkpoint.STATE).unlink()
    assert adapt("lite", *common, "--work", tmp_path / "work") == 0
    assert "resuming from bundle tiny-random at step 12 of 16" in capsys.readouterr().out
    state = torch.load(tmp_path / "work" / "lite" / checkpoint.STATE, weights_only=True)
    assert (state["step"], state["warm_from"]) == (16, 12)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lite"], "has no corpus; run `green-code adapt corpus`"),
        (["export"], "has no run; run `green-code adapt lite`"),
        (["lite", "--tokens", "100"], "less than one step"),
        (["lite", "--exits", "4,9"], "give layers from 1 to 5"),
        (["--prefill-exit", "9"], "layer 9 cannot be the prefill exit; give --prefill-exit from 1 to"),
        (["kv-projections", "--prefill-exit", "2"], "is not adapted; run `green-code adapt export`"),
        (["corpus", "--from", "nowhere"], "neither a folder nor an archive"),
        (["corpus", "--from", "."], "tokens"),
    ],
)
def test_bad_input_names_the_fix(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert adapt(*words, "--model", "tiny-random") == 1
    assert message in capsys.readouterr().err


def test_a_model_without_room_for_exits_is_refused(tmp_path: Path) -> None:
    from green_code.problems import Problem
    from green_code_lab.lite.recipe import recipe_named

    with pytest.raises(Problem, match="no exit for a model of 1 layers"):
        recipe_named("lite", 1, 1000)
