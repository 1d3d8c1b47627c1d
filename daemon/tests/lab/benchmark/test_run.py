"""The whole command in small: our own modes in processes of their own, beside two engines that cannot take part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from green_code.decoding import stops
from green_code.models.catalog import TINY
from green_code_lab.benchmark import __main__ as command
from green_code_lab.benchmark import run
from green_code_lab.benchmark.engines import BASELINE, engines, green_code
from green_code_lab.benchmark.peer import Missing, Spec
from green_code_lab.benchmark.rounds import Plan


@pytest.fixture(autouse=True)
def own_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        stops, "RULES", stops.RULES
    )  # the command leaves them changed, for its process ends then


def test_a_quick_run_writes_a_page_and_reports_who_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, exact = green_code(TINY, None)
    broken = Spec("broken", "Broken engine", "no_such_module")
    absent = Missing("absent", "Absent engine", "it is not for this system")
    monkeypatch.setattr(
        run,
        "engines",
        lambda *_: ([full, broken, exact, absent], Missing("reference", "", "no reference here")),
    )
    monkeypatch.setattr(
        command, "QUICK", Plan(rounds=2, seconds=60, threads=(1,), decode_tokens=4, long=True)
    )
    assert command.main(["--quick", "--model", TINY, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "performance.json").read_text())
    assert found["rounds"] == 2
    assert [row["peer"] for row in found["summary"]] == [BASELINE, "green-code-exact"]
    assert [peer["name"] for peer in found["peers"] if "why_not" in peer] == ["broken", "absent"]
    assert all(peer["resident_bytes"] > 0 for peer in found["peers"] if "said" in peer)
    assert all(len(row["token_seconds"]["values"]) == 2 for row in found["summary"])
    assert {row["positions"]: row["ratio"]["median"] for row in found["passes"]}[1] == 1.0
    assert found["rounding"]["positions"] > 1000 and 0.9 < found["rounding"]["agreement"] <= 1
    assert found["starts"]["engine"]["seconds"]["median"] > 0 and found["starts"]["used_bytes"] > 2**20
    assert 0 < found["starts"]["round_trip"]["median"] <= found["starts"]["round_trip"]["p99"]
    page = (tmp_path / "performance.md").read_text()
    assert "| Absent engine | not set up: it is not for this system |" in page
    assert "| Broken engine | not set up: ModuleNotFoundError" in page
    assert "| Green Code, full depth |" in page and "no reference here" in page
    assert (tmp_path / "performance.svg").read_text().startswith("<?xml")


def test_what_a_model_has_no_file_for_is_said() -> None:
    peers, reference = engines(TINY, lambda _: None)
    assert isinstance(reference, Spec)
    missing = {peer.name: peer.why for peer in peers if isinstance(peer, Missing)}
    assert set(missing) == {"llama.cpp-stock", "llama.cpp-pruned"}


def test_a_model_that_is_not_there_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--quick", "--model", "no-such-model", "--out", str(tmp_path)]) == 1
    assert "no-such-model" in capsys.readouterr().err
