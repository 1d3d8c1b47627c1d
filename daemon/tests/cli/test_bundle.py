"""`green-code bundle` accepts what the engine accepts, and names the reason of a refusal."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from green_code.cli import main
from green_code.models.bundle import write_manifest
from tests.decoding.networks import exit_classifier

MANIFEST = {
    "exits": [1, 2],
    "prefill_exit": 1,
    "base": {"model": "tiny-random", "sha256": "0" * 64},
    "training": {"tokens": 2e6},
}


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path))
    folder = tmp_path / "small"
    folder.mkdir()
    save_file({"layers.0.norm:vector": np.zeros(4, np.float16)}, str(folder / "delta.safetensors"))
    write_manifest(folder, MANIFEST)
    return folder


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict]:
    status = main(["bundle", "--json", *arguments])
    return status, json.loads(capsys.readouterr().out)["bundles"][0]


@pytest.mark.parametrize("by_path", [False, True])
def test_a_good_bundle_is_described(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, by_path: bool
) -> None:
    status, found = report(capsys, str(bundle) if by_path else "small")
    assert (status, found["ok"], found["exits"], found["base"]) == (0, True, [1, 2], "tiny-random")
    assert main(["bundle"]) == 0
    assert found["prefill_exit"] == 1
    printed = capsys.readouterr().out
    assert "small: ok" in printed and "prefill exit  1" in printed


def test_what_its_value_heads_never_compute_is_shown(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shares = {"cold": {"6": 0.123, "12": 0.31}, "requests": {"6": 0.05, "12": 0.14}}
    refusing = {"stop": 0.4, "refusal": {"6": 0.5, "12": 1.25}, "never_past": shares, "lost": 0.0061}
    calibration = {"suggestions": {"presets": {"eager": {"stop": 0.3}, "balanced": refusing}}}
    (bundle / "calibration.json").write_text(json.dumps(calibration))
    write_manifest(bundle, MANIFEST)
    assert main(["bundle"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  stop          eager: 0.3" in lines
    assert any(
        "balanced: 0.4; never past layer 6 and 12: 12% and 31% of cold prompts, 5% and 14% of all requests; 0.6% of"
        in line
        for line in lines
    )


def test_refuses_values_that_are_not_finite(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"layers.0.norm:vector": np.full(4, np.nan, np.float16)}, str(bundle / "delta.safetensors"))
    write_manifest(bundle, MANIFEST)
    status, found = report(capsys)
    assert status == 1
    assert found["reason"] == "bundle_invalid"
    assert "NaN" in found["message"]


def test_refuses_a_changed_file(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "delta.safetensors").write_bytes(b"other")
    status, found = report(capsys, "small")
    assert status == 1
    assert "sha256" in found["message"]


def test_refuses_an_agent_for_other_exits(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exit_classifier(8, (1, 3)).save(bundle / "agent.safetensors")
    write_manifest(bundle, MANIFEST)
    status, found = report(capsys)
    assert status == 1
    assert "decides at (1, 3)" in found["message"]


@pytest.mark.parametrize("part", ["svd_head.safetensors", "ngrams.safetensors", "lenses.safetensors"])
def test_refuses_a_part_that_holds_something_else(bundle: Path, capsys: pytest.CaptureFixture[str], part: str) -> None:
    save_file({"other": np.zeros(4, np.float16)}, str(bundle / part))
    write_manifest(bundle, MANIFEST)
    status, found = report(capsys)
    assert (status, found["reason"]) == (1, "bundle_invalid")
    assert part in found["message"]


@pytest.mark.parametrize("change", [{"exits": 5}, {"exits": [2, 1]}, {"base": "gemma"}, {"base": {}}])
def test_refuses_a_manifest_of_another_shape(bundle: Path, capsys: pytest.CaptureFixture[str], change: dict) -> None:
    write_manifest(bundle, {**MANIFEST, **change})
    status, found = report(capsys)
    assert (status, found["reason"]) == (1, "bundle_invalid")


def test_an_unknown_name_is_refused(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = report(capsys, "absent")
    assert status == 1
    assert "manifest.json" in found["message"]


def test_payback_of_the_training(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stop = {"threshold": 0.8, "saving": 0.2, "edit_similarity": 50.0, "allowed_loss": 0.02}
    stops = {"balanced": {**stop, "saved_joules": 0.3}, "quality": {**stop, "saved_joules": -0.01}}
    (bundle / "calibration.json").write_text(json.dumps({"presets": stops, "reference": {"energy_source": "estimate"}}))
    training = {"tokens": 2e6, "method": "LITE", "joules": 1000, "energy_source": "estimate"}
    write_manifest(bundle, {**MANIFEST, "training": training})
    status, found = report(capsys)
    assert (status, found["payback"]) == (0, {"balanced": 3334})  # 1000 J / 0.3 J, and never at a loss
    assert main(["bundle"]) == 0
    printed = capsys.readouterr().out
    assert "1 kJ (estimate)" in printed
    assert "paid back after 3,334 completions" in printed
    write_manifest(bundle, {**MANIFEST, "training": {**training, "joules": None, "energy_source": "unknown"}})
    assert report(capsys)[1]["payback"] == {} and main(["bundle"]) == 0
    assert "2.0 M tokens, joules unknown" in capsys.readouterr().out
