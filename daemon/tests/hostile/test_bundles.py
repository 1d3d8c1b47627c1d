"""Hostile bundles are refused in a sentence that names the file; none is served, hangs, or ends as an error of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.bundles import CASES, Case, random_damage, write_good_bundle
from tests.hostile.serving import complete, copied, load, refusal


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_good_bundle(tmp_path_factory.mktemp("hostile") / "good")


@pytest.fixture
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path / "bundles"))
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "bundles"


def test_the_good_bundle_is_served(good: Path, bundles: Path) -> None:
    copied(good, bundles)
    complete(load(bundles))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("case", CASES[::3], ids=lambda case: case.name)
def test_a_hostile_bundle_is_refused_with_its_file(case: Case, good: Path, bundles: Path) -> None:
    case.apply(copied(good, bundles))
    assert refusal(lambda: load(bundles), case) is not None


@pytest.mark.timeout(30)
@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_bundle_is_refused_or_served(seed: int, good: Path, bundles: Path) -> None:
    random_damage(copied(good, bundles), seed)
    refusal(lambda: complete(load(bundles)))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("arguments", "least_refused"), [(("--seeds", "300"), len(CASES)), (("--models",), 500)], ids=["bundles", "models"]
)
def test_everything_hostile_in_one_process(arguments: tuple[str, ...], least_refused: int) -> None:
    command = [sys.executable, "-m", "tests.hostile", *arguments]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert ended.returncode == 0, (ended.stdout[-3000:], ended.stderr[-2000:])
    assert json.loads(ended.stdout)["refused"] >= least_refused > 200
