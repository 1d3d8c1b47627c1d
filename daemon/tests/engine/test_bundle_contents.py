"""Bundle contents that were made for another model are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file as save_columns

from green_code.decoding.stopping import StopAgent
from green_code.engine.loading import load_runtime
from green_code.engine.requests import completion_params
from green_code.models.bundle import AGENT, NGRAMS, STOP_AGENT, VALUE_HEADS, write_manifest
from green_code.models.tiny import TinySource
from green_code.problems import Problem
from tests.decoding.networks import exit_classifier, stop_network, value_heads

WIDTH = TinySource().config.width


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path / "bundles"))
    folder = tmp_path / "bundles" / "tiny-random"
    folder.mkdir(parents=True)
    return folder


def write_tiny_manifest(bundle: Path) -> None:
    base = {"model": "tiny-random", "sha256": TinySource().fingerprint()}
    write_manifest(bundle, {"base": base, "exits": [2, 4]})


def test_a_bundle_with_an_agent_is_loaded(bundle: Path) -> None:
    exit_classifier(WIDTH, (2, 4)).save(bundle / AGENT)
    write_tiny_manifest(bundle)
    assert load_runtime("tiny-random").agent is not None


def test_an_agent_for_another_width_is_refused(bundle: Path) -> None:
    exit_classifier(2 * WIDTH, (2, 4)).save(bundle / AGENT)
    write_tiny_manifest(bundle)
    with pytest.raises(Problem, match=rf"for width {2 * WIDTH}.*the model has width {WIDTH}"):
        load_runtime("tiny-random")


def test_a_bundle_with_a_stop_agent_is_loaded(bundle: Path) -> None:
    stop_network().save(bundle / STOP_AGENT)
    write_tiny_manifest(bundle)
    runtime = load_runtime("tiny-random")
    assert isinstance(runtime.stop(completion_params("x = ", stop=0.4)), StopAgent)
    assert runtime.stop(completion_params("x = ")) is None


@pytest.mark.parametrize(("width", "depths"), [(2 * WIDTH, (2, 3)), (WIDTH, (2, TinySource().config.layers))])
def test_value_heads_for_another_width_or_depth_are_refused(bundle: Path, width: int, depths: tuple[int, ...]) -> None:
    value_heads(width, depths, 3).save(bundle / VALUE_HEADS)
    write_tiny_manifest(bundle)
    with pytest.raises(
        Problem, match=rf"is for width {width} and layers \({depths[0]}, {depths[1]}\), the model has width {WIDTH}"
    ):
        load_runtime("tiny-random")


def test_n_grams_of_another_vocabulary_are_refused(bundle: Path) -> None:
    columns = {"checks": np.zeros(4, np.uint16), "tokens": np.zeros(4, np.uint16), "chances": np.zeros(4, np.uint8)}
    save_columns(columns, bundle / NGRAMS, {"vocabulary": "another"})
    write_tiny_manifest(bundle)
    with pytest.raises(Problem, match=r"another vocabulary.*green-code adapt ngrams"):
        load_runtime("tiny-random")
