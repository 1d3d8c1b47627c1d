"""Bundles: checked before use, refused with a reason; and the weights that are converted with them."""

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

from green_code.decoding.exit_classifier import load_exit_classifier
from green_code.lsp.gate import FILE as GATE_FILE
from green_code.models import torch_format
from green_code.models.adapters import LENS_BITS, PROJECTION_BITS, LinearAdapter, save_adapters
from green_code.models.bundle import KV_PROJECTIONS, LENSES, Bundle, load_bundle, refresh_manifest, write_manifest
from green_code.models.catalog import find_model
from green_code.models.tiny import TinySource
from green_code.models.torch_format import TorchFormat
from green_code.models.weights import Model, open_model
from green_code.problems import Problem
from tests.decoding.networks import exit_classifier

FORMATS = (TorchFormat(torch.float32),)


def open_tiny(bundle: Bundle | None = None) -> Model:
    return open_model(find_model("tiny-random"), bundle, FORMATS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file({"ids": np.arange(300, dtype=np.int32)}, str(tmp_path / "vocabulary.safetensors"))
    write_manifest(tmp_path, {"base": {"model": "tiny-random", "sha256": TinySource().fingerprint()}, "exits": [2, 4]})
    return tmp_path


def test_a_good_bundle_loads(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.exits == (2, 4)
    assert len(bundle.vocabulary or ()) == 300


def test_the_fronts_gate_is_a_part_that_changes_no_weights(folder: Path) -> None:
    before = load_bundle(folder)
    (folder / GATE_FILE).write_text("{}")
    refresh_manifest(folder)
    after = load_bundle(folder)
    assert after.part(GATE_FILE) == folder / GATE_FILE
    assert (after.weights_key, after.conversion_key) == (before.weights_key, before.conversion_key)
    (folder / GATE_FILE).write_text("{ }")
    with pytest.raises(Problem, match=f"{GATE_FILE} has sha256"):
        load_bundle(folder)


def test_another_prefill_exit_is_another_bundle(folder: Path) -> None:
    before = load_bundle(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "prefill_exit": 2}))
    after = load_bundle(folder)
    assert (before.prefill_exit, after.prefill_exit) == (None, 2)
    assert before.digest != after.digest
    assert before.weights_key == after.weights_key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "schema is 99"),
        ({"exits": [4, 2]}, "not ascending"),
        ({"prefill_exit": 5}, "prefill_exit 5"),
        ({"prefill_exit": "4"}, r"manifest\.json .*prefill_exit"),
        ({"files": {"vocabulary.safetensors": "0" * 64}}, "sha256"),
        ({"base": {"model": "tiny-random", "sha256": ""}}, "base.sha256"),
        ({"files": {"delta.safetensors": "0" * 64}}, "delta.safetensors, which is missing"),
        ({"files": {"../evil": "0" * 64}}, "missing or unknown"),
    ],
)
def test_a_damaged_bundle_is_refused(folder: Path, change: dict[str, object], message: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(Problem, match=message) as caught:
        load_bundle(folder)
    assert caught.value.reason == "bundle_invalid"


def test_a_bundles_lenses_are_in_its_decoder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(folder / "cache"))
    without = load_bundle(folder)
    width = find_model("tiny-random").open().config.width
    lens = LinearAdapter(np.eye(width, dtype=np.float32)[::-1], np.ones(width, np.float32))
    save_adapters(folder / LENSES, {4: lens}, LENS_BITS)
    refresh_manifest(folder)
    with_lens = load_bundle(folder)
    assert with_lens.weights_key != without.weights_key
    x = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
    for bundle, same in ((without, True), (with_lens, False)):
        decoder = open_tiny(bundle).decoder
        assert torch.equal(decoder.apply_lens(x, 4), x) == same
        assert torch.equal(decoder.apply_lens(x, 2), x)


