"""A bundle that was trained on one checkpoint, for another one of the same shape and vocabulary: a base model and its instruct version.

Full depth is then the other checkpoint. Lenses, KV projections and agent were fitted to the first one, so what is carried over is less exact,
and what was measured no longer holds: the calibration stays behind.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

from green_code.decoding.bundle_contents import read_contents
from green_code.folders import bundles_dir
from green_code.models.adapters import check_adapters
from green_code.models.bundle import CALIBRATION, DELTA, changing, load_bundle, write_manifest
from green_code.models.sources import open_vocabulary
from green_code.problems import Problem
from green_code_lab.lite.job import Job, log


def carry_over(job: Job) -> None:
    """Copy the bundle `--bundle` into the model's folder.

    Raises:
        Problem: there is no such bundle, it is of another shape or vocabulary, it has fine-tuned layers, or the folder has a bundle.
    """
    if not job.args.bundle:
        raise Problem("bad_request", "give the bundle that is carried over: --bundle NAME.")
    carried = load_bundle(bundles_dir() / job.args.bundle)
    if job.own is not None:
        raise Problem("bad_request", f"{job.bundle} has a bundle; give another folder with --out, or remove it.")
    if carried.part(DELTA) is not None:
        raise Problem("bad_request", f"the layers of {carried.name} are fine-tuned: they fit no other checkpoint.")
    contents, ids, config = read_contents(carried), carried.vocabulary, job.source.config
    config = replace(config, vocabulary=len(ids)) if ids else config
    check_adapters(carried, contents.adapters, config)
    contents.check_fit(config, open_vocabulary(job.source, ids))
    manifest = {key: value for key, value in carried.manifest.items() if key != "watch"}
    training = {**carried.manifest["training"], "carried_from": carried.manifest["base"]}
    parts = [part for part in carried.manifest["licences"] if part not in ("base", "agent")]
    prefill_exit = {} if carried.prefill_exit is None else {"prefill_exit": carried.prefill_exit}
    with changing(job.bundle) as folder:
        for name in carried.manifest["files"]:
            if name != CALIBRATION:
                shutil.copyfile(carried.path / name, folder / name)
        write_manifest(folder, {**manifest, **job.manifest(carried.exits, training, parts), **prefill_exit})
    log(
        f"{job.bundle} has the files of {carried.name}; next: `green-code adapt watch`, `train calibrate`, `train records`, `train stops`"
    )
