"""How soon does a model know its token: how often does each depth agree with the last layer?

Of bundles, as `green-code adapt` measured it on held-out projects when it made them: in manifest.json. *Published*: the base model's layers, read by
the LM head as they are; *through lenses*, through tuned lenses. *Fine-tuned*: layers that LITE trained for exits, with agreement with their own last layer.
Each language counts once. Corpora differ where their languages do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from green_code.engine.loading import Runtime
from green_code.folders import bundles_dir
from green_code.models.bundle import MANIFEST, load_bundle
from green_code.problems import Problem
from green_code_lab.experiments.experiment import Args, Experiment, Found, Report, Table
from green_code_lab.experiments.plots import Curves

PUBLISHED, LENS, FINE_TUNED = "published", "through lenses", "fine-tuned"


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    """
    Raises:
        Problem: a bundle is none, or was made without scores.
    """
    folders = [_folder(name) for name in args.models] or sorted(
        path.parent for path in bundles_dir().glob(f"*/{MANIFEST}")
    )
    depths = [point for folder in folders for point in points(load_bundle(folder).manifest)]
    return {"settings": {}, "depths": depths}


def _folder(name: str) -> Path:
    return Path(name) if Path(name).is_dir() else bundles_dir() / name


def points(manifest: Mapping[str, Any]) -> Iterator[Found]:
    """A record for each depth and reading of a bundle's model."""
    model, lens, trained = (
        manifest["base"]["model"], manifest.get("lenses", {}).get("held_out"), manifest["training"].get("held_out"),
    )  # fmt: skip
    if trained is not None:
        readings = {FINE_TUNED: trained["shipped"]}
    elif lens is not None:
        readings = {PUBLISHED: lens["plain"], LENS: lens["lens"]}
    else:
        raise Problem("bad_request", f"the bundle of {model} has no held-out scores; make it with `green-code adapt`.")
    for reading, by_language in readings.items():
        agreement = [scores["agreement"] for scores in by_language.values()]
        layers = max(map(int, agreement[0]))
        for depth in sorted(map(int, agreement[0])):
            values = [own[str(depth)] for own in agreement]
            yield {
                "model": model, "reading": reading, "line": f"{Path(model).name}, {reading}", "depth": depth, "share": round(depth / layers, 4),
                "agreement": [round(float(each), 4) for each in (np.mean(values), min(values), max(values))], "languages": len(values),
                "exit": "yes" if depth in manifest["exits"] else "",
            }  # fmt: skip


EXPERIMENT = Experiment(
    "agreement", "Agreement by depth", __doc__, measure, {"models": []},
    (
        Table(
            "depths", "Agreement with the last layer",
            "Mean over languages, and the lowest and highest of a language. *Exit*: of the bundle.",
            (
                ("layers read", "reading", ""), ("depth", "depth", "0"), ("of the layers", "share", "%0"), ("agreement", "agreement", "%1"),
                ("languages", "languages", "0"), ("exit", "exit", ""),
            ), ("model",),
        ),
    ),
    Curves(
        "Agreement with the last layer over depth", "depths", None, "share", "agreement", "depth, as a share of the layers",
        "agreement with the last layer", "line",
    ),
)  # fmt: skip
