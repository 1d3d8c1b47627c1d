"""A bundle is checked whole; each kind of damage is refused with its reason."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from green_code.decoding.exit_classifier import ExitClassifier, load_exit_classifier
from green_code.models.adapters import LinearAdapter, read_adapters, save_lenses
from green_code.models.bundle import (
    KV_PROJECTIONS,
    LENSES,
    Bundle,
    early_thresholds,
    load_bundle,
    refresh_manifest,
    write_manifest,
)
from green_code.models.catalog import find_model
from green_code.models.weights import Model, TorchFormat, open_model
from green_code.problems import Problem

FORMS = (TorchFormat(torch.float32),)


def opened(bundle: Bundle | None) -> Model:
    return open_model(find_model("tiny-random"), bundle, read_adapters(bundle), FORMS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file({"ids": np.arange(300, dtype=np.int32)}, str(tmp_path / "vocabulary.safetensors"))
    write_manifest(tmp_path, {"base": {"model": "tiny-random", "sha256": "tiny-3"}, "exits": [2, 4]})
    return tmp_path


def test_a_good_bundle_loads(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.exits == (2, 4)
    assert len(bundle.vocabulary or ()) == 300


def test_another_plateau_is_another_bundle(folder: Path) -> None:
    before = load_bundle(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "prefill_exit": 2}))
    after = load_bundle(folder)
    assert (before.prefill_exit, after.prefill_exit) == (None, 2)
    assert before.digest != after.digest
    assert before.weights_key == after.weights_key


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": 99}, "schema is 99"),
        ({"exits": [4, 2]}, "not ascending"),
        ({"prefill_exit": 5}, "prefill exit 5"),
        ({"prefill_exit": "4"}, "prefill exit 4"),
        ({"files": {"vocabulary.safetensors": "00"}}, "sha256"),
        ({"files": {"delta.safetensors": "00"}}, "delta.safetensors is missing"),
        ({"files": {"../evil": "00"}}, "missing or unknown"),
    ],
)
def test_damage_is_refused(folder: Path, change: dict[str, object], says: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(Problem, match=says) as caught:
        load_bundle(folder)
    assert caught.value.reason == "bundle_invalid"


def test_lenses_are_taken_up_with_the_bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(folder / "cache"))
    plain = load_bundle(folder)
    width = find_model("tiny-random").open().config.width
    save_lenses(folder / LENSES, {4: LinearAdapter(torch.eye(width).flip(0), torch.ones(width))})
    refresh_manifest(folder)
    lensed = load_bundle(folder)
    assert lensed.weights_key != plain.weights_key
    x = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
    for bundle, same in ((plain, True), (lensed, False)):
        decoder = opened(bundle).decoder
        assert torch.equal(decoder.apply_lens(x, 4), x) == same
        assert torch.equal(decoder.apply_lens(x, 2), x)


def test_entries_are_taken_up_with_the_bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was recorded on an exact cache remains of this bundle; converted weights are others, for each prefill exit."""
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(folder / "cache"))
    plain = load_bundle(folder)
    config = find_model("tiny-random").open().config
    both = 2 * config.kv_heads * config.head_width
    entry = LinearAdapter(torch.ones(both, config.width), torch.ones(config.width))
    save_lenses(folder / KV_PROJECTIONS, {5: entry, 6: entry})
    refresh_manifest(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for prefill_exit, fits in ((4, True), (3, False)):
        (folder / "manifest.json").write_text(
            json.dumps({**manifest, "exits": [4], "prefill_exit": prefill_exit})
        )
        bundle = load_bundle(folder)
        assert bundle.weights_key == plain.weights_key and bundle.conversion_key != plain.conversion_key
        if fits:
            opened(bundle)
        else:
            with pytest.raises(Problem, match="not of the layers above its prefill exit"):
                opened(bundle)


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"manifest\.json is missing"):
        load_bundle(tmp_path)


def test_a_bundle_for_another_checkpoint_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    write_manifest(folder, {"base": {"model": "tiny-random", "sha256": "other"}, "exits": [2, 4]})
    with pytest.raises(Problem, match="another checkpoint"):
        opened(load_bundle(folder))


