"""The command line: bad input ends with a cause and a fix; good input goes through a real engine process."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from green_code import cli, folders
from green_code.energy.ledger import Ledger
from green_code.energy.rows import IDLE
from green_code.lsp.explain import TEXTS
from tests.energy.test_ledger import row

Run = Callable[..., tuple[int, str, str]]


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
    work: Path, run: Run, where: str, content: bytes | None, reason: str, words: str
) -> None:
    if content is not None:
        (work / "a.py").write_bytes(content)
    status, out, err = run("complete", where, "--json")
    result = json.loads(out)
    assert status == 1 and result["reason"] == reason
    assert words in result["message"] and result["message"] in err
    assert "Traceback" not in err and err.count("\n") == 1
    assert run("complete", where)[1] == "", "without --json standard output stays empty"


def test_empty_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    give_stdin(monkeypatch, b" \n")
    status, out, _ = run("complete", "-", "--json")
    assert status == 1 and json.loads(out)["reason"] == "no_context"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["complete"],
        ["complete", "-", "--threshold", "0.3"],
        ["complete", "-", "--threshold", "cheap"],
        ["complete", "-", "--stop", "1"],
        ["complete", "-", "--stop", "often"],
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
def test_bad_options_are_named(arguments: list[str], word: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    give_stdin(monkeypatch, b"x = ")
    status, out, _ = run("complete", "-", "--json", *arguments)
    assert status == 1 and json.loads(out)["reason"] == "bad_request" and word in out


@pytest.mark.usefixtures("fake_engine")
def test_a_file_is_completed_through_the_engine(work: Path, run: Run) -> None:
    (work / "a.py").write_text("\ufeffé = 1\r\ny = é\r\n", encoding="utf-8")
    status, out, err = run("complete", "a.py:2:6", "--json", "--model", "fake", "--threshold", "saver")
    result = json.loads(out)
    assert status == 0 and result["text"] == " + 1" and result["prompt_tokens"] == len("é = 1\ny = é")
    assert "Loading fake" in err
    status, out, err = run("complete", "a.py:2:6", "--model", "fake")
    assert (status, out) == (0, " + 1\n") and "2 tokens" in err and "50% saved" in err
    report: dict[str, Any] = {}
    for _ in range(100):  # a row is written shortly after its answer
        status, out, _ = run("energy", "--json")
        report = json.loads(out)
        if report["all"]["completions"] == 2:
            break
        time.sleep(0.05)
    assert status == 0 and report["all"]["completions"] == 2
    assert report["by_language"][0]["language"] == "python"
    table = run("energy")[1]
    assert "python" in table and "0 chars" in table
    assert run("energy", "export", "all.csv")[:2] == (0, "2 rows written to all.csv\n")
    assert run("energy", "delete")[0] == 1, "nothing is deleted by a slip"
    assert run("energy", "delete", "--yes")[1] == "2 rows deleted\n"
    assert run("energy")[1] == "No completions yet.\n"


def test_what_a_gpu_used_while_the_model_waited_is_told_apart(run: Run) -> None:
    ledger = Ledger(folders.ledger_path())
    ledger.record(row(energy_joules=3.0, energy_full_joules=3.0))
    assert "waited" not in run("energy")[1]
    ledger.record(row(language="", reason=IDLE, completions=0, energy_joules=120.0, energy_full_joules=120.0))
    ledger.close()
    assert "While the model waited, the GPU used 120.0 J" in run("energy")[1]


@pytest.mark.usefixtures("fake_engine")
def test_standard_input_with_a_suffix_file(work: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "rest.java").write_text(";\n}\n")
    give_stdin(monkeypatch, b"int x = nothing")
    status, out, err = run("complete", "-", "--suffix-file", "rest.java", "--model", "fake")
    assert (status, out) == (0, "") and "nothing to add" in err


@pytest.mark.usefixtures("fake_engine")
def test_a_stop_ends_a_completion_and_is_explained(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake model is unsure behind "guess" and finds all unlikely behind "dark", where there is a stop."""
    for stop, text in (("0", " + 1"), ("0.5", " +"), ("balanced", " +")):
        give_stdin(monkeypatch, b"x = guess")
        status, out, err = run("complete", "-", "--model", "fake", "--stop", stop)
        assert (status, out) == (0, f"{text}\n") and "confidence 70%" in err
        assert TEXTS["unsure"].sentence in err or stop == "0"
    give_stdin(monkeypatch, b"x = dark")
    status, out, err = run("complete", "-", "--model", "fake", "--stop", "sure")
    assert (status, out) == (0, "") and TEXTS["unlikely"].sentence in err
    give_stdin(monkeypatch, b"x = guess")
    result = json.loads(run("complete", "-", "--model", "fake", "--stop", "0.9", "--json")[1])
    assert (result["reason"], result["confidence"]) == ("unsure", 0.7)


