"""`green-code doctor`: checks the installation. Each line has a level (ok, warn, fail), what was found, and a fix.

Each check is one function that yields findings. The exit status is 1 if one fails.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from green_code import __version__, folders
from green_code.energy import meters
from green_code.energy.costs import COSTS_FILES, load_costs
from green_code.link.messages import Agreement
from green_code.problems import Problem
from green_code.settings import default_settings

Level = Literal["ok", "warn", "fail"]

WIDE_INTERVAL: Final = 0.3
"""Relative confidence interval of the energy costs; on an idle machine it is a tenth or less."""

CACHE_BYTES: Final = 2 * 2**30
"""The default model's file and its converted weights, with space to write them again."""


@dataclass(frozen=True)
class Finding:
    """One line of the report; `mend` is the fix, empty if there is nothing to do."""

    check: str
    level: Level
    found: str
    mend: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="write one JSON object to standard output")
    parser.add_argument(
        "--model", default=default_settings().model, help="the model to check (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Check everything and print it."""
    findings: list[Finding] = []
    for finding in examine(args.model):
        findings.append(finding)
        if not args.json:
            print(f"{finding.level:4}  {finding.check}: {finding.found}", flush=True)
            if finding.mend:
                print(f"      → {finding.mend}", flush=True)
    failed = any(finding.level == "fail" for finding in findings)
    if args.json:
        checks = [asdict(finding) for finding in findings]
        print(json.dumps({"ok": not failed, "version": __version__, "checks": checks}))
    return 1 if failed else 0


def examine(model: str) -> Iterator[Finding]:
    """Every check; a failed one may explain later ones."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        check_python,
        check_packages,
        check_torch,
        check_kernel,
        lambda: check_model(model),
        check_bundles,
        check_cache,
        check_runtime_folder,
        check_engine,
        check_meters,
        check_costs,
        check_ledger,
    )
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            name = getattr(check, "__name__", "check").removeprefix("check_")
            yield Finding(
                name, "fail", f"the check raised {type(error).__name__}: {error}", "Report this as a bug."
            )


def check_python() -> Iterator[Finding]:
    """The interpreter; pip ensures that its version is new enough."""
    yield Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")


def check_packages() -> Iterator[Finding]:
    """The packages that green-code needs."""
    found, missing = [], []
    required = importlib.metadata.requires(folders.APPLICATION) or []
    names = (re.split(r"[^\w.-]", line)[0] for line in required if "extra ==" not in line)
    for name in dict.fromkeys(names):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        fix = f"Run `pip install {' '.join(missing)}`."
        yield Finding("packages", "fail", f"missing: {', '.join(missing)}", fix)
    else:
        yield Finding("packages", "ok", f"green-code {__version__}, {', '.join(found)}")


def check_torch() -> Iterator[Finding]:
    """torch, and the device it would compute on."""
    try:
        import torch
    except (ImportError, OSError) as error:
        fix = "Run `pip install --force-reinstall torch`."
        yield Finding("torch", "fail", f"cannot be imported: {error}", fix)
        return
    if torch.cuda.is_available():
        yield Finding("torch", "ok", f"{torch.__version__}, GPU {torch.cuda.get_device_name(0)}")
    else:
        yield Finding("torch", "ok", f"{torch.__version__}, CPU with {os.cpu_count()} cores")


def check_kernel() -> Iterator[Finding]:
    """The CPU kernel, and the instruction set that it would use."""
    from green_code.kernels.binding import open_kernel

    try:
        kernel = open_kernel()
    except Problem as problem:
        yield Finding("kernel", "fail", problem.reason, str(problem))
        return
    if kernel is None:
        yield Finding(
            "kernel",
            "warn",
            "none: torch computes instead, with several times the time and energy",
            "Install a wheel for this platform, or run `python -m green_code.kernels.build` (it needs ziglang).",
        )
    else:
        yield Finding("kernel", "ok", f"int8, {kernel.level}")


def check_model(model: str) -> Iterator[Finding]:
    """The model's files, their hash included."""
    from green_code.models.catalog import DEFAULT, find_model

    try:
        find_model(model, verify=True)
    except Problem as problem:
        yield Finding("model", "fail", f"{model}: {problem.reason}", str(problem))
    else:
        verified = "as published" if model == DEFAULT else "present; no published hash to compare with"
        yield Finding("model", "ok", f"{model}: its files are {verified}")


def check_bundles() -> Iterator[Finding]:
    """Every bundle in the folder of bundles."""
    from green_code.cli.bundle import check_bundle
    from green_code.models.bundle import MANIFEST

    folder = folders.bundles_dir()
    names = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}")) if folder.is_dir() else []
    if not names:
        yield Finding(
            "bundles",
            "warn",
            f"none in {folder}",
            f"Reinstall green-code, or set {folders.BUNDLES_VARIABLE}; without one every layer runs.",
        )
    for path in names:
        try:
            check_bundle(path)
        except Problem as problem:
            yield Finding("bundles", "fail", f"{path.name} is refused", str(problem))
        else:
            yield Finding("bundles", "ok", f"{path.name} is valid")


