"""The command line: bad input ends with a cause and a fix; good input goes through a real engine process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import green_code
from green_code import cli
from green_code.cli import doctor
from green_code.cli.engine import stop_engine
from green_code.energy.costs import COSTS_FILES, CostModel, save_costs
from green_code.link.discovery import ensure_engine, place
from green_code.problems import Problem
from green_code.work import Prices

FAKE = Path(__file__).resolve().parents[1] / "engine" / "fake_runtime.py"
PACKAGE_ROOT = str(Path(green_code.__file__).resolve().parents[1])


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("RUNTIME_DIR", "DATA_DIR", "CACHE_DIR", "BUNDLES"):
        monkeypatch.setenv(f"GREEN_CODE_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("PYTHONPATH", PACKAGE_ROOT)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    with contextlib.suppress(Problem):
        asyncio.run(stop_engine())


@pytest.fixture
def fake_engine() -> None:
    async def start() -> None:
        await (await ensure_engine(place(), command=(sys.executable, str(FAKE)))).close()

    asyncio.run(start())


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


BAD_INPUT: list[tuple[str, bytes | None, str, str]] = [
    ("a.py:1:1", None, "bad_request", "There is no file a.py"),
    ("a.py", b"x", "bad_request", "FILE:LINE:COL"),
    ("a.py:0:1", b"x", "bad_request", "no line 0"),
    ("a.py:3:1", b"x\ny", "bad_request", "2 lines"),
    ("a.py:1:4", b"ab", "bad_request", "1 to 3"),
    ("a.py:1:0", b"ab", "bad_request", "1 to 3"),
    ("a.py:one:1", b"ab", "bad_request", "FILE:LINE:COL"),
    ("a.py:1:1", b"", "no_context", "a.py is empty"),
    ("a.py:1:1", b"x = 1", "no_context", "no text before"),
    ("a.py:1:2", b"ab\0c", "bad_request", "binary"),
    ("a.py:1:2", b"ab\xff", "bad_request", "not UTF-8"),
    (".:1:1", None, "bad_request", "folder"),
]


@pytest.mark.parametrize(("where", "content", "reason", "words"), BAD_INPUT)
def test_bad_input_fails_with_cause_and_reason(
    work: Path, capsys: pytest.CaptureFixture[str], where: str, content: bytes | None, reason: str, words: str
) -> None:
    if content is not None:
        (work / "a.py").write_bytes(content)
    status, out, err = run(capsys, "complete", where, "--json")
    told = json.loads(out)
    assert status == 1 and told["reason"] == reason
    assert words in told["message"] and told["message"] in err
    assert "Traceback" not in err and err.count("\n") == 1
    assert run(capsys, "complete", where)[1] == "", "without --json standard output stays empty"


def test_empty_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    give_stdin(monkeypatch, b" \n")
    status, out, _ = run(capsys, "complete", "-", "--json")
    assert status == 1 and json.loads(out)["reason"] == "no_context"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["complete"],
        ["complete", "-", "--threshold", "0.3"],
        ["complete", "-", "--threshold", "cheap"],
        ["complete", "-", "--decoding", "slow"],
        ["complete", "-", "--max-tok", "3"],
        ["engine", "--stop", "--status"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2 and "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--policy", "guess"], "policy"),
        (["--max-tokens", "0"], "max_tokens"),
        (["--max-lines", "0"], "max_lines"),
        (["--max-prompt-tokens", "-1"], "max_prompt_tokens"),
    ],
)
def test_bad_options_are_named(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    give_stdin(monkeypatch, b"x = ")
    status, out, _ = run(capsys, "complete", "-", "--json", *arguments)
    assert status == 1 and json.loads(out)["reason"] == "bad_request" and word in out


@pytest.mark.usefixtures("fake_engine")
def test_a_file_is_completed_through_the_engine(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "a.py").write_text("\ufeffé = 1\r\ny = é\r\n", encoding="utf-8")
    status, out, err = run(
        capsys, "complete", "a.py:2:6", "--json", "--model", "fake", "--threshold", "saver"
    )
    told = json.loads(out)
    assert status == 0 and told["text"] == " + 1" and told["prompt_tokens"] == len("é = 1\ny = é")
    assert "Loading fake" in err
    status, out, err = run(capsys, "complete", "a.py:2:6", "--model", "fake")
    assert (status, out) == (0, " + 1\n") and "2 tokens" in err and "50% saved" in err
    status, out, _ = run(capsys, "energy", "--json")
    report = json.loads(out)
    assert status == 0 and report["all"]["completions"] == 2
    assert report["by_language"][0]["language"] == "python"
    assert "python" in run(capsys, "energy")[1]
    assert run(capsys, "energy", "export", "all.csv")[:2] == (0, "2 completions written to all.csv\n")
    assert run(capsys, "energy", "delete")[0] == 1, "nothing is deleted by a slip"
    assert run(capsys, "energy", "delete", "--yes")[1] == "2 rows deleted\n"
    assert run(capsys, "energy")[1] == "No completions yet.\n"


@pytest.mark.usefixtures("fake_engine")
def test_standard_input_with_a_suffix_file(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "rest.java").write_text(";\n}\n")
    give_stdin(monkeypatch, b"int x = nothing")
    status, out, err = run(capsys, "complete", "-", "--suffix-file", "rest.java", "--model", "fake")
    assert (status, out) == (0, "") and "nothing to add" in err


@pytest.mark.usefixtures("fake_engine")
def test_the_engine_is_looked_at_and_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "engine", "--status", "--json")
    assert status == 0 and json.loads(out)["running"] is True
    assert run(capsys, "engine", "--status")[1].startswith("engine ")
    assert run(capsys, "engine", "--stop", "--json")[1] == '{"stopped": true}\n'
    assert run(capsys, "engine", "--stop")[1] == "no engine was running\n"
    assert json.loads(run(capsys, "engine", "--status", "--json")[1]) == {"running": False}


def test_no_rows_no_energy(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "energy")[:2] == (0, "No completions yet.\n")


def test_help_lists_every_command_and_loads_no_torch() -> None:
    script = (
        "import sys\nfrom green_code.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'pygls', 'transformers', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in cli.COMMANDS)


def test_an_unexpected_error_is_a_bug_with_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("green_code.cli.energy.run", lambda args: 1 / 0)
    status, out, err = run(capsys, "energy", "--json")
    assert status == 1 and json.loads(out)["reason"] == "internal_error" and "Traceback" in err


def test_a_closed_pipe_is_no_traceback() -> None:
    done = subprocess.run(
        f"{sys.executable} -m green_code energy | true",
        shell=True,
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert "Traceback" not in done.stderr


# --- doctor -----------------------------------------------------------------------------------------------
def findings(check: Any) -> list[tuple[str, str]]:
    return [(finding.level, finding.check) for finding in check()]


def test_the_doctor_is_well_where_all_is_well(work: Path) -> None:
    for check in (
        doctor.check_python,
        doctor.check_packages,
        doctor.check_runtime_folder,
        doctor.check_engine,
        doctor.check_meters,
        doctor.check_costs,
        doctor.check_ledger,
    ):
        assert [level for level, _ in findings(check)] == ["ok"]


def test_the_doctor_finds_folders_that_cannot_be_written(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "file").write_text("")
    for name in ("RUNTIME_DIR", "DATA_DIR", "CACHE_DIR"):
        monkeypatch.setenv(f"GREEN_CODE_{name}", str(work / "file" / "x"))
    [cache], [runtime], [ledger] = (
        list(check()) for check in (doctor.check_cache, doctor.check_runtime_folder, doctor.check_ledger)
    )
    assert (cache.level, runtime.level, ledger.level) == ("fail", "fail", "warn")
    assert "GREEN_CODE_CACHE_DIR" in cache.mend and "GREEN_CODE_RUNTIME_DIR" in runtime.mend
    assert "GREEN_CODE_DATA_DIR" in ledger.mend


@pytest.mark.parametrize(("interval", "level"), [(0.05, "ok"), (0.6, "warn")])
def test_the_doctor_says_how_surely_joules_are_known(
    work: Path, monkeypatch: pytest.MonkeyPatch, interval: float, level: str
) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(work))
    costs = CostModel(Prices(), "estimate", "", interval, 10.0)
    save_costs(work / COSTS_FILES.replace("*", "here"), costs)
    [finding] = doctor.check_costs()
    assert (finding.level, finding.found) == (level, f"estimate, ± {interval:.0%}")
    assert ("costs-here.json" in finding.mend) == (level == "warn")


def test_a_little_space_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CACHE_BYTES", 1 << 60)
    [finding] = doctor.check_cache()
    assert finding.level == "warn" and "Free" in finding.mend


def test_a_check_that_fails_itself_is_a_finding_and_the_status_is_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("out of luck")

    for name in ("check_torch", "check_model", "check_bundles"):
        monkeypatch.setattr(doctor, name, broken)
    status, out, _ = run(capsys, "doctor", "--json")
    told = json.loads(out)
    assert status == 1 and told["ok"] is False
    assert any("out of luck" in check["found"] for check in told["checks"])
    assert run(capsys, "doctor")[0] == 1


@pytest.mark.usefixtures("fake_engine")
def test_the_doctor_sees_the_engine() -> None:
    [finding] = doctor.check_engine()
    assert finding.level == "ok" and "pid" in finding.found


def test_the_real_runtime_in_process_with_a_tiny_random_model(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "a.py").write_text("def add(a, b):\n    return a\n")
    arguments = (
        "complete",
        "a.py:2:13",
        "--json",
        "--no-engine",
        "--model",
        "tiny-random",
        "--max-tokens",
        "4",
    )
    status, out, err = run(capsys, *arguments)
    assert status == 0, err
    told = json.loads(out)
    assert told["tokens"] <= 4 and told["id"] and told["energy_source"] in ("nvml", "rapl", "estimate")
    assert json.loads(run(capsys, "energy", "--json")[1])["all"]["completions"] == 1
