"""Each way in which training fails, provoked in a real run, ends it with its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from green_code.problems import Problem
from green_code_lab.agent.environment import ExitEnvironment
from green_code_lab.agent.episodes import draw_typing
from green_code_lab.agent.ppo import Arguments, train
from green_code_lab.agent.prices import TokenPrices
from tests.lab.agent.replayed import PRICES, toy

ARGUMENTS = replace(Arguments(), environments=16, steps=32, updates=60, epochs=2, learning_rate=3e-3, entropy=0.0)


def run(prices: TokenPrices, arguments: Arguments, log: Path, share: float = 0.6) -> None:
    data = toy(share)
    train(ExitEnvironment(data, prices, draw_typing(data, 16, 4, 1), None), arguments, log, report=lambda _: None)


def test_collapse(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"collapsed.*price of an error"):
        run(replace(PRICES, error=0.0), ARGUMENTS, tmp_path / "log")


def test_stall(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"stalled.*price of an error"):
        run(PRICES, ARGUMENTS, tmp_path / "log", share=0.0)


def test_instability(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"unstable.*--seed"):
        run(PRICES, replace(ARGUMENTS, learning_rate=0.3), tmp_path / "log")


def test_not_finite(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"not finite.*--seed"):
        run(replace(PRICES, layer_batch=float("nan")), ARGUMENTS, tmp_path / "log")
