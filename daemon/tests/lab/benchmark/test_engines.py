"""The exported weights are the same model; reuse of the KV cache changes no token; a missing engine says why."""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from green_code.decoding import stop_rules
from green_code.decoding.kv_cache import KVCache
from green_code.engine.loading import Runtime
from green_code.models.catalog import TINY, find_model
from green_code.models.config import ModelConfig
from green_code.models.conversion import adapted_weights
from green_code.models.gguf_source import GgufSource
from green_code.models.torch_decoder import Decoder
from green_code.models.vocabulary import Pieces
from green_code.problems import Problem
from green_code_lab.benchmark.engines import cached, engines, write_gguf, write_transformers
from green_code_lab.benchmark.peers import Peer, Prompt, green_code, hugging_face, llama_cpp
from green_code_lab.benchmark.prompts import Case, cases, choose_rows
from green_code_lab.evaluation.datasets import Row

ASSISTANCE = ({}, {"prompt_lookup_num_tokens": 4}, {"assistant_early_exit": 2})
Weights = tuple[ModelConfig, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def weights() -> Weights:
    config, weights = adapted_weights(find_model(TINY), None)
    for weight in weights.values():
        if weight.ndim == 1:  # gains are ones at first: a forgotten offset must show
            weight += np.random.default_rng(1).standard_normal(weight.shape, np.float32) * np.float32(0.2)
    return config, weights


@pytest.fixture(scope="module")
def folder(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("transformers") / "export"
    write_transformers(*weights, path)
    return path


def test_transformers_computes_the_same_logits(weights: Weights, folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    cache = KVCache(Decoder.load(*weights))
    ids = torch.randint(weights[0].vocabulary, (40,), generator=torch.Generator().manual_seed(2))
    cache.append(ids.tolist())
    cache.advance(len(ids) - 1, weights[0].layers)
    with torch.inference_mode():
        ours = cache.decoder.all_logits(cache.buffers, 0, len(ids), weights[0].layers)
        torch.testing.assert_close(torch.from_numpy(ours), model(ids[None]).logits[0])


def test_a_gguf_file_holds_the_weights_to_eight_bits(weights: Weights, tmp_path: Path) -> None:
    config, own = weights
    count = config.vocabulary
    pieces = Pieces([f"token {i}" for i in range(count)], [0.0] * count, [1] * count, 1, 0)
    write_gguf(config, pieces, own, tmp_path / "export.gguf")
    source = GgufSource(tmp_path / "export.gguf")
    back = dict(source.tensors(None))
    assert back.keys() == own.keys() and source.pieces() == pieces
    for name, weight in own.items():
        step = np.abs(weight).max() / 127 if weight.ndim > 1 else 0.0
        assert np.abs(back[name] - weight).max() <= step


def test_an_export_is_made_once_and_one_that_failed_leaves_nothing() -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cached(find_model(TINY), None, "export", fail)
    first = cached(find_model(TINY), None, "export", lambda path: path.mkdir())
    assert cached(find_model(TINY), None, "export", fail) == first and first.is_dir()


def test_an_engine_that_cannot_take_part_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_cpp.platform, "machine", lambda: "riscv64")
    *_, stock, pruned, reference = engines(TINY, lambda _: None)
    assert "GGUF" in stock.missing and "GGUF" in pruned.missing and not reference.missing
    with pytest.raises(Problem, match="riscv64"):
        llama_cpp.fetch_library()


@pytest.fixture
def case(runtime: Runtime) -> Case:
    text = "".join(f"def f{i}(a, b):\n    return a * {i} + b\n" for i in range(9))
    return cases([Row("a", "python", text, "", "x")], runtime.vocabulary, 40, 90)[0]


def check(peer: Peer, case: Case) -> list[list[int | str]]:
    """Each prompt after the one before, and then each with an empty cache: the same tokens."""
    prompts = (case.short, case.grown, case.short, case.long)
    peer.set_threads(1)
    peer.clear_cache()
    warm = [list(peer.complete(prompt, 6)) for prompt in prompts]
    for prompt, tokens in zip(prompts, warm, strict=True):
        peer.clear_cache()
        assert len(tokens) == 6 and list(peer.complete(prompt, 6)) == tokens
    return warm


def test_transformers_writes_the_same_with_and_without_drafts(case: Case, folder: Path) -> None:
    peers = [hugging_face.Engine(str(folder), "float32", each) for each in ASSISTANCE]
    greedy, *drafted = [check(peer, case) for peer in peers]
    assert drafted == [greedy, greedy] and "float32" in peers[0].version()


def test_green_code_is_not_stopped_by_rules_that_run(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def rule(text: str, at: stop_rules.Situation) -> int:
        seen.append(text)
        return 0

    monkeypatch.setattr(stop_rules, "RULES", (("always", rule),))
    engine = green_code.Engine(TINY, "full", 1.0)
    assert all(isinstance(token, str) for tokens in check(engine, case) for token in tokens)
    seen.clear()
    assert len(engine.complete(Prompt((), "def f():\n"), 5)) == len(seen) == 5


def test_an_archive_is_extracted_only_if_it_is_the_pinned_one(tmp_path: Path) -> None:
    archive = tmp_path / "package.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(__file__, "package/libllama.so")
    with pytest.raises(Problem, match="not used"):
        llama_cpp.unpack(archive, "0" * 64, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    llama_cpp.unpack(archive, hashlib.sha256(archive.read_bytes()).hexdigest(), tmp_path / "out")
    assert (tmp_path / "out/package/libllama.so").is_file()


def test_text_and_ids_are_the_same_prompt(runtime: Runtime) -> None:
    vocabulary = runtime.vocabulary
    for case in cases(choose_rows([], 0), vocabulary, 120, 500):
        for prompt in (case.short, case.grown, case.long):
            assert prompt.ids == (vocabulary.bos, *vocabulary.encode(prompt.text))
        assert case.short.text.endswith("\n") and case.long.text.endswith(case.short.text)
        assert case.grown.ids[:-1] == case.short.ids and len(case.grown.text) == len(case.short.text) + 1
        assert 60 < len(case.short.ids) <= 120 and 250 < len(case.long.ids) <= 500


def test_neither_what_is_to_be_completed_nor_a_tokenised_reference_is_in_a_prompt(runtime: Runtime) -> None:
    rows = [Row(str(i), "python", f"a = {i}\nb = ", "", f"answer_{i}") for i in range(3)]
    for case in cases(rows, runtime.vocabulary):
        assert f"answer_{case.id}" not in case.long.text
    tokenised = [replace(row, tokenised=True) for row in rows]
    assert "answer_" not in cases(tokenised, runtime.vocabulary)[0].long.text
    with pytest.raises(Problem, match="--data"):
        cases([Row("1", "python", "x = ", "", "1")], runtime.vocabulary)
