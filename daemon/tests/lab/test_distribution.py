"""The laboratory is a distribution of its own, of the product's version, and the product works without it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import green_code_lab
from green_code.cli import ENTRY_POINT_GROUP, LAB_COMMANDS, Command

tomllib = pytest.importorskip("tomllib")  # Python 3.11
LAB = Path(green_code_lab.__file__).parent
ROOT = LAB.parents[1]


def project(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))


def test_both_distributions_have_one_version() -> None:
    product, lab = (project(folder)["project"] for folder in (ROOT, LAB))
    assert lab["version"] == product["version"]
    assert f"green-code[model]=={product['version']}" in lab["dependencies"]


def test_every_package_of_the_laboratory_is_in_its_wheel() -> None:
    found = {".".join(path.parent.relative_to(LAB.parent).parts) for path in LAB.rglob("__init__.py")}
    assert set(project(LAB)["tool"]["setuptools"]["packages"]) == found


def test_its_entry_points_are_the_commands_that_the_product_knows() -> None:
    points = project(LAB)["project"]["entry-points"][ENTRY_POINT_GROUP]
    assert set(points) == set(LAB_COMMANDS)
    for point in points.values():
        module, _, name = point.partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, Command)
        assert importlib.import_module(command.module).run


def test_the_product_imports_without_the_laboratory() -> None:
    script = (
        "import importlib, pkgutil, sys\n"
        "sys.modules['green_code_lab'] = None\n"
        "import green_code\n"
        "for module in pkgutil.walk_packages(green_code.__path__, 'green_code.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": str(LAB.parent)})
