"""The way that the engine takes with a bundle: checked, converted, loaded, and asked for a completion in every mode."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from green_code.cli.bundle import check_bundle
from green_code.engine.loading import Runtime, load_runtime
from green_code.engine.requests import completion_params
from green_code.models.bundle import MANIFEST, PARTS
from green_code.problems import Problem
from tests.hostile.bundles import NAME, Case


def load(bundles: Path) -> Runtime:
    """The model with its bundle in this folder, which GREEN_CODE_BUNDLES names. Raises Problem."""
    check_bundle(bundles / NAME)
    return load_runtime(NAME)


def complete(runtime: Runtime) -> None:
    """A completion in every mode; what it is does not matter."""
    for decoding in ("fast", "exact", "full"):
        params = completion_params("def f(x):\n    return ", decoding=decoding, max_tokens=6, stop="eager")
        params["place"] = [0.0] * (runtime.value_heads.place_features if runtime.value_heads else 0)
        assert isinstance(runtime.new_session().complete(params, lambda: None)["text"], str)


def copied(good: Path, bundles: Path) -> Path:
    """A copy of the good bundle, where the engine finds it."""
    shutil.rmtree(bundles, ignore_errors=True)
    return Path(shutil.copytree(good, bundles / NAME))


def refusal(serve: Callable[[], object], case: Case | None = None) -> str | None:
    """Why a bundle is not served; None: it is. Raises AssertionError where the refusal is not one sentence that names the file."""
    try:
        serve()
    except Problem as problem:
        said = str(problem)
        named = [name for name in (MANIFEST, *PARTS) if name in said]
        assert problem.reason == "bundle_invalid", (problem.reason, said)
        assert named and "\n" not in said and len(said) < 700, said
        # What one file says against another is wrong in either.
        assert case is None or case.file in named or case.file == MANIFEST, (case.file, said)
        return said
    return None
