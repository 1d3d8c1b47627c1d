"""The experiment as a command, over a tiny model: every rival on the same rows, differences paired, kinds of tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from green_code.models.catalog import TINY
from green_code_lab.cli.experiments import main
from green_code_lab.experiments import quality, quality_page


@pytest.fixture(scope="module")
def written(with_agent: None, small_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quality")
    words = ["quality", "--model", TINY, "--data", str(small_rows), "--limit", "2"]
    assert main([*words, "--work", str(folder / "work"), "--out", str(folder)]) == 0
    return folder


def test_references_agent_and_rivals_on_the_same_rows(written: Path) -> None:
    found = json.loads((written / "quality.json").read_text())
    assert found["rows"] == {"python": 2, "java": 2}
    families = [arm["family"] for arm in found["arms"] if arm["language"] == "java"]
    assert families[:3] == ["untouched", "full depth", "exact"]
    assert {"agent", "confidence", "fixed exit"} <= set(families)
    by_name = {(a["family"], a["setting"], a["language"]): a for a in found["arms"]}
    full = by_name["full depth", "", "python"]
    assert (full["same_as_full"], full["from_full"], full["from_full_interval"]) == (1, 0, [0, 0])
    assert full["saving"] == pytest.approx(0)
    assert by_name["exact", "", "python"]["same_as_full"] == 1
    first = found["exits"][0]
    assert by_name["fixed exit", str(first), "python"]["mean_depth"] == first
    assert by_name["fixed exit", str(first), "python"]["saving"] > 0
    for arm in found["arms"]:
        base = by_name["untouched", "", arm["language"]]
        assert arm["from_untouched"] == pytest.approx(arm["edit_similarity"] - base["edit_similarity"])
    of_kinds = sum(sum(kind["depths"].values()) for kind in found["kinds"])
    assert sum(found["exit_counts"]["T=0.8"].values()) == of_kinds > 0


def test_page_and_plot_name_every_policy(written: Path) -> None:
    text = (written / "quality.md").read_text()
    for name in ("untouched, full depth", "agent T=0.8", "fixed exit 2", "confidence τ=0.9", "exact"):
        assert f"| {name} |" in text
    assert "quality.svg" in text and "## How many tokens leave where" in text
    assert "CodeXGLUE's baseline" not in text, "these rows are not its"
    alone = (written / "quality.html").read_text()
    assert "<td>fixed exit 2</td>" in alone.replace(' style="text-align:right"', "")
    assert 'src="data:image/svg+xml;base64,' in alone and 'src="quality.svg"' not in alone
    assert "<svg" in (written / "quality.svg").read_text()


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (-3.0, -1.0, "Agent T=0.7 loses −2.0 [−3.0, −1.0] of edit similarity, and saves 20.0 %."),
        (-3.0, 1.0, "Agent T=0.7 is not told apart from full depth: −2.0 [−3.0, +1.0] of edit similarity, and saves 20.0 %."),
    ],
)  # fmt: skip
def test_a_sentence_follows_the_interval(low: float, high: float, says: str) -> None:
    arm = {"setting": "T=0.7", "from_full": -2.0, "from_full_interval": [low, high], "saving": 0.2}
    assert quality_page._says(arm) == says


@pytest.mark.parametrize(
    ("text", "language", "kind"),
    [
        (" return", "python", "keyword"),
        ("final", "java", "keyword"),
        ("final", "python", "identifier"),
        (" self", "python", "identifier"),
        ("12", "java", "literal"),
        ('"abc', "java", "literal"),
        (").", "python", "punctuation"),
        ("\n    ", "python", "layout"),
    ],
)
def test_kinds_of_tokens(text: str, language: str, kind: str) -> None:
    assert quality.kind(text, language) == kind
