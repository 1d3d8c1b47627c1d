"""`green-code adapt` from a folder of code to a bundle that completes, for every family, in seconds."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from green_code.cli import main
from green_code.decoding.kv_cache import KVCache
from green_code.engine import loading
from green_code.engine.loading import load_runtime
from green_code.engine.requests import completion_params
from green_code.models.backend import Backend
from green_code.models.bundle import (
    CALIBRATION,
    DELTA,
    KV_PROJECTIONS,
    LENSES,
    MANIFEST,
    SVD_HEAD,
    load_bundle,
    refresh_manifest,
)
from green_code.models.catalog import TINY, find_model
from green_code.models.conversion import adapted_weights, convert
from green_code.models.delta import save_delta
from green_code.models.tiny import TinySource
from green_code_lab.agent import ppo, supervised
from green_code_lab.agent.baselines import compare
from green_code_lab.agent.record import PARTS
from green_code_lab.agent.rollouts import open_rollouts
from green_code_lab.cli import train as train_command
from green_code_lab.evaluation import watch
from green_code_lab.evaluation.datasets import Row
from green_code_lab.evaluation.run import evaluate
from green_code_lab.heads import kv_projections
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
    monkeypatch.setattr(lite_steps, "MANIFEST_POSITIONS", 2_048)
    monkeypatch.setattr(watch, "_LINES", 8)
    monkeypatch.setattr(watch, "texts", lambda texts=watch.texts: texts()[:1])


def adapt(*words: object) -> int:
    return main(["adapt", "--positions", "8192", "--windows", "160", *map(str, words)])


def test_the_frozen_recipe_keeps_the_base_model(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default: exits are chosen, nothing of the base model changes, and the bundle exits, propagates and decodes."""
    options = (
        "--model",
        "tiny-random",
        "--from",
        code,
        "--work",
        tmp_path / "work",
        "--prefill-exit",
        1,
        "--windows",
        16,
    )
    assert adapt(*options) == 0
    bundle = load_bundle(tmp_path / "bundles" / "tiny-random")
    assert bundle.manifest["training"]["method"] == "frozen"
    assert bundle.part(DELTA) is None
    assert all(bundle.part(name) is not None for name in (LENSES, KV_PROJECTIONS, SVD_HEAD))
    assert set(bundle.exits) <= {2, 4}
    base = dict(TinySource().tensors(None))
    _, adapted = adapted_weights(find_model(TINY), bundle)
    assert adapted.keys() == base.keys() and all(np.array_equal(adapted[name], base[name]) for name in base)
    held_out = bundle.manifest["lenses"]["held_out"]
    for language in ("python", "java"):
        plain, through = (held_out[name][language]["agreement"] for name in ("plain", "lens"))
        assert set(plain) == {"2", "4", "6"} and plain["6"] == through["6"] == 1
        assert through["4"] > plain["4"], "the lens makes the exit agree with the last layer"

    served = load_runtime(TINY)
    row = Row("a", "python", "def area3(side, height):\n    total = ", "", "side")
    params = completion_params("", model=TINY, decoding="fast", policy=f"fixed:{bundle.exits[0]}", threshold=1.0, max_tokens=6, single_line=False, max_lines=8, max_prompt_tokens=64)  # fmt: skip
    (result,) = evaluate(served, [row], params, lambda _: None)
    assert set(result["exits"]) == {bundle.exits[0]}
    with monkeypatch.context() as patched:
        patched.setenv("GREEN_CODE_BUNDLES", str(tmp_path / "none"))
        bare = load_runtime(TINY)
    assert (served.bundle, bare.bundle) == (TINY, "")
    assert full_depth(served.decoder) == full_depth(bare.decoder)

    capsys.readouterr()
    assert adapt(*options) == 0
    assert "lens of" not in capsys.readouterr().out, "all of it is there"
    assert main(["bundle", "tiny-random"]) == 0
    assert "none: at full depth it is the base model" in capsys.readouterr().out
    (bundle.path / CALIBRATION).write_text("{}")
    refresh_manifest(bundle.path)
    another = "5" * 64
    with monkeypatch.context() as patched:
        patched.setattr(TinySource, "fingerprint", lambda _: another)
        patched.setattr(loading, "convert_apart", convert)  # another process has the real one
        assert adapt("carry", "--model", TINY, "--bundle", TINY, "--out", tmp_path / "bundles" / "carried") == 0
        carried = load_bundle(tmp_path / "bundles" / "carried")
        assert (carried.exits, carried.prefill_exit) == (bundle.exits, 1)
        assert carried.manifest["base"]["sha256"] == another
        assert carried.manifest["training"]["carried_from"] == bundle.manifest["base"]
        assert carried.part(CALIBRATION) is None, "it was measured with the other checkpoint"
        assert load_runtime("carried").bundle == "carried"

    assert set(bundle.manifest["watch"]) == {"held-out projects", "unlike the corpus"}
    gain = {"layers.0.mlp_norm.weight": base["layers.0.mlp_norm.weight"]}
    save_delta(bundle.path / DELTA, gain, {name: weight + 0.5 for name, weight in gain.items()}, {})
    refresh_manifest(bundle.path)
    assert adapt(*options) == 1
    assert "the recipe frozen keeps the base model's" in capsys.readouterr().err


