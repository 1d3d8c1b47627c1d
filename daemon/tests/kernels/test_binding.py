"""A library whose ABI is not the one that Python knows is refused, and the first difference is named."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from green_code.kernels import binding
from green_code.kernels.binding import CONSTANTS, STRUCTURES, CTopToken, Kernel
from green_code.kernels.build import CPU_LEVEL, library, this_target
from green_code.problems import Problem

INT, FLOAT, DOUBLE = ctypes.c_int32, ctypes.c_float, ctypes.c_double


@pytest.fixture
def built(libraries: dict[str, Path]) -> Path:
    return next(iter(libraries.values()))


def refuse(path: Path, difference: str) -> None:
    with pytest.raises(Problem) as caught:
        Kernel(path, "any")
    assert f"{path.name} was built from other sources ({difference}); run" in str(caught.value)


def test_another_number_is_refused(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "ABI", binding.ABI + 1)
    refuse(built, f"its ABI is {binding.ABI - 1}, not {binding.ABI}")


def test_a_library_without_a_number_is_refused(built: Path) -> None:
    refuse(built.with_name(library(CPU_LEVEL, this_target())), "it has no ABI number")


@pytest.mark.parametrize(
    "fields, difference",
    [
        ([("token", INT), ("margin", FLOAT), ("log_odds", FLOAT)], "offsetof(top_token, log_odds) is 4.0, not 8"),
        ([("token", INT), ("log_odds", FLOAT)], "sizeof(top_token) is 12.0, not 8"),
        ([("token", INT), ("log_odds", FLOAT), ("gap", FLOAT)], "offsetof(top_token, margin) is 8.0, not None"),
        (
            [("token", INT), ("log_odds", FLOAT), ("margin", FLOAT), ("more", FLOAT)],
            "sizeof(top_token) is 12.0, not 16",
        ),
        ([("token", INT), ("log_odds", FLOAT), ("margin", DOUBLE)], "sizeof(top_token) is 12.0, not 16"),
    ],
    ids=["order", "missing", "name", "more", "type"],
)
def test_another_layout_is_refused(
    built: Path, monkeypatch: pytest.MonkeyPatch, fields: list[tuple[str, type]], difference: str
) -> None:
    other = type("Other", (ctypes.Structure,), {"_fields_": fields})
    monkeypatch.setitem(STRUCTURES, "top_token", other)
    refuse(built, difference)
    monkeypatch.setitem(STRUCTURES, "top_token", CTopToken)
    Kernel(built, "any")


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure_is_compared(name: str, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(STRUCTURES, name)
    with pytest.raises(Problem, match=rf"sizeof\({name}\) is .*, not None"):
        Kernel(built, "any")


@pytest.mark.parametrize("name", CONSTANTS)
def test_another_constant_is_refused(name: str, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = CONSTANTS[name]
    monkeypatch.setitem(CONSTANTS, name, value + 1)
    refuse(built, f"{name} is {float(value)}, not {value + 1}")


def test_a_constant_that_one_side_lacks_is_named(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONSTANTS, "MORE", 1)
    refuse(built, "MORE is None, not 1")
    monkeypatch.delitem(CONSTANTS, "MORE")
    monkeypatch.delitem(CONSTANTS, "CHUNK")
    refuse(built, "CHUNK is 64.0, not None")
