"""The bundles of this repository: whole, small, and with their papers."""

from __future__ import annotations

from pathlib import Path

import pytest

from green_code.models.bundle import load_bundle
from green_code.models.rows import LIGHT, STANDARD

_MOST_BYTES = 40_000_000
BUNDLES = [Path(__file__).parents[3] / "agent_models" / name for name in (LIGHT, STANDARD)]


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_a_shipped_bundle_is_whole_and_small_and_its_card_names_every_file(folder: Path) -> None:
    """Loading compares all hashes."""
    load_bundle(folder)
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sum(files.values()) <= _MOST_BYTES
    card = (folder / "MODEL_CARD.md").read_text("utf-8")
    assert (folder / "NOTICE").read_text("utf-8").strip()
    assert not [name for name in files if name not in ("MODEL_CARD.md", "NOTICE") and f"`{name}`" not in card]


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_no_shipped_stop_loses_where_code_is_unlike_the_corpus(folder: Path) -> None:
    """Above asking always, beyond chance; `train watch` has measured it."""
    suggestions = load_bundle(folder).calibration["suggestions"]
    watched = suggestions["unlike"]["presets"]
    assert watched.keys() == suggestions["presets"].keys()
    assert all(stop["gain"][2] >= 0 for stop in watched.values())
