"""The bundles of this repository: whole, small, and with their papers."""

from __future__ import annotations

from pathlib import Path

import pytest

from green_code.folders import bundles_dir
from green_code.models.bundle import MANIFEST, load_bundle

_MOST_BYTES = 40_000_000
BUNDLES = sorted(path.parent for path in bundles_dir().glob(f"*/{MANIFEST}"))


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_a_shipped_bundle_is_whole_and_small_and_its_card_names_every_file(folder: Path) -> None:
    """Loading compares all hashes."""
    load_bundle(folder)
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sum(files.values()) <= _MOST_BYTES
    card = (folder / "MODEL_CARD.md").read_text("utf-8")
    assert (folder / "NOTICE").read_text("utf-8").strip()
    assert not [name for name in files if name not in ("MODEL_CARD.md", "NOTICE") and f"`{name}`" not in card]
