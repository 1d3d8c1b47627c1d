"""`green-code bundle`: checks bundles before the engine uses them, and describes them.

It does not check a bundle against its base model; the engine does so when it loads both.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from green_code.decoding.bundle_contents import read_contents
from green_code.folders import bundles_dir
from green_code.lsp.gate import read_weights
from green_code.models.bundle import DELTA, GATE, Bundle, load_bundle
from green_code.models.delta import Delta
from green_code.problems import Problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundles", nargs="*", metavar="BUNDLE", help="names or folders (default: all that are installed)"
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object to standard output")


def run(args: argparse.Namespace) -> int:
    """Exit status 1 if a bundle is refused or there is none."""
    described = [_examine(folder) for folder in _folders(args.bundles)]
    if args.json:
        print(json.dumps({"bundles": described}))
    else:
        for one in described:
            _print(one)
        if not described:
            print(f"no bundles in {bundles_dir()}", file=sys.stderr)
    return 0 if described and all(one["ok"] for one in described) else 1


def _folders(names: list[str]) -> list[Path]:
    installed = bundles_dir()
    if not names:
        return sorted(path for path in installed.glob("*") if path.is_dir())
    return [Path(name) if Path(name).is_dir() else installed / name for name in names]


def check_bundle(folder: Path) -> Bundle:
    """Read everything in a bundle.

    Raises:
        Problem: something is missing, damaged, not finite, or does not fit the rest.
    """
    bundle = load_bundle(folder)
    if (delta := bundle.part(DELTA)) is not None:
        Delta(delta)
    read_contents(bundle).adapters  # noqa: B018 - read, so that damage is found
    bundle.read(GATE, read_weights)
    return bundle


def _examine(folder: Path) -> dict[str, Any]:
    try:
        bundle = check_bundle(folder)
    except Problem as problem:
        refusal = {"ok": False, "reason": problem.reason, "message": str(problem)}
        return {"name": folder.name, "path": str(folder), **refusal}
    return {"name": bundle.name, "path": str(folder), "ok": True, **_described(bundle)}


def _described(bundle: Bundle) -> dict[str, Any]:
    files = bundle.manifest["files"]
    return {
        "base": bundle.manifest["base"]["model"],
        "exits": list(bundle.exits),
        "prefill_exit": bundle.prefill_exit,
        "vocabulary": len(bundle.vocabulary) if bundle.vocabulary else None,
        "bytes": {name: (bundle.path / name).stat().st_size for name in files},
        "training": {
            key: bundle.manifest.get("training", {}).get(key)
            for key in ("method", "tokens", "corpus", "joules", "energy_source")
        },
        "presets": bundle.calibration.get("presets", {}),
        "stops": bundle.calibration.get("suggestions", {}).get("presets", {}),
        "payback": payback(bundle),
        "licences": bundle.manifest.get("licences", {}),
    }


def payback(bundle: Bundle) -> dict[str, int]:
    """By preset: after how many completions the saved joules equal those of fine-tuning (the other steps are not measured).

    Both are of the machine that trained and calibrated. Empty if one is measured and the other estimated; without a preset
    that saves nothing.
    """
    training = bundle.manifest.get("training", {})
    joules, source = training.get("joules"), bundle.calibration.get("reference", {}).get("energy_source")
    if source != training.get("energy_source"):
        return {}
    presets = bundle.calibration.get("presets", {})
    saved = {name: preset.get("saved_joules", 0.0) for name, preset in presets.items()}
    return {name: math.ceil(joules / value) for name, value in saved.items() if joules and value > 0}


def stop_lines(presets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is known of the stops of a calibration: a line a preset."""
    found = []
    for name, preset in presets.items():
        line = f"{name}: {preset['stop']:g}"
        if shares := preset.get("never_past"):
            depths = " and ".join(shares["cold"])
            cold, requests = (
                " and ".join(f"{share:.0%}" for share in shares[of].values()) for of in ("cold", "requests")
            )
            line += (
                f"; never past layer {depths}: {cold} of cold prompts, {requests} of all requests; "
                f"{preset['lost']:.1%} of accepted characters lost"
            )
        found.append(line)
    return found


def _print(one: dict[str, Any]) -> None:
    if not one["ok"]:
        print(f"{one['name']}: refused ({one['reason']}): {one['message']}")
        return
    print(f"{one['name']}: ok, {sum(one['bytes'].values()) / 1e6:.1f} MB, for {one['base']}")
    print(f"  exits         {', '.join(map(str, one['exits']))}")
    if one["prefill_exit"]:
        print(f"  prefill exit  {one['prefill_exit']}")
    if one["training"]["method"] == "frozen":
        print("  training      none: at full depth it is the base model")
    if one["training"]["tokens"]:
        cost = one["training"]
        known = cost["joules"] is not None
        spent = f"{cost['joules'] / 1000:.0f} kJ ({cost['energy_source']})" if known else "joules unknown"
        print(f"  training      {cost['method']}, {cost['tokens'] / 1e6:.1f} M tokens, {spent}")
    for name, preset in one["presets"].items():
        figures = f"{preset['saving']:.0%} saved, edit similarity {preset['edit_similarity']:.1f}"
        if name in one["payback"]:
            figures += f", fine-tuning paid back after {one['payback'][name]:,} completions"
        print(f"  {name:13} threshold {preset['threshold']}: {figures}")
    for line in stop_lines(one["stops"]):
        print(f"  stop          {line}")
    for part, licence in one["licences"].items():
        print(f"  licence       {part}: {licence}")