def full_depth(decoder: Backend) -> list[bytes]:
    """States of a text's positions behind the last layer."""
    cache = KVCache(decoder)
    cache.append(list(b"def area3(side, height):\n    return side"))
    cache.advance(len(cache.tokens) - 1, decoder.config.layers)
    return [row.tobytes() for row in cache.states(0, len(cache.tokens))]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gemma3_text", "llama", "opt"])
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
    options = ("--model", model, "--from", code, "--out", out, "--work", work, "--tokens", TOKENS, "--rate", "3e-3", "--prefill-exit", 1, "--recipe", "lite")  # fmt: skip
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
            assert plain[str(exit)] == pytest.approx(
                training["held_out"]["shipped"][language]["loss"][str(exit)], rel=0.1
            )
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
    common = ("--model", "tiny-random", "--from", code, "--tokens", TOKENS, "--recipe", "lite")
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
    assert adapt("exits", *options) == 0
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
    assert adapt(*common, "--from", code, "--exits", "2,4") == 0
    compared: list[tuple[set[str], int]] = []

    def watched(baselines: Any, rollouts: Any, *rest: Any) -> Any:
        baselines = list(baselines)
        compared.append(({baseline.family for baseline in baselines}, len(rollouts.final_tokens)))
        return compare(baselines, rollouts, *rest)

    monkeypatch.setattr(train_command, "compare", watched)
    monkeypatch.setitem(train_command._PPO, "default", replace(ppo.Arguments(), updates=2, environments=8, steps=32))
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
    common = ("--model", "tiny-random", "--from", code, "--tokens", TOKENS, "--recipe", "lite")
    assert adapt(*common, "--work", tmp_path / "work") == 0
    manifest = tmp_path / "bundles" / "tiny-random" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["training"]["step"] = 12  # as an export of a cut run has it
    manifest.write_text(json.dumps(content))
    (tmp_path / "work" / "lite" / checkpoint.STATE).unlink()
    assert adapt("lite", *common, "--work", tmp_path / "work") == 0
    assert "resuming from bundle tiny-random at step 12 of 16" in capsys.readouterr().out
    state = checkpoint.load(tmp_path / "work" / "lite")
    assert state is not None and (state["step"], state["warm_from"]) == (16, 12)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lite", "--recipe", "lite"], "has no corpus; run `green-code adapt corpus`"),
        (["lite"], "the recipe frozen trains no layer; give --recipe lite"),
        (["export"], "has no run; run `green-code adapt lite`"),
        (["exits"], "has no corpus; run `green-code adapt corpus`"),
        (["exits", "--recipe", "lite"], "is not adapted; run `green-code adapt export`"),
        (["lite", "--recipe", "lite", "--tokens", "100"], "less than one step"),
        (["lite", "--recipe", "paper", "--exits", "4,9"], "give layers from 1 to 5"),
        (["exits", "--exits", "4,9"], "give layers from 1 to 5"),
        (["--prefill-exit", "9"], "layer 9 cannot be the prefill exit; give --prefill-exit from 1 to"),
        (["kv-projections", "--prefill-exit", "2"], "is not adapted; run `green-code adapt exits`"),
        (["carry"], "give the bundle that is carried over: --bundle NAME"),
        (["carry", "--bundle", "nothing"], "manifest.json is missing"),
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
