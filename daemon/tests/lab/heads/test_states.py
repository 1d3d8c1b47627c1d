"""Recorded states against plain forwards; a recording that is cut off goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from green_code.models.tiny import TinySource
from green_code.models.torch_decoder import Decoder
from green_code.problems import Problem
from green_code_lab.corpus import Corpus
from green_code_lab.heads import states as module
from green_code_lab.heads.states import States, Windows, record_states
from green_code_lab.lite.objective import hidden_at
from green_code_lab.lite.scores import WINDOW

SOURCE = TinySource()
CONFIG = SOURCE.config
DECODER = Decoder.load(CONFIG, dict(SOURCE.tensors(None)))
DEPTHS = (4, CONFIG.layers)


def corpus(tokens: int) -> Corpus:
    generator = np.random.default_rng(0)
    languages = ("java", "python", "rust")
    return Corpus({(name, "train"): generator.integers(32, 127, tokens).astype(np.uint16) for name in languages}, 1)


def record(folder: Path, positions: int = 3 * 4 * 240, base: str = "mine") -> States:
    windows = Windows(corpus(3_000), 2, None)
    return record_states(lambda: DECODER, CONFIG, windows, "train", DEPTHS, positions, folder, {"base": base}, lambda _: None)  # fmt: skip


def test_states_are_those_of_plain_forwards(tmp_path: Path) -> None:
    found = record(tmp_path)
    assert len(found.tokens) == len(found.languages) == 3 * 4 * 240
    places = Windows(corpus(3_000), 2, None).spread("train", 3 * 4 * 240)
    assert [language for language, _ in places] == [0, 1, 2] * 4, "languages take turns"
    for i in (0, 5, 11):
        language, start = places[i]
        shard = corpus(3_000).shards[corpus(3_000).languages[language], "train"].astype(np.int64)
        ids = torch.from_numpy(shard[start : start + WINDOW])[None].clone()
        ids[0, 0] = 2
        with torch.no_grad():
            plain = hidden_at(DECODER, ids, DEPTHS)
        own = slice(i * 240, (i + 1) * 240)
        for depth, states in found.at.items():
            x = plain[depth][0][-240:]
            wanted = x / x.pow(2).mean(-1, keepdim=True).sqrt()
            torch.testing.assert_close(torch.tensor(states[own]).float(), wanted, rtol=1e-2, atol=1e-2)
        assert found.tokens[own].tolist() == shard[start + 17 : start + WINDOW + 1].tolist()
        assert set(found.languages[own]) == {language}


def test_a_recording_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = record(tmp_path / "whole")
    monkeypatch.setattr(module, "_SAVED_SECONDS", 0.0)
    cut, at = Windows.at, [0]

    def counted(*args: object) -> object:
        at[0] += 1
        if at[0] == 5:
            raise KeyboardInterrupt
        return cut(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Windows, "at", counted)
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path / "cut")
    resumed = record(tmp_path / "cut")
    assert at[0] == 5 + 8, "four windows were recorded before"
    assert np.array_equal(resumed.tokens, whole.tokens)
    assert all(np.array_equal(resumed.at[depth], whole.at[depth]) for depth in DEPTHS)
    record(tmp_path / "cut")
    assert at[0] == 13, "they are all there"
    record(tmp_path / "cut", base="another")
    assert at[0] == 25, "they were another model's"


def test_a_full_disk_is_seen_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000}))
    with pytest.raises(Problem, match="give fewer --positions"):
        record(tmp_path)


def test_streamed_layers_give_the_same_states_also_after_a_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model that memory does not hold, each layer is read once and all windows run through it."""
    whole, windows = record(tmp_path / "whole"), Windows(corpus(3_000), 2, None)

    def streamed(stop_at: str | None) -> States:
        def tensors() -> Iterator[tuple[str, np.ndarray]]:
            for name, weight in SOURCE.tensors(None):
                if name == stop_at:
                    raise KeyboardInterrupt
                yield name, weight

        return record_states(
            tensors, CONFIG, windows, "train", DEPTHS, 3 * 4 * 240, tmp_path / "cut", {"base": "mine"}, lambda _: None
        )

    with pytest.raises(KeyboardInterrupt):
        streamed("layers.4.mlp_in.weight")
    runs = list[int]()
    run_layer = Decoder.run_layer
    monkeypatch.setattr(Decoder, "run_layer", lambda self, layer, x: (runs.append(layer), run_layer(self, layer, x))[1])
    found = streamed(None)
    assert set(runs) == {5, 6}, "the layers before the cut are done"
    assert np.array_equal(found.tokens, whole.tokens) and np.array_equal(found.languages, whole.languages)
    for depth in DEPTHS:
        torch.testing.assert_close(torch.tensor(found.at[depth]), torch.tensor(whole.at[depth]), rtol=2e-2, atol=2e-2)
    assert not list((tmp_path / "cut").glob("between-*"))
