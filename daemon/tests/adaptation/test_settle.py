"""Layers above the plateau learn what settles, as their delta will hold it; cut, they go on as if they had not been."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import kl_div

from green_code.adaptation.entries import RISEN, UNCOUNTED, Drawn, compare, deciding, stretches
from green_code.adaptation.export import bits_for, export_delta
from green_code.adaptation.recipe import WINDOW, SettledRecipe
from green_code.adaptation.rounding import Rounding
from green_code.adaptation.settled_layers import Taught, Teaching
from green_code.adaptation.sublayer_search import WINDOWS, search
from green_code.decoding.staircase import Staircase
from green_code.models.decoder import Decoder
from green_code.models.delta import read_delta
from green_code.models.reading import Lens, Reading
from green_code.models.sublayers import Sublayers
from green_code.problems import Problem
from tests.adaptation.test_trainer import BASE, BOS, SOURCE, lesson

PLATEAU, EXITS, SUBLAYERS = 2, (1, 4), Sublayers((3, 4), (4,))
LAYERS = SOURCE.config.layers
ROUNDED = SettledRecipe((), 0, 0).rounded_steps
DEPTHS = deciding(EXITS, PLATEAU, LAYERS)


def recipe(steps: int) -> SettledRecipe:
    return SettledRecipe(
        tuple(DEPTHS), steps * 2048, seed=1, learning_rate=1e-2, entry_rate=5e-2, warm_up_steps=5
    )


def served(weights: dict[str, torch.Tensor], entries: dict[int, Lens]) -> Decoder:
    decoder = Decoder.load(SOURCE.config, weights)
    decoder.enter_by(entries, SUBLAYERS)
    return decoder


def run(folder: Path, steps: int) -> Taught:
    reading = Reading(sublayers=SUBLAYERS)
    return Teaching(lesson(), recipe(steps), reading, served(BASE, {}), PLATEAU, folder, lambda _: None).go(
        0.0
    )


def matrices(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"layers.{layer}.mlp_in.weight": torch.randn(8, 96, generator=generator) for layer in (0, LAYERS - 1)
    }


def test_rounded_matrices_are_what_a_delta_holds_of_them(tmp_path: Path) -> None:
    base, trained = matrices(1), matrices(2)
    learned = {name: matrix.clone() for name, matrix in trained.items()}
    rounding = Rounding(learned, base, bits_for(learned, LAYERS))
    rounding.round()
    export_delta(base, trained, LAYERS, tmp_path / "delta.safetensors")
    for name, delta in read_delta(tmp_path / "delta.safetensors"):
        torch.testing.assert_close(learned[name], base[name] + delta)
        assert not torch.equal(learned[name], trained[name])


def test_steps_too_small_for_a_code_add_up() -> None:
    base, learned = matrices(1), matrices(2)
    begun = {name: matrix.clone() for name, matrix in learned.items()}
    rounding = Rounding(learned, base, bits_for(learned, LAYERS))
    for _ in range(40):
        rounding.round()
        for matrix in learned.values():
            matrix += 0.01
    for name, matrix in rounding.behind().items():
        torch.testing.assert_close(matrix, begun[name] + 0.4, atol=1e-4, rtol=1e-4)


def test_what_is_said_behind_settled_positions_comes_closer_to_full_depth(tmp_path: Path) -> None:
    """As its delta holds it, and full depth stays near what it was; what lies below the plateau does not learn."""
    taught = run(tmp_path, 30)
    begun, path = tmp_path / "begun.safetensors", tmp_path / "delta.safetensors"
    other = {name: weight * 1.01 for name, weight in BASE.items() if name.startswith("layers.")}
    export_delta(BASE, other, LAYERS, begun)
    export_delta(BASE, taught.matrices, LAYERS, path, others=begun)
    before, now = (dict(read_delta(file)) for file in (begun, path))
    for name, delta in now.items():
        learns = int(name.split(".")[1]) >= PLATEAU and delta.dim() == 2
        assert torch.equal(delta, before[name]) != learns, name
        assert (name in taught.matrices) == learns
    weights = {**BASE, **{name: BASE[name] + now[name] for name in taught.matrices}}
    corpus, entries = lesson().corpus, dict(taught.entries)
    behind = compare(
        {"before": served(BASE, {}), "after": served(weights, entries)}, corpus, PLATEAU, EXITS, BOS
    )
    whole = compare({"before": served(BASE, {}), "after": served(weights, {})}, corpus, LAYERS, (), BOS)
    for language in corpus.languages:
        for depth in DEPTHS:
            first, last = (behind[name][language][depth]["divergence"] for name in ("before", "after"))
            assert last < 0.5 * first, (language, depth)
        first = behind["before"][language][LAYERS]["divergence"]
        assert whole["after"][language][LAYERS]["divergence"] < 0.5 * first


def test_a_run_that_was_cut_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uncut = run(tmp_path / "uncut", 25)
    learn, calls = Teaching._learn, iter(range(2 * ROUNDED + 3))

    def cut(self: Teaching) -> dict[int, float]:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return learn(self)

    with monkeypatch.context() as patched:
        patched.setattr(Teaching, "_learn", cut)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", 25)
    said: list[str] = []
    reading = Reading(sublayers=SUBLAYERS)
    resumed = Teaching(
        lesson(), recipe(25), reading, served(BASE, {}), PLATEAU, tmp_path / "cut", said.append
    ).go()
    assert f"going on at step {2 * ROUNDED} of 25" in said
    for name, matrix in uncut.matrices.items():
        torch.testing.assert_close(resumed.matrices[name], matrix)
    for layer, entry in uncut.entries.items():
        torch.testing.assert_close(resumed.entries[layer].matrix, entry.matrix)
    with pytest.raises(Problem, match="belongs to another run"):
        run(tmp_path / "cut", 26)


def test_entries_begin_from_those_that_are_there(tmp_path: Path) -> None:
    begun = run(tmp_path / "first", 10)
    own = Teaching(
        lesson(), recipe(10), Reading(entries=begun.entries, sublayers=SUBLAYERS), served(BASE, {}), PLATEAU,
        tmp_path, lambda _: None,
    )  # fmt: skip
    for layer, entry in own._found().items():
        other = begun.entries[layer]
        torch.testing.assert_close(entry.matrix * entry.gain, other.matrix * other.gain)


def test_what_settling_can_leave_out_is_found_from_little_to_much() -> None:
    """Each choice is measured as service would have it, and misses one sublayer more than the one before."""
    decoder, corpus = Decoder.load(SOURCE.config, BASE), lesson().corpus
    found = list(search(decoder, corpus, BOS, 4, seed=1))
    assert (found[0].plateau, found[0].sublayers) == (4, Sublayers())
    missed = [8 - 2 * one.plateau - len(one.sublayers) for one in found]
    assert missed == list(range(len(found))) and len(found) > 2
    assert found[-1].work <= 0.5 * found[0].work < found[-2].work
    rows = Drawn(corpus, "train", BOS).rows(WINDOWS, np.random.default_rng(1))
    starts = stretches(WINDOW, RISEN // 2)
    for one in (found[0], found[2]):
        served = Decoder.load(SOURCE.config, BASE)
        served.enter_by({}, one.sublayers)
        differ = []
        for row in rows:
            exact = Staircase(served)
            exact.append(row.tolist())
            exact.advance(WINDOW - 1, LAYERS)
            for start in starts.unique().tolist()[1:]:
                stairs = Staircase(served, plateau=one.plateau)
                stairs.append(row[: start + RISEN].tolist())
                stairs.settle(start)
                stairs.advance(len(stairs) - 1, LAYERS)
                said, wanted = (
                    served.logits(of.states(start + UNCOUNTED, len(stairs))).log_softmax(-1)
                    for of in (stairs, exact)
                )
                differ.append(kl_div(said, wanted, log_target=True, reduction="none").sum(-1))
        assert one.divergence == pytest.approx(torch.cat(differ).mean().item(), rel=1e-3)
