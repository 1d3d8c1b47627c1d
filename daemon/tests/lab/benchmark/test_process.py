"""A process that fails, ends or hangs is a Problem that says which."""

from __future__ import annotations

import pytest

from green_code.models.catalog import TINY
from green_code.problems import Problem
from green_code_lab.benchmark.peer import Prompt, Spec
from green_code_lab.benchmark.process import Worker

OURS = Spec("ours", "Ours", "green_code", {"model": TINY, "decoding": "full", "threshold": 1.0})
PROMPT = Prompt((), "def f():\n")


def test_an_engine_answers_measures_and_ends() -> None:
    worker = Worker(OURS)
    try:
        worker.begin_open()
        assert set(worker.answer()) == {"said", "source", "meter"}
        answer = worker.complete(PROMPT, 3, 1, True)
        assert len(answer["tokens"]) == 3 and answer["seconds"] > 0 and answer["cpu_seconds"] > 0
        with pytest.raises(Problem, match="KeyError"):
            worker.ask(do="nothing that it knows")
        assert worker.ask(do="memory")["bytes"] > 0  # and goes on
    finally:
        worker.close()


def test_an_engine_that_cannot_be_opened_says_why() -> None:
    worker = Worker(
        Spec("ours", "Ours", "green_code", {"model": "no-such-model", "decoding": "full", "threshold": 1.0})
    )
    try:
        worker.begin_open()
        with pytest.raises(Problem, match="no-such-model"):
            worker.answer()
    finally:
        worker.close()


def test_an_engine_that_hangs_is_ended() -> None:
    worker = Worker(OURS, limit_seconds=0.05)  # less than Python takes to start
    try:
        worker.begin_open()
        with pytest.raises(Problem, match=r"no answer in 0\.05 s"):
            worker.answer()
    finally:
        worker.close()


def test_what_a_process_said_last_is_in_the_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr("sys.executable", "/bin/sh")  # which knows no option -m
    worker = Worker(OURS)
    try:
        worker.begin_open()
        with pytest.raises(Problem, match="ended with status"):
            worker.answer()
    finally:
        worker.close()