def check_cache() -> Iterator[Finding]:
    """The cache of converted weights: writable, with enough space."""
    folder = folders.cache_dir()
    if (fault := _write_fault(folder)) is not None:
        fix = f"Set {folders.CACHE_VARIABLE} to a writable folder."
        yield Finding("cache", "fail", f"{folder} cannot be written: {fault}", fix)
        return
    free = shutil.disk_usage(folder).free
    if free < CACHE_BYTES:
        fix = f"Free {CACHE_BYTES / 2**30:.0f} GiB, or set {folders.CACHE_VARIABLE} to a folder on a larger disk."
        yield Finding("cache", "warn", f"{folder} has {free / 2**30:.1f} GiB free", fix)
    else:
        yield Finding("cache", "ok", f"{folder}, {free / 2**30:.0f} GiB free")


def check_runtime_folder() -> Iterator[Finding]:
    """The folder of the socket, the lock and the log: private and writable."""
    try:
        folder = folders.runtime_dir()
    except Problem as problem:
        yield Finding("runtime folder", "fail", "cannot be used", str(problem))
        return
    if (fault := _write_fault(folder)) is not None:
        fix = f"Set {folders.RUNTIME_VARIABLE} to a writable folder."
        yield Finding("runtime folder", "fail", f"{folder} cannot be written: {fault}", fix)
    else:
        yield Finding("runtime folder", "ok", f"{folder}, mode {folder.stat().st_mode & 0o777:o}")


def check_engine() -> Iterator[Finding]:
    """The engine of this version, if one runs."""
    from green_code.cli.engine import engine_status

    try:
        status: dict[str, Any] = asyncio.run(engine_status())
    except Problem as problem:
        yield Finding("engine", "fail", f"does not answer: {problem}", "Run `green-code engine --stop`.")
        return
    if not status["running"]:
        yield Finding("engine", "ok", "not running; the first request starts it")
    elif status["state"] == "error":
        yield Finding("engine", "fail", f"pid {status['pid']} reports {status['reason']}", status["message"])
    else:
        model = status["model"] or "no model"
        yield Finding("engine", "ok", f"{__version__}, pid {status['pid']}, {status['state']}, {model}")
    if status.get("agreement"):
        yield _agreement(status["agreement"])


def _agreement(found: Agreement) -> Finding:
    """The result of shadow checks. A raised threshold saves less energy, but is not a failure."""
    text = f"{found['agreed']} of {found['checks']} completions of fast equal those of full depth"
    if found["calibrated"] is not None:
        text += f", {found['calibrated']:.0%} expected"
    if found["raised_to"] is None:
        return Finding("agreement", "ok", text)
    text += f"; thresholds below {found['raised_to']:.2f} are not used"
    fix = (
        "Calibrate on code like yours with `green-code train calibrate`, or set greenCode.decoding to exact."
    )
    return Finding("agreement", "warn", text, fix)


def check_meters() -> Iterator[Finding]:
    """The energy meters."""
    found: list[str] = []
    for opened in (meters.open_nvml(None), meters.open_rapl()):
        if isinstance(opened, meters.Absent):
            found.append(f"no {opened.source} ({opened.why})")
        else:
            found.append(opened.describe())
    found.append(meters.EstimateMeter().describe())
    yield Finding("meters", "ok", "; ".join(found))


def check_costs() -> Iterator[Finding]:
    """The confidence interval of the newest cost model, which the engine fits when it first loads a model."""
    files = sorted(folders.cache_dir().glob(COSTS_FILES), key=lambda path: path.stat().st_mtime)
    costs = load_costs(files[-1]) if files else None
    if costs is None:
        yield Finding(
            "energy costs", "ok", "not measured yet; the engine measures them before the first completion"
        )
        return
    found = f"{costs.source}, ± {costs.relative_interval:.0%}"
    if costs.relative_interval <= WIDE_INTERVAL:
        yield Finding("energy costs", "ok", found)
    else:
        fix = f"Other programs ran during the measurement. Delete {files[-1]}, run `green-code engine --stop`, and complete once on an idle machine."
        yield Finding("energy costs", "warn", found, fix)


def check_ledger() -> Iterator[Finding]:
    """The energy ledger: readable and writable."""
    from green_code.energy.ledger import Ledger

    ledger = Ledger(folders.ledger_path())
    ledger.probe()
    totals, problem = ledger.report()["all"], ledger.problem
    ledger.close()
    if problem is not None:
        yield Finding("ledger", "warn", str(folders.ledger_path()), problem)
    else:
        yield Finding("ledger", "ok", f"{folders.ledger_path()}, {totals['completions']} completions")


def _write_fault(folder: Path) -> str | None:
    """Why a folder cannot be written, or None; creates the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"green-code")
    except OSError as error:
        return error.strerror or str(error)
    return None
