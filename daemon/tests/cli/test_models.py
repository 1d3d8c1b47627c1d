"""`green-code models`: what --json promises to editors, and each thing that can be done with a model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from green_code.cli import models as command
from green_code.energy.costs import CostModel, save_costs
from green_code.engine.machine_speed import MachineSpeed
from green_code.folders import cache_dir
from green_code.models import store
from green_code.models.conversion import convert
from green_code.models.hub import PICKLED, Hub
from green_code.models.hugging_face import FolderSource
from green_code.models.rows import ROWS, Row
from green_code.work import Prices
from tests.models.fake_hub import REVISION, FakeHub, serve

Run = Callable[..., tuple[int, str, str]]
SLOW, FAST = MachineSpeed(1.0, 1.0, 1.0, 1.0), MachineSpeed(0.3, 1.0, 0.1, 1.0)
"""One thread of the reference machine, and a machine of many cores."""
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


def tokenizer() -> PreTrainedTokenizerFast:
    alphabet = {piece: n for n, piece in enumerate(["</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    bytewise = Tokenizer(models.BPE(alphabet, []))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=bytewise, eos_token="</s>")


@pytest.fixture(autouse=True)
def alone(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of other tools, and packages with models, are those that a test makes."""
    monkeypatch.setattr(Path, "home", lambda: work / "home")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(work / "hub"))
    monkeypatch.setattr(store, "is_installed", lambda _: False)
    monkeypatch.setattr(command, "convert_apart", convert)  # another process does not have the test's rows
    monkeypatch.setattr(command, "machine_speed", lambda: SLOW)
    for name in ("OLLAMA_MODELS", "LLAMA_CACHE", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The hub has a small Llama, which the catalog calls `small`."""
    folder = tmp_path / "published"
    config = LlamaConfig(**SIZES, vocab_size=257, intermediate_size=128, num_key_value_heads=2, eos_token_id=0)
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    row = Row("small", "Small", "MIT", 200_000, ROWS["smollm2-135m"].shape, (Hub("org/model", REVISION),))
    monkeypatch.setitem(ROWS, "small", row)
    with serve(FakeHub(files, large=20_000), monkeypatch) as served:
        yield served


def events(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def listed(run: Run, name: str) -> dict[str, Any]:
    status, out, _ = run("models", "--json")
    assert status == 0
    (found,) = (model for model in json.loads(out)["models"] if model["name"] == name)
    return dict(found)


def test_the_list_has_what_editors_show(run: Run) -> None:
    status, out, _ = run("models", "list", "--json")
    shown = json.loads(out)
    assert status == 0 and set(shown) == {"models", "files"} and shown == json.loads(run("models", "--json")[1])
    kinds = {
        "name": str, "title": str, "license": str, "gated": bool, "parameters": int, "languages": list, "fim": bool,
        "download_bytes": int, "disk_bytes": int, "memory_bytes": int, "state": str, "places": list,
        "milliseconds_per_token": float, "milliseconds_per_prompt": float, "joules_per_token": float, "joules_per_prompt": float,
        "energy_source": str, "measured": bool, "fits": bool, "reason": str, "known_as": str, "recommended": bool, "needs": list,
    }  # fmt: skip
    for model in shown["models"]:
        assert {key: type(value) for key, value in model.items()} == kinds
        assert model["state"] in ("ready", "downloaded", "partial", "available") and model["fits"] == (
            not model["reason"]
        )
    known = {model["known_as"]: model["name"] for model in shown["models"] if model["known_as"]}
    assert known == {"light": "gemma-3-270m", "standard": "qwen2.5-coder-0.5b-instruct"}


def test_one_model_is_recommended_by_what_the_machine_can_do(
    run: Run, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def best() -> list[str]:
        return [model["known_as"] for model in json.loads(run("models", "--json")[1])["models"] if model["recommended"]]

    got: list[str] = []
    monkeypatch.setattr(command.store, "get", lambda row, *_: got.append(row.name))
    monkeypatch.setattr(command, "_open", lambda *_: None)
    assert best() == ["light"]
    assert run("models", "get")[:2] == (0, "gemma-3-270m is ready\n")
    monkeypatch.setattr(command, "machine_speed", lambda: FAST)
    assert best() == ["standard"] and "standard, recommended for this machine" in run("models")[1]
    assert '"greenCode.model": "qwen2.5-coder-0.5b-instruct"' in run("models", "get")[1]
    assert got == ["gemma-3-270m", "qwen2.5-coder-0.5b-instruct"]
    monkeypatch.setattr(command, "total_memory", lambda: 2_500_000_000)
    assert best() == ["light"]
    monkeypatch.setattr(command, "total_memory", lambda: 16_000_000_000)
    monkeypatch.setattr(command.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    assert best() == ["light"]


def test_estimates_grow_with_the_model_and_are_near_published_sizes(run: Run) -> None:
    shown = {model["name"]: model for model in json.loads(run("models", "--json")[1])["models"]}
    sizes = [shown[f"qwen2.5-coder-{size}"] for size in ("0.5b", "1.5b", "3b", "7b")]
    for key in ("memory_bytes", "disk_bytes", "milliseconds_per_token", "milliseconds_per_prompt", "joules_per_token"):
        assert [model[key] for model in sizes] == sorted(model[key] for model in sizes)
    for name, model in shown.items():
        if name != "gemma-3-270m":  # whose bundle has a smaller vocabulary
            assert 0.5 < model["disk_bytes"] / model["parameters"] < 2.2, (
                name
            )  # four or eight bits, the head in bfloat16


def test_what_was_measured_here_scales_the_estimates(run: Run, work: Path) -> None:
    before = listed(run, "qwen2.5-coder-3b")
    costs = CostModel(Prices(), "estimate", "", 0.1, 10.0)
    (work / "cache_dir").mkdir()
    for number, over in enumerate((2.0, None)):
        save_costs(work / "cache_dir" / f"costs-{number}.json", replace(costs, over_assumed=over))
    after = listed(run, "qwen2.5-coder-3b")
    for key in ("joules_per_prompt", "joules_per_token"):
        assert after[key] == pytest.approx(2 * before[key], rel=0.01)
    assert after["milliseconds_per_token"] == before["milliseconds_per_token"], "joules say nothing of time"
    save_costs(work / "cache_dir" / "costs-2.json", replace(costs, source="rapl", over_assumed=3.0))
    measured = listed(run, "qwen2.5-coder-3b")
    assert measured["joules_per_token"] == pytest.approx(3 * before["joules_per_token"], rel=0.01)
    assert measured["energy_source"] == "estimate", "another model was measured"


def test_what_does_not_fit_names_what_would(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "total_memory", lambda: 2_500_000_000)
    large = listed(run, "qwen2.5-coder-7b")
    assert not large["fits"] and "memory, and this machine has 2.5 GB. qwen2.5-coder-3b would fit." in large["reason"]
    status, out, err = run("models", "get", "qwen2.5-coder-7b", "--json")
    assert status == 1 and "qwen2.5-coder-3b would fit" in events(out)[-1]["message"] and "Traceback" not in err
    monkeypatch.setattr(command.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    assert "1.0 GB free" in listed(run, "qwen2.5-coder-1.5b")["reason"]


def test_a_table_for_people(run: Run, work: Path) -> None:
    status, out, _ = run("models")
    assert status == 0 and all(name in out for name in ROWS) and "estimates" in out


def test_a_model_from_an_empty_cache_to_its_removal(run: Run, hub: FakeHub) -> None:
    assert listed(run, "small")["state"] == "available"
    status, out, _ = run("models", "get", "small", "--json")
    *progress, done = events(out)
    assert status == 0 and (done["event"], done["name"]) == ("done", "small")
    assert all(
        set(one) == {"event", "sentence", "done_bytes", "total_bytes"} and one["event"] == "progress"
        for one in progress
    )
    assert any("downloading model.safetensors" in one["sentence"] for one in progress)
    assert progress[-1]["sentence"] == "converting small" and progress[-1]["done_bytes"] == progress[-1]["total_bytes"]
    assert listed(run, "small")["state"] == "ready"
    assert run("models", "verify", "small")[:2] == (0, "the files of small are as published\n")
    (store.folder_of(ROWS["small"]) / "model.safetensors").write_bytes(b"damaged")
    status, out, err = run("models", "verify", "small", "--json")
    assert status == 1 and events(out)[-1]["reason"] == "model_damaged" and "models get small" in err
    assert run("models", "get", "small")[0] == 0
    status, out, _ = run("models", "remove", "small", "--json")
    assert status == 0 and events(out)[-1]["freed_bytes"] > 100_000
    assert listed(run, "small")["state"] == "available" and not list((store.models_dir().parent).glob("small-*"))


def test_a_process_that_is_killed_leaves_a_part_that_the_next_one_uses(run: Run, hub: FakeHub) -> None:
    hub.cut_after = 50_000
    status, out, _ = run("models", "get", "small", "--json")
    assert status == 1 and set(events(out)[-1]) == {"reason", "message"}
    assert listed(run, "small")["state"] == "partial"
    hub.cut_after = None
    hub.requests.clear()
    assert run("models", "get", "small")[0] == 0
    assert any(wanted for *_, wanted in hub.requests)


def test_a_folder_is_converted_where_it_is(run: Run, hub: FakeHub, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    status, out, _ = run("models", "get", str(folder), "--json")
    assert status == 0 and events(out)[-1]["name"] == str(folder.resolve())
    assert not store.models_dir().exists() or not [p for p in store.models_dir().iterdir() if p.is_dir()]


@pytest.mark.parametrize("action", ["get", "verify", "convert", "remove"])
def test_an_unknown_model(run: Run, action: str) -> None:
    status, out, err = run("models", action, "no-such-model", "--json")
    assert status == 1 and events(out)[-1]["message"] in err and "Traceback" not in err


def test_removing_takes_a_name_as_it_is(run: Run, work: Path) -> None:
    other = cache_dir() / f"other-{'0' * 16}"
    other.mkdir(parents=True)
    status, out, _ = run("models", "remove", "*", "--json")
    assert status == 1 and "'*' is not on this computer" in events(out)[-1]["message"]
    assert other.is_dir()


def test_a_model_without_pickled_weights_is_not_converted(run: Run) -> None:
    status, out, _ = run("models", "convert", "gemma-3-270m", "--json")
    assert status == 1 and "nothing to convert" in events(out)[-1]["message"]


def test_a_model_that_is_missing_says_how_to_get_it(run: Run, work: Path) -> None:
    (work / "a.py").write_text("x = 1\n")
    status, out, _ = run("complete", "a.py:1:4", "--model", "smollm2-135m", "--no-engine", "--json")
    assert status == 1 and json.loads(out) == {
        "reason": "model_missing",
        "message": "smollm2-135m is not on this computer; run: green-code models get smollm2-135m",
    }


# --- pickled weights --------------------------------------------------------------------------------------
@pytest.fixture
def opt(tmp_path: Path) -> Path:
    """OPT as it is published: pickled weights, vocab.json and merges.txt."""
    folder = tmp_path / "opt"
    folder.mkdir()
    torch.manual_seed(0)
    model = OPTForCausalLM(
        OPTConfig(**SIZES, vocab_size=257, ffn_dim=128, word_embed_proj_dim=64, bos_token_id=0, eos_token_id=0)
    )
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    own = json.loads(tokenizer().backend_tokenizer.to_str())["model"]["vocab"]
    (folder / "vocab.json").write_text(json.dumps(own))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    described = {"tokenizer_class": "GPT2Tokenizer", "bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    return folder


def test_a_pickle_that_would_run_code_is_refused(run: Run, opt: Path, work: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
            return open, (str(work / "ran"), "w")

    torch.save({"model.decoder.embed_tokens.weight": Evil()}, opt / "pytorch_model.bin")
    status, out, err = run("models", "convert", str(opt), "--json")
    assert status == 1 and events(out)[-1]["reason"] == "model_damaged" and "Traceback" not in err
    assert not (work / "ran").exists() and not list(opt.glob("*.safetensors*"))


def test_several_pickled_files_become_a_checkpoint(run: Run, opt: Path) -> None:
    whole = torch.load(opt / "pytorch_model.bin", weights_only=True)
    (opt / "pytorch_model.bin").unlink()
    names = list(whole)
    for n, part in enumerate((names[:9], names[9:]), start=1):
        torch.save({name: whole[name] for name in part}, opt / f"pytorch_model-0000{n}-of-00002.bin")
    assert run("models", "convert", str(opt))[0] == 0
    read = dict(FolderSource(opt).tensors(None))
    assert np.array_equal(read["embed.weight"], whole["model.decoder.embed_tokens.weight"].numpy())


def test_pickled_weights_become_safetensors_when_a_model_is_got(
    run: Run, opt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.load(opt / "pytorch_model.bin", weights_only=True)
    row = replace(ROWS["opt-2.7b"], name="small", places=(Hub("org/model", REVISION, PICKLED),))
    monkeypatch.setitem(ROWS, "small", row)
    with serve(FakeHub({path.name: path.read_bytes() for path in opt.iterdir()}), monkeypatch):
        assert run("models", "get", "small")[0] == 0
    folder = store.folder_of(row)
    after = load_file(folder / "model.safetensors")
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())
    assert set(before) - set(after) <= {"lm_head.weight"}, "only what is the same tensor is left out"
    assert (folder / "tokenizer.json").is_file() and not (folder / "pytorch_model.bin").exists()
    assert run("models", "verify", "small")[0] == 0 and listed(run, "small")["state"] == "ready"
    assert run("models", "convert", str(folder))[1].strip().endswith("has safetensors"), "there is nothing left to do"


def test_a_child_process_ends_with_the_command(work: Path) -> None:
    """SIGTERM ends the command as Ctrl+C does, which stops pip."""
    if sys.platform == "win32":
        pytest.skip("Windows has no SIGTERM")
    script = (
        "import os, signal, sys\nfrom green_code import cli\nfrom green_code.cli import models\n"
        "models._ACTIONS['get'] = (lambda *_: os.kill(os.getpid(), signal.SIGTERM), '')\n"
        "sys.exit(cli.main(['models', 'get', 'x']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 130 and "interrupted" in done.stderr and "Traceback" not in done.stderr