def test_an_agent_with_nan_or_for_other_exits_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file as save

    network = ExitClassifier(8, (2, 4))
    save(network.state_dict(), str(tmp_path / "a"), metadata=network.save_metadata())
    assert load_exit_classifier(tmp_path / "a", (2, 4)).width == 8
    with pytest.raises(Problem, match="decides at"):
        load_exit_classifier(tmp_path / "a", (2, 5))
    network.action.weight.data[0, 0] = float("nan")
    save(network.state_dict(), str(tmp_path / "b"), metadata=network.save_metadata())
    with pytest.raises(Problem, match="NaN"):
        load_exit_classifier(tmp_path / "b", (2, 4))


def test_damaged_conversion_is_removed_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))
    opened(None)
    (weights,) = tmp_path.glob("tiny-random-*/weights.safetensors")
    weights.write_bytes(b"not weights")
    with pytest.raises(Problem, match="try again"):
        opened(None)
    assert len(opened(None).vocabulary) == 370


def test_what_an_interrupted_removal_left_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))
    opened(None)
    (description,) = tmp_path.glob("tiny-random-*/model.json")
    description.unlink()
    assert len(opened(None).vocabulary) == 370


def test_a_bundle_that_changes_while_it_is_converted_is_not_kept_under_its_old_key(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    before, save = load_bundle(folder), TorchFormat.save

    def replaced_meanwhile(*arguments: Any) -> None:
        save(*arguments)
        save_file({"ids": np.arange(301, dtype=np.int32)}, str(folder / "vocabulary.safetensors"))

    monkeypatch.setattr(TorchFormat, "save", replaced_meanwhile)
    with pytest.raises(Problem, match="changed while it was read"):
        opened(before)
    assert not list((tmp_path / "cache").glob("tiny-random-*"))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_is_no_damage(
    error: RuntimeError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(TorchFormat, "open", refuse)
    with pytest.raises(Problem, match="not enough memory"):
        opened(None)
    assert list(tmp_path.glob("tiny-random-*/weights.safetensors")), "the conversion is kept"


def test_conversions_that_nobody_opens_go_when_another_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))
    hash_of = "0123456789abcdef"
    unused = [tmp_path / f"tiny-random-{hash_of}", tmp_path / f"tiny-random-{hash_of}.part"]
    kept = [
        tmp_path / f"tiny-random-{hash_of[::-1]}",
        tmp_path / f"other-{hash_of}",
        tmp_path / "tiny-random-notes",
    ]
    for folder in (*unused, *kept):
        folder.mkdir()
        (folder / "model.json").touch()
    ages = dict.fromkeys((*unused, *kept[1:]), 40) | {kept[0]: 20}
    for folder, days in ages.items():
        for path in (folder / "model.json", folder):
            os.utime(path, (time.time() - days * 24 * 3600,) * 2)
    opened(None)
    assert not any(folder.exists() for folder in unused)
    assert all(folder.exists() for folder in kept)
    (made,) = (path for path in tmp_path.glob("tiny-random-*/model.json") if path.parent not in kept)
    os.utime(made, (0, 0))
    opened(None)
    assert time.time() - made.stat().st_mtime < 3600


def test_unwritable_cache_names_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(Problem, match="GREEN_CODE_CACHE_DIR") as caught:
        opened(None)
    assert caught.value.reason == "cache_unwritable"


def test_unknown_model_lists_the_catalog() -> None:
    with pytest.raises(Problem, match="gemma-3-270m"):
        find_model("no-such-model")


def test_each_threshold_that_decides_is_measured_once() -> None:
    stops = {name: {"threshold": at} for name, at in (("quality", 1.0), ("balanced", 0.7), ("saver", 0.5))}
    assert early_thresholds({"presets": stops}, 0.7) == {"T=0.7, balanced": 0.7, "T=0.5, saver": 0.5}
    assert early_thresholds({}, 0.7) == {"T=0.7": 0.7}
