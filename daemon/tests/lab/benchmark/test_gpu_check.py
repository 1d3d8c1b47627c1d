"""`make check-gpu` without a card: every part passes on the stand-in, says so, and writes no figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from green_code_lab.benchmark.gpu_check import __main__ as check
from green_code_lab.benchmark.gpu_check import correctness, planned
from green_code_lab.benchmark.gpu_check.page import write_page
from green_code_lab.benchmark.gpu_shapes import PAPER, SHAPES


@pytest.mark.slow
@pytest.mark.parametrize("part", check.PARTS)
def test_a_part_passes_on_the_stand_in(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(correctness, "compile_apart", lambda: "")  # see below
    assert check.main([part, "--out", str(tmp_path / "out"), "--page", str(tmp_path / "gpu.md")]) == 0
    assert "no card" in capsys.readouterr().out and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_every_kernel_of_the_plans_compiles_for_cards() -> None:
    from green_code_lab.benchmark.gpu_check.compiled import CAPABILITIES, compile_apart

    assert compile_apart().count("kernels compile for compute capability") == len(CAPABILITIES)


@pytest.mark.parametrize("name", PAPER)
def test_the_plan_says_what_the_papers_models_take(name: str) -> None:
    eight, four = planned.planned(name, 8), planned.planned(name, 4)
    assert eight.layer == 8 and eight.launches == 8 * SHAPES[name].layers + eight.head
    assert 0.5 < four.bytes_read / eight.bytes_read < 0.75
    assert 0.4 < eight.bound(3.35e12) / eight.seconds(3.35e12) < 1


def test_the_page_names_the_card_and_has_every_part(tmp_path: Path) -> None:
    for part in check.PARTS:
        (tmp_path / f"{part}.json").write_text(
            f'{{"card": "A card", "rows": [{{"what": "{part}", "figure": 0.12345}}, {{"what": "x"}}]}}'
        )
    write_page(tmp_path, tmp_path / "gpu.md")
    text = (tmp_path / "gpu.md").read_text()
    assert text.startswith("# On A card") and all(
        f"| {part} | 0.1235 |" in text or f"| {part} | 0.1234 |" in text for part in check.PARTS
    )