def test_kv_projections_change_the_conversion_key_and_must_fit_the_prefill_exit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights key stays: rollouts of the bundle remain valid, as they are recorded on an exact cache."""
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(folder / "cache"))
    without = load_bundle(folder)
    config = find_model("tiny-random").open().config
    kv_width = 2 * config.kv_heads * config.head_width
    projection = LinearAdapter(np.ones((kv_width, config.width), np.float32), np.ones(config.width, np.float32))
    save_adapters(folder / KV_PROJECTIONS, {5: projection, 6: projection}, PROJECTION_BITS)
    refresh_manifest(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for prefill_exit, fits in ((4, True), (3, False)):
        (folder / "manifest.json").write_text(json.dumps({**manifest, "exits": [4], "prefill_exit": prefill_exit}))
        bundle = load_bundle(folder)
        assert bundle.weights_key == without.weights_key and bundle.conversion_key != without.conversion_key
        if fits:
            open_tiny(bundle)
        else:
            with pytest.raises(Problem, match="not of the layers above its prefill exit"):
                open_tiny(bundle)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"manifest\.json is missing"):
        load_bundle(tmp_path)


def test_a_bundle_for_another_checkpoint_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    write_manifest(folder, {"base": {"model": "tiny-random", "sha256": "f" * 64}, "exits": [2, 4]})
    with pytest.raises(Problem, match="another checkpoint"):
        open_tiny(load_bundle(folder))


def test_an_agent_with_nan_or_for_other_exits_is_refused(tmp_path: Path) -> None:
    classifier = exit_classifier(8, (2, 4))
    classifier.save(tmp_path / "a")
    assert load_exit_classifier(tmp_path / "a", (2, 4)).width == 8
    with pytest.raises(ValueError, match="decides at"):
        load_exit_classifier(tmp_path / "a", (2, 5))
    classifier.parameters["action.weight"][0, 0] = float("nan")
    classifier.save(tmp_path / "b")
    with pytest.raises(ValueError, match="NaN"):
        load_exit_classifier(tmp_path / "b", (2, 4))


def test_an_interrupted_removal_does_not_prevent_a_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))
    open_tiny()
    (description,) = tmp_path.glob("tiny-random-*/model.json")
    description.unlink()
    assert len(open_tiny().vocabulary) == 370


def test_a_bundle_that_changes_during_its_conversion_is_not_cached(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    before, save = load_bundle(folder), TorchFormat.save

    def save_and_change_the_bundle(*arguments: Any) -> None:
        save(*arguments)
        save_file({"ids": np.arange(301, dtype=np.int32)}, str(folder / "vocabulary.safetensors"))

    monkeypatch.setattr(TorchFormat, "save", save_and_change_the_bundle)
    with pytest.raises(Problem, match="changed while it was read"):
        open_tiny(before)
    assert not list((tmp_path / "cache").glob("tiny-random-*"))


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_too_little_memory_does_not_remove_the_conversion(
    error: RuntimeError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(torch_format, "load_file", refuse)
    with pytest.raises(Problem, match="not enough memory"):
        open_tiny()
    assert list(tmp_path.glob("tiny-random-*/weights.safetensors")), "the conversion is kept"


def test_a_new_conversion_removes_those_unused_for_a_month(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))
    key = "0123456789abcdef"
    unused = [tmp_path / f"tiny-random-{key}", tmp_path / f"tiny-random-{key}.part"]
    kept = [tmp_path / f"tiny-random-{key[::-1]}", tmp_path / f"other-{key}", tmp_path / "tiny-random-notes"]
    for folder in (*unused, *kept):
        folder.mkdir()
        (folder / "model.json").touch()
    ages = dict.fromkeys((*unused, *kept[1:]), 40) | {kept[0]: 20}
    for folder, days in ages.items():
        for path in (folder / "model.json", folder):
            os.utime(path, (time.time() - days * 24 * 3600,) * 2)
    open_tiny()
    assert not any(folder.exists() for folder in unused)
    assert all(folder.exists() for folder in kept)
    (description,) = (path for path in tmp_path.glob("tiny-random-*/model.json") if path.parent not in kept)
    os.utime(description, (0, 0))
    open_tiny()
    assert time.time() - description.stat().st_mtime < 3600


def test_an_unwritable_cache_is_reported_with_a_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(Problem, match="GREEN_CODE_CACHE_DIR") as caught:
        open_tiny()
    assert caught.value.reason == "cache_unwritable"


def test_an_unknown_model_is_reported_with_the_catalog() -> None:
    with pytest.raises(Problem, match="gemma-3-270m"):
        find_model("no-such-model")
