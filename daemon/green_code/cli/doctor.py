"""`green-code doctor`: checks the installation. Each line has a level (ok, warn, fail), what was found, and a fix.

Each check is one function that returns its findings. The exit status is 1 if one fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from green_code import __version__, folders
from green_code.energy import meters
from green_code.energy.costs import load_costs, newest_costs
from green_code.problems import Problem
from green_code.settings import default_settings

WIDE_INTERVAL: Final = 0.3
"""Relative confidence interval of the energy costs; on an idle machine it is a tenth or less."""

CACHE_BYTES: Final = 2 * 2**30
"""The default model's file and its converted weights, with space to write them again."""


class Finding(NamedTuple):
    """One line of the report; `fix` is empty if there is nothing to do."""

    level: Literal["ok", "warn", "fail"]
    found: str
    fix: str = ""


Check = Callable[[], "Finding | list[Finding]"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="write one JSON object to standard output")
    parser.add_argument("--model", default=default_settings().model, help="the model to check (default: %(default)s)")
    parser.add_argument(
        "--without-model", action="store_true", help="check what a model needs before one is downloaded"
    )


def run(args: argparse.Namespace) -> int:
    """Check everything and print it; a failed check may explain later ones."""
    checks: dict[str, Check] = {
        "python": check_python,
        "packages": check_packages,
        "torch": check_torch,
        "kernel": lambda: check_kernel(args.model),
        "model": lambda: check_model(args.model),
        "bundles": check_bundles,
        "cache": check_cache,
        "runtime folder": check_runtime_folder,
        "engine": check_engine,
        "agreement": check_agreement,
        "meters": check_meters,
        "energy costs": check_costs,
        "ledger": check_ledger,
    }
    if args.without_model:
        del checks["model"]
    report = []
    for name, check in checks.items():
        for finding in findings(check):
            report.append({"check": name, **finding._asdict()})
            if not args.json:
                print(f"{finding.level:4}  {name}: {finding.found}", flush=True)
                if finding.fix:
                    print(f"      → {finding.fix}", flush=True)
    failed = any(finding["level"] == "fail" for finding in report)
    if args.json:
        print(json.dumps({"ok": not failed, "version": __version__, "checks": report}))
    return 1 if failed else 0


def findings(check: Check) -> list[Finding]:
    """The findings of a check; if it raises, the exception is one."""
    try:
        found = check()
    except Problem as problem:
        return [Finding("fail", problem.reason, str(problem))]
    except Exception as error:
        return [Finding("fail", f"the check raised {type(error).__name__}: {error}", "Report this as a bug.")]
    return [found] if isinstance(found, Finding) else found


def check_python() -> Finding:
    """The interpreter; pip ensures that its version is new enough."""
    return Finding("ok", f"{platform.python_version()} at {sys.executable}")


def check_packages() -> Finding:
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
        return Finding("fail", f"missing: {', '.join(missing)}", f"Run `pip install {' '.join(missing)}`.")
    return Finding("ok", f"green-code {__version__}, {', '.join(found)}")


def check_torch() -> Finding:
    """torch, and the GPU it would compute on; a processor that the kernel runs on needs none."""
    if importlib.util.find_spec("torch") is None:
        return Finding("ok", "not installed: only GPUs and models that the kernel lacks need it")
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("fail", f"cannot be imported: {error}", "Run `pip install --force-reinstall torch`.")
    if torch.cuda.is_available():
        return Finding("ok", f"{torch.__version__}, GPU {torch.cuda.get_device_name(0)}")
    return Finding("ok", f"{torch.__version__}, CPU with {os.cpu_count()} cores")


def check_kernel(model: str) -> Finding:
    """The CPU kernel: the instruction set that it would use, and the bits of the model's layers."""
    from green_code.kernels.binding import open_kernel
    from green_code.kernels.weight_bits import bits_for
    from green_code.models.rows import ROWS

    if (kernel := open_kernel()) is not None:
        bits = f"int{bits_for(ROWS[model].shape.config())}" if model in ROWS else "int8 or int4"
        return Finding("ok", f"{bits}, {kernel.level}")
    fix = "Install a wheel for this platform, or run `python -m green_code.kernels.build` (it needs ziglang)."
    return Finding("warn", "none: torch computes instead, with several times the time and energy", fix)


def check_model(model: str) -> Finding:
    """The model's files, their hash included."""
    from green_code.models.catalog import find_model
    from green_code.models.rows import ROWS

    find_model(model, verify=True)
    verified = "as published" if model in ROWS else "present; no published hash to compare with"
    return Finding("ok", f"{model}: its files are {verified}")


def check_bundles() -> Finding | list[Finding]:
    """Every bundle in the folder of bundles."""
    from green_code.cli.bundle import check_bundle
    from green_code.models.bundle import MANIFEST

    folder = folders.bundles_dir()
    paths = sorted(manifest.parent for manifest in folder.glob(f"[!.]*/{MANIFEST}"))
    if not paths:
        fix = f"Reinstall green-code, or set {folders.BUNDLES_VARIABLE}; without a bundle every layer runs."
        return Finding("warn", f"none in {folder}", fix)
    found = []
    for path in paths:
        try:
            check_bundle(path)
        except Problem as problem:
            found.append(Finding("fail", f"{path.name} is refused", str(problem)))
        else:
            found.append(Finding("ok", f"{path.name} is valid"))
    return found


