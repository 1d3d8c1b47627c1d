"""`green-code doctor`: each problem is found, with a fix."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from green_code.cli import doctor
from green_code.energy.costs import COSTS_FILES, CostModel, save_costs
from green_code.models.block_hashes import write_hashes
from green_code.work import Prices

Run = Callable[..., tuple[int, str, str]]


def test_a_good_installation_passes(work: Path) -> None:
    for check in (
        doctor.check_python,
        doctor.check_packages,
        doctor.check_runtime_folder,
        doctor.check_engine,
        doctor.check_meters,
        doctor.check_costs,
        doctor.check_ledger,
    ):
        assert check().level == "ok"
    assert doctor.check_agreement() == []


def test_folders_that_cannot_be_written_are_found(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "file").write_text("")
    for name in ("RUNTIME_DIR", "DATA_DIR", "CACHE_DIR"):
        monkeypatch.setenv(f"GREEN_CODE_{name}", str(work / "file" / "x"))
    checks: list[doctor.Check] = [doctor.check_cache, doctor.check_runtime_folder, doctor.check_ledger]
    [cache], [runtime], [ledger] = map(doctor.findings, checks)
    assert (cache.level, runtime.level, ledger.level) == ("fail", "fail", "warn")
    assert "GREEN_CODE_CACHE_DIR" in cache.fix and "GREEN_CODE_RUNTIME_DIR" in runtime.fix
    assert "GREEN_CODE_DATA_DIR" in ledger.fix


@pytest.mark.parametrize(("interval", "level"), [(0.05, "ok"), (0.6, "warn")])
def test_the_interval_of_the_energy_costs(
    work: Path, monkeypatch: pytest.MonkeyPatch, interval: float, level: str
) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(work))
    costs = CostModel(Prices(), "estimate", "", interval, 10.0)
    save_costs(work / COSTS_FILES.replace("*", "here"), costs)
    finding = doctor.check_costs()
    assert (finding.level, finding.found) == (level, f"estimate, ± {interval:.0%}")
    assert ("costs-here.json" in finding.fix) == (level == "warn")


def test_a_little_space_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CACHE_BYTES", 1 << 60)
    finding = doctor.check_cache()
    assert finding.level == "warn" and "Free" in finding.fix


def test_a_check_that_raises_is_a_failed_finding(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("out of luck")

    for name in ("check_torch", "check_model", "check_bundles"):
        monkeypatch.setattr(doctor, name, broken)
    status, out, _ = run("doctor", "--json")
    report = json.loads(out)
    assert status == 1 and report["ok"] is False
    assert any("out of luck" in check["found"] for check in report["checks"])
    assert run("doctor")[0] == 1


def test_before_a_model_is_downloaded_all_else_is_checked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = doctor.Finding("fail", "it is not on this computer")
    monkeypatch.setattr(doctor, "check_model", lambda _: missing)
    (status, out, _), (bare_status, bare, _) = run("doctor", "--json"), run("doctor", "--json", "--without-model")
    found, others = ([check["check"] for check in json.loads(text)["checks"]] for text in (out, bare))
    assert (status, bare_status) == (1, 0) and others == [name for name in found if name != "model"]


@pytest.mark.usefixtures("fake_engine")
def test_a_running_engine_is_found() -> None:
    finding = doctor.check_engine()
    assert finding.level == "ok" and "pid" in finding.found


@pytest.mark.parametrize(("raised_to", "level"), [(None, "ok"), (0.9, "warn")])
def test_agreement_of_shadow_checks(monkeypatch: pytest.MonkeyPatch, raised_to: float | None, level: str) -> None:
    async def engine_status() -> dict[str, Any]:
        return {"agreement": {"checks": 20, "agreed": 17, "calibrated": 0.9, "raised_to": raised_to}}

    monkeypatch.setattr("green_code.cli.engine.engine_status", engine_status)
    [finding] = doctor.check_agreement()
    assert finding.level == level and "17 of 20" in finding.found and "90% expected" in finding.found


def test_doctor_never_sends_anyone_to_itself(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is damaged, and each check says what to do."""
    bundle, converted = work / "bundles" / "broken", work / "cache_dir" / "tiny-0123456789abcdef"
    for folder in (bundle, converted, work / "data_dir"):
        folder.mkdir(parents=True)
    (bundle / "manifest.json").write_text("{}")
    (work / "data_dir" / "energy.sqlite3").write_bytes(b"no database" * 1000)
    (converted / "tokenizer.json").write_text("{}")
    write_hashes(converted)
    (converted / "tokenizer.json").write_text("")

    async def engine_status() -> dict[str, Any]:
        message = "Loading tiny failed: KeyError: 'x'. Run `green-code doctor`; the log has the details."
        return {"running": True, "pid": 1, "state": "error", "reason": "internal_error", "message": message}

    monkeypatch.setattr("green_code.cli.engine.engine_status", engine_status)
    for check in (doctor.check_bundles, doctor.check_cache, doctor.check_ledger, doctor.check_engine):
        [finding] = doctor.findings(check)
        assert finding.level != "ok" and finding.fix, check
        assert "green-code doctor" not in finding.fix + finding.found, check
    [cache] = doctor.findings(doctor.check_cache)
    assert "tokenizer.json" in cache.found and str(converted) in cache.fix
    assert (work / "data_dir" / "energy.sqlite3").read_bytes().startswith(b"no database"), "it is the engine's to mend"