@pytest.mark.usefixtures("fake_engine")
def test_the_engines_status_and_stop(run: Run) -> None:
    status, out, _ = run("engine", "--status", "--json")
    assert status == 0 and json.loads(out)["running"] is True
    assert run("engine", "--status")[1].startswith("engine ")
    assert run("engine", "--stop", "--json")[1] == '{"stopped": true}\n'
    assert run("engine", "--stop")[1] == "no engine was running\n"
    assert json.loads(run("engine", "--status", "--json")[1]) == {"running": False}


def test_an_empty_ledger_has_no_report(run: Run) -> None:
    assert run("energy")[:2] == (0, "No completions yet.\n")


def test_help_lists_every_command_and_loads_no_torch() -> None:
    script = (
        "import sys\nfrom green_code.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'pygls', 'transformers', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in cli.COMMANDS)


def test_a_lab_command_without_the_lab_names_the_fix(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: ())
    for name in cli.LAB_COMMANDS:
        status, out, err = run(name, "--json")
        assert status == 1 and json.loads(out)["reason"] == "bad_request"
        assert f"green-code {name}" in err and "pip install ./daemon/green_code_lab" in err


def test_commands_of_other_distributions_are_listed_and_run(
    capsys: pytest.CaptureFixture[str], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A distribution as pip installs it: a package, and metadata with an entry point."""
    (work / "other.py").write_text(
        "from green_code.cli import Command\n"
        "DANCE = Command('other', 'dance a little')\n"
        "def add_arguments(parser): parser.add_argument('--steps', type=int, default=2)\n"
        "def run(args): print(f'{args.steps} steps'); return 0\n"
    )
    (work / "other-1.dist-info").mkdir()
    (work / "other-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (work / "other-1.dist-info" / "entry_points.txt").write_text(f"[{cli.ENTRY_POINT_GROUP}]\ndance = other:DANCE\n")
    monkeypatch.syspath_prepend(str(work))
    assert cli.main(["dance", "--steps", "3"]) == 0 and capsys.readouterr().out == "3 steps\n"
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0 and "dance a little" in capsys.readouterr().out


def test_the_lab_adds_its_commands() -> None:
    """On failure change cli.LAB_COMMANDS or the entry points of green_code_lab/pyproject.toml."""
    points = importlib.metadata.entry_points(group=cli.ENTRY_POINT_GROUP)
    if not points:
        pytest.skip("green-code-lab is not installed")
    assert {point.name for point in points} == set(cli.LAB_COMMANDS)


def test_an_unexpected_error_is_a_bug_with_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("green_code.cli.energy.run", lambda args: 1 / 0)
    status, out, err = run("energy", "--json")
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


def test_the_real_runtime_in_process_with_a_tiny_random_model(work: Path, run: Run) -> None:
    (work / "a.py").write_text("def add(a, b):\n    return a\n")
    arguments = ("complete", "a.py:2:13", "--json", "--no-engine", "--model", "tiny-random", "--max-tokens", "4")
    status, out, err = run(*arguments)
    assert status == 0, err
    result = json.loads(out)
    assert result["tokens"] <= 4 and result["id"] and result["energy_source"] in ("nvml", "rapl", "estimate")
    assert json.loads(run("energy", "--json")[1])["all"]["completions"] == 1