def check_cache() -> Finding | list[Finding]:
    """The cache of converted weights: writable, with enough space, and undamaged."""
    folder = folders.cache_dir()
    if fault := _write_fault(folder):
        fix = f"Set {folders.CACHE_VARIABLE} to a writable folder."
        return Finding("fail", f"{folder} cannot be written: {fault}", fix)
    free = shutil.disk_usage(folder).free
    if free < CACHE_BYTES:
        fix = f"Free {CACHE_BYTES / 2**30:.0f} GiB, or set {folders.CACHE_VARIABLE} to a larger disk."
        return Finding("warn", f"{folder} has {free / 2**30:.1f} GiB free", fix)
    damaged = list(_damaged_weights(folder))
    return damaged or Finding("ok", f"{folder}, {free / 2**30:.0f} GiB free")


def _damaged_weights(cache: Path) -> Iterator[Finding]:
    from green_code.models.block_hashes import HASHES, check_hashes

    for folder in sorted(path.parent for path in cache.glob(f"*/{HASHES}")):
        try:
            check_hashes(folder, sampled_blocks=None)
        except Exception as error:
            fix = f"Remove {folder}; the model is converted again when it is next used."
            yield Finding("warn", f"the converted weights in {folder.name} are damaged: {error}", fix)


def check_runtime_folder() -> Finding:
    """The folder of the socket, the lock and the log: private and writable."""
    folder = folders.runtime_dir()
    if fault := _write_fault(folder):
        fix = f"Set {folders.RUNTIME_VARIABLE} to a writable folder."
        return Finding("fail", f"{folder} cannot be written: {fault}", fix)
    return Finding("ok", f"{folder}, mode {folder.stat().st_mode & 0o777:o}")


def check_engine() -> Finding:
    """The engine of this version, if one runs."""
    from green_code.cli.engine import engine_status

    try:
        status = asyncio.run(engine_status())
    except Problem as problem:
        return Finding("fail", f"does not answer: {problem}", "Run `green-code engine --stop`.")
    if not status["running"]:
        return Finding("ok", "not running; the first request starts it")
    if status["state"] == "error":
        fix = status["message"].replace("Run `green-code doctor`; the", "The")  # which is what runs
        return Finding("fail", f"pid {status['pid']} reports {status['reason']}", fix)
    model = status["model"] or "no model"
    return Finding("ok", f"{__version__}, pid {status['pid']}, {status['state']}, {model}")


def check_agreement() -> list[Finding]:
    """The result of shadow checks, if there is one. A raised threshold saves less energy, but is not a failure."""
    from green_code.cli.engine import engine_status

    agreement = None
    with contextlib.suppress(Problem):  # check_engine reports it
        agreement = asyncio.run(engine_status()).get("agreement")
    if agreement is None:
        return []
    found = f"{agreement['agreed']} of {agreement['checks']} completions of fast equal those of full depth"
    if agreement["calibrated"] is not None:
        found += f", {agreement['calibrated']:.0%} expected"
    if agreement["raised_to"] is None:
        return [Finding("ok", found)]
    found += f"; thresholds below {agreement['raised_to']:.2f} are not used"
    fix = "Calibrate on code like yours with `green-code train calibrate`, or set greenCode.decoding to exact."
    return [Finding("warn", found, fix)]


def check_meters() -> Finding:
    """The energy meters."""
    found = []
    for opened in (meters.open_nvml(None), meters.open_rapl(), meters.EstimateMeter()):
        if isinstance(opened, meters.Absent):
            found.append(f"no {opened.source} ({opened.why})")
        else:
            found.append(opened.describe())
    return Finding("ok", "; ".join(found))


def check_costs() -> Finding:
    """The confidence interval of the newest cost model, which the engine measures when it is idle."""
    files = newest_costs(folders.cache_dir())
    costs = load_costs(files[0]) if files else None
    if costs is None:
        return Finding(
            "ok", "assumed until measured; the engine measures them while no request comes, in a minute or two"
        )
    found = f"{costs.source}, ± {costs.relative_interval:.0%}"
    if costs.idle_watts:
        found += f"; {costs.idle_watts:.0f} W are drawn while the model waits, and booked apart"
    if costs.relative_interval <= WIDE_INTERVAL:
        return Finding("ok", found)
    fix = (
        f"Other programs ran during the measurement. Delete {files[0]}, run `green-code engine --stop`, "
        "and complete once on an idle machine."
    )
    return Finding("warn", found, fix)


def check_ledger() -> Finding:
    """The energy ledger: readable, whole and writable. It is left as it is."""
    from green_code.energy.ledger_file import check_file, read_report, reading

    path = folders.ledger_path()
    if fault := _write_fault(path.parent):
        return Finding(
            "warn", f"{path} cannot be written: {fault}", f"Set {folders.DATA_VARIABLE} to a writable folder."
        )
    try:
        with reading(path) as database:
            if database is not None:
                check_file(database)
        completions = read_report(path)["all"]["completions"]
    except Problem as problem:
        return Finding("warn", str(path), str(problem))
    return Finding("ok", f"{path}, {completions} completions")


def _write_fault(folder: Path) -> str:
    """Why a folder cannot be written, or nothing; creates the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"green-code")
    except OSError as error:
        return error.strerror or str(error)
    return ""
