"""Logs: hostile input repeats a complaint, but no log."""

from __future__ import annotations

import logging
from io import StringIO
from logging.handlers import RotatingFileHandler
from pathlib import Path

import pytest

from green_code import logs
from green_code.engine import process


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def written(now: list[float]) -> StringIO:
    return StringIO()


@pytest.fixture
def logger(written: StringIO, now: list[float]) -> logging.Logger:
    handler = logging.StreamHandler(written)
    handler.addFilter(logs.Sparing(lambda: now[0]))
    handler.setFormatter(logs.Cut("%(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger


def test_a_statement_that_repeats_itself_is_counted(
    logger: logging.Logger, written: StringIO, now: list[float]
) -> None:
    def complain(times: int) -> None:
        for number in range(times):
            try:
                raise ValueError(number)
            except ValueError:
                logger.exception("bad frame %d", number)

    complain(7261)
    assert written.getvalue().count("Traceback") == logs.RECORDS_AT_MOST
    logger.warning("another statement")
    assert "another statement" in written.getvalue()
    now[0] += logs.MINUTE_SECONDS
    complain(2)
    assert f"bad frame 0 (and {7261 - logs.RECORDS_AT_MOST} more like it before)" in written.getvalue()
    assert written.getvalue().count("Traceback") == logs.RECORDS_AT_MOST + 2
    now[0] += logs.MINUTE_SECONDS
    complain(1)
    assert written.getvalue().count("more like it") == 1, "none was left out"


def test_a_long_record_is_cut(logger: logging.Logger, written: StringIO) -> None:
    logger.error("begin %s end", "x" * 3_000_000)
    text = written.getvalue()
    assert len(text) < logs.CHARACTERS_AT_MOST + 20 and text.startswith("begin") and text.endswith("end\n")


def test_the_engines_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    monkeypatch.setattr(process, "LOG_BYTES", 10_000)
    process._log_to(tmp_path / "engine.log")
    [handler] = root.handlers
    assert isinstance(handler, RotatingFileHandler) and any(isinstance(one, logs.Sparing) for one in handler.filters)
    for number in range(2000):
        source = f"def say{number}(log): log.error('x' * 200)"
        namespace: dict = {}
        exec(compile(source, f"file{number}.py", "exec"), namespace)
        namespace[f"say{number}"](logging.getLogger("engine"))
    handler.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000 * (1 + process.LOG_FILES)


def test_a_log_that_cannot_be_written_fills_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(logging.StreamHandler):
        def format(self, record: logging.LogRecord) -> str:
            raise OSError("No space left on device")

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    logs.log_to(Full(), "%(message)s")
    root.error("a bad frame")
    assert capsys.readouterr().err == ""
