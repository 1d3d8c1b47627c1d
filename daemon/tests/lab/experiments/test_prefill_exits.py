"""The experiment as a command, over a tiny model: each prefill exit on the same rows, paired with full depth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from green_code.models.adapters import LinearAdapter, save_lenses
from green_code.models.bundle import KV_PROJECTIONS, MANIFEST, write_manifest
from green_code.models.catalog import TINY
from green_code.models.tiny import TinySource
from green_code_lab.cli.experiments import main
from green_code_lab.experiments.prefill_exits import arms


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of prompts that are long enough to settle."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    prefix = "".join(f"value_{i} = {i}\n" for i in range(20)) + "total = "
    row = {"language": "python", "prefix": prefix, "suffix": "", "reference": "1"}
    path.write_text("".join(json.dumps({**row, "id": str(i)}) + "\n" for i in range(2)))
    return path


@pytest.fixture(scope="module")
def written(with_agent: None, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prefill_exits")
    words = ["prefill_exits", "--model", TINY, "--data", str(rows), "--limit", "2"]
    assert main([*words, "--work", str(folder / "work"), "--out", str(folder)]) == 0
    return folder


def test_plateaus_go_down_from_the_exit_and_stay_above_nothing() -> None:
    assert list(dict.fromkeys(arm.prefill_exit for arm in arms(13, None))) == [None, 13, 12, 11, 10]
    assert [(arm.family, arm.learned) for arm in arms(13, 11)][-1] == ("11, learned", True)
    assert list(dict.fromkeys(arm.prefill_exit for arm in arms(2, None))) == [None, 2, 1]


def test_a_prompt_that_rises_changes_no_text_where_no_token_leaves_early(written: Path) -> None:
    found = json.loads((written / "prefill exits.json").read_text())
    never = {arm["family"]: arm for arm in found["arms"] if arm["setting"] == "T=0.99"}
    assert (found["arms"][0]["family"], found["prefill_exit"]) == ("full depth", None)
    assert found["arms"][0]["saving"] == pytest.approx(0)
    assert {never[name]["mean_depth"] for name in ("none", "2", "1")} == {6}
    assert (never["none"]["same_as_full"], never["1"]["same_as_full"]) == (1, 0)


def test_learned_entries_are_an_arm_of_their_own(
    with_agent: None, tiny_bundle: Path, rows: Path, tmp_path: Path
) -> None:
    """With all others by what layers project themselves, as without a bundle's entries."""
    config = TinySource().config
    entry = LinearAdapter(
        torch.randn(2 * config.kv_heads * config.head_width, config.width), torch.ones(config.width)
    )
    before = (tiny_bundle / MANIFEST).read_text()
    save_lenses(tiny_bundle / KV_PROJECTIONS, dict.fromkeys(range(2, config.layers + 1), entry))
    write_manifest(
        tiny_bundle, {"exits": [2, 4], "prefill_exit": 1, "base": {"model": TINY, "sha256": "tiny-3"}}
    )
    try:
        words = ["prefill_exits", "--model", TINY, "--data", str(rows), "--limit", "2"]
        assert main([*words, "--work", str(tmp_path), "--out", str(tmp_path)]) == 0
    finally:
        (tiny_bundle / KV_PROJECTIONS).unlink()
        (tiny_bundle / MANIFEST).write_text(before)
    found = json.loads((tmp_path / "prefill exits.json").read_text())
    never = {arm["family"]: arm for arm in found["arms"] if arm["setting"] == "T=0.99"}
    assert set(never) == {"none", "2", "1", "1, learned"}
    assert never["none"]["same_as_full"] == 1, "nothing of them is in a prompt that rises"
    assert never["1, learned"]["joules"] != never["1"]["joules"], "other texts, and other lengths"
    assert "*Learned*: with the bundle's entries" in (tmp_path / "prefill exits.md").read_text().replace(
        "\n", " "
    )


def test_page_and_plot_name_every_plateau(written: Path) -> None:
    text = (written / "prefill exits.md").read_text()
    for name in ("none | 0.9", "2 | 0.9", "1 | 0.5", "full depth | –"):
        assert f"| {name} |" in text
    assert "The bundle's prefill exit is none." in text
    assert "<svg" in (written / "prefill exits.svg").read_text()
