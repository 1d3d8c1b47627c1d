"""`green-code models`: lists the models that there are, that are here and that fit this machine; gets, verifies, removes them.

One of the list is recommended, by what this machine can do: it is measured when models are listed first (`engine/machine_speed.py`).

With --json, `list` writes one object; the others write one object a line, {"event": "progress", "sentence", "done_bytes",
"total_bytes"} while they work and {"event": "done", "name"} at the end. A process that is killed loses nothing: the next `get` goes on.
Must not know: how a place is asked, or how weights are converted.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import importlib.util
import json
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from green_code.cli.progress import clear_progress, show_progress
from green_code.engine.conversion import convert_apart
from green_code.engine.expected import Expected, expected, recommended
from green_code.engine.machine_speed import PROMPT, machine_speed
from green_code.folders import cache_dir
from green_code.kernels.weight_format import weight_formats
from green_code.memory import total_memory
from green_code.models import store
from green_code.models.bundle import SVD_HEAD, Bundle, bundle_of
from green_code.models.catalog import TINY, base_of_bundle, find_model
from green_code.models.other_tools import ToolFile, same_content, tool_files
from green_code.models.places import size_text
from green_code.models.rows import KNOWN_AS, ROWS, STANDARD, Row
from green_code.models.weights import is_converted, open_model
from green_code.problems import Problem
from green_code.settings import default_settings

EXTRAS: Final = {"hub": ("huggingface_hub", "transformers"), "gpu": ("torch",)}
"""Extras that models need → the modules that they install."""
_NAME: Final = "a model of the catalog, a folder or a GGUF file"
_REPORT_SECONDS = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="list|get|verify|remove|convert")
    for action, (_, help) in _ACTIONS.items():
        one = actions.add_parser(action, help=help, description=help, allow_abbrev=False)
        if action == "get":
            one.add_argument("name", metavar="NAME", nargs="?", help=f"{_NAME} (default: what the list recommends)")
        elif action != "list":
            one.add_argument("name", metavar="NAME", help=_NAME)
        one.add_argument("--json", action="store_true", help="write JSON to standard output")
    parser.add_argument(
        "--json", action="store_true", dest="json_list", help="write one JSON object to standard output"
    )


def run(args: argparse.Namespace) -> int:
    """List, or do one thing with one model.

    Raises:
        Problem: the model is unknown or cannot be had; the sentence says what to do.
    """
    if args.action in (None, "list"):
        return _list(args.json_list or getattr(args, "json", False))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a child process ends, too
    progress = _Progress(args.json)
    done = _ACTIONS[args.action][0](args.name, progress)
    progress.done(done)
    return 0


class _Progress:
    """Reports of a model's download and conversion: lines of JSON, or one line that is written over."""

    def __init__(self, as_json: bool) -> None:
        self._json, self._last = as_json, (0.0, "")

    def __call__(self, sentence: str, done: int, total: int) -> None:
        now = time.monotonic()
        if sentence == self._last[1] and now - self._last[0] < _REPORT_SECONDS and done < total:
            return
        self._last = now, sentence
        if self._json:
            event = {"event": "progress", "sentence": sentence, "done_bytes": done, "total_bytes": total}
            print(json.dumps(event), flush=True)
        else:
            show_progress("loading", sentence, done / total if total else None)

    def done(self, event: dict[str, Any]) -> None:
        if self._json:
            print(json.dumps({"event": "done", **event}), flush=True)
        else:
            clear_progress()
            print(event["sentence"])


# --- list ------------------------------------------------------------------------------------------------
def _list(as_json: bool) -> int:
    files = tool_files()
    taken: set[Path] = set()
    models, best = [], _recommended()
    for row in ROWS.values():
        same = same_content(row, files)
        taken |= {place.path for place in same}
        models.append(describe(row, [place.describe() for place in same], best))
    others = [file for file in files if file.path not in taken]
    for model in models:
        if not model["fits"]:
            model["reason"] += _smaller(model, models)
    if as_json:
        print(json.dumps({"models": models, "files": [_file(file) for file in others]}))
    else:
        _print(models, others)
    return 0


def describe(row: Row, found: Iterable[str] = (), best: str = "") -> dict[str, Any]:
    """A row as --json shows it. `found`: places on this machine. `best`: the model that is recommended."""
    need = _expected(row)
    state = _state(row)
    reason = _why_not(row, need, state)
    return {
        "name": row.name,
        "title": row.title,
        "license": row.license,
        "gated": row.gated,
        "parameters": row.parameters,
        "languages": list(row.languages),
        "fim": row.fim,
        "download_bytes": row.download_bytes,
        "disk_bytes": need.disk_bytes,
        "memory_bytes": need.memory_bytes,
        "state": state,
        "places": [*found, *(place.describe() for place in row.places)],
        "milliseconds_per_token": round(1000 * need.token_seconds, 1),
        "milliseconds_per_prompt": round(1000 * need.prompt_seconds, 1),
        "joules_per_token": round(need.token_joules, 3),
        "joules_per_prompt": round(need.prompt_joules, 2),
        "energy_source": need.source,
        "measured": need.measured,
        "fits": not reason,
        "reason": reason,
        "known_as": KNOWN_AS.get(row.name, ""),
        "recommended": row.name == best,
        "needs": [extra for extra in row.needs if not all(map(importlib.util.find_spec, EXTRAS[extra]))],
    }


def _expected(row: Row) -> Expected:
    """Of the model with its bundle, which may have a smaller vocabulary."""
    bundle = _bundle(row.name)
    shape = replace(row.shape, vocabulary=len(bundle.vocabulary)) if bundle and bundle.vocabulary else row.shape
    has_svd_head = bundle is not None and bundle.part(SVD_HEAD) is not None
    return expected(shape, has_svd_head, machine_speed())


def _recommended() -> str:
    """The name of the model that suits this machine."""
    row = ROWS[STANDARD]
    need = _expected(row)
    return recommended(need, not _why_not(row, need, _state(row)), total_memory())


def _bundle(name: str) -> Bundle | None:
    """A model's bundle; None also if it is refused, which is said where the model is opened."""
    with contextlib.suppress(Problem):
        return bundle_of(name)
    return None


def _state(row: Row) -> str:
    return "ready" if _is_ready(row) else store.state_of(row)


def _is_ready(row: Row) -> bool:
    """Whether its weights are here and converted."""
    with contextlib.suppress(Problem):  # pickled weights
        return store.state_of(row) == "downloaded" and is_converted(
            find_model(row.name), _bundle(row.name), weight_formats()
        )
    return False


def _why_not(row: Row, need: Expected, state: str) -> str:
    """Why a model does not fit this machine; empty if it does."""
    memory = total_memory()
    if need.memory_bytes > memory:
        return f"It needs {size_text(need.memory_bytes)} of memory, and this machine has {size_text(memory)}."
    there = next(folder for folder in (cache_dir(), *cache_dir().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    space = {"ready": 0, "downloaded": need.disk_bytes}.get(state, need.disk_bytes + row.download_bytes)
    if space > free:
        return f"It needs {size_text(space)} on the disk, and {there} has {size_text(free)} free."
    return ""


def _smaller(model: dict[str, Any], models: list[dict[str, Any]]) -> str:
    """A sentence that names the largest model that fits, of those that know as many languages and fill in the middle, too."""
    fitting = [
        m for m in models if m["fits"] and m["fim"] >= model["fim"] and len(m["languages"]) >= len(model["languages"])
    ]
    best = max(fitting, key=lambda m: m["parameters"], default=None)
    return f" {best['name']} would fit." if best is not None else ""


def _file(file: ToolFile) -> dict[str, Any]:
    return {"path": str(file.path), "tool": file.tool, "name": file.name, "size": file.size}


def _print(models: list[dict[str, Any]], files: list[ToolFile]) -> None:
    print(
        f"{'':28} {'state':10} {'download':>9} {'memory':>8} {'ms/prompt':>10} {'ms/token':>9} {'J/prompt':>9} {'J/token':>8}  "
        f"{'middle':6} licence"
    )
    for m in models:
        print(
            f"{m['name']:28} {m['state']:10} {size_text(m['download_bytes']):>9} {size_text(m['memory_bytes']):>8} "
            f"{m['milliseconds_per_prompt']:>10.0f} {m['milliseconds_per_token']:>9.0f} {m['joules_per_prompt']:>9.1f} "
            f"{m['joules_per_token']:>8.2f}  {'yes' if m['fim'] else 'no':6} {m['license']}"
        )
        if m["known_as"]:
            print(f"    {m['known_as']}{', recommended for this machine' if m['recommended'] else ''}")
        if m["reason"]:
            print(f"    does not fit: {m['reason']}")
    whose = "scaled by what this machine needed" if models[0]["measured"] else "of another machine with the kernel"
    print(
        f"Milliseconds and joules are estimates from the model's shape, {whose}: every layer, over a cold prompt of {PROMPT} tokens and "
        "over a token. Get one with: green-code models get NAME"
    )
    if files:
        print("Files of other tools, which `green-code models get PATH` converts:")
    for file in files:
        print(f"  {file.tool:12} {file.name:40} {size_text(file.size):>9}  {file.path}")


# --- what can be done with one ---------------------------------------------------------------------------
def _get(name: str | None, progress: _Progress) -> dict[str, Any]:
    name = _known(name or _recommended())
    if (row := ROWS.get(name)) is not None:
        if reason := describe(row)["reason"]:
            smaller = _smaller(describe(row), [describe(other) for other in ROWS.values()])
            raise Problem("cache_unwritable", f"{row.name} does not fit. {reason}{smaller}")
        store.get(row, progress, same_content(row, tool_files()))
        if row.pickled:
            _convert_pickled(name, progress)
    _open(name, progress)
    use = "" if name == default_settings().model else f'; use it with --model {name} or "greenCode.model": "{name}"'
    return {"name": name, "sentence": f"{name} is ready{use}"}


def _verify(name: str, progress: _Progress) -> dict[str, Any]:
    row = _row(name)
    if store.read_receipt(row) is None:
        find_model(name, verify=True)
    else:
        store.verify(row, progress)
    return {"name": name, "sentence": f"the files of {name} are as published"}


def _remove(name: str, progress: _Progress) -> dict[str, Any]:
    row, own = ROWS.get(name), glob.escape(Path(name).name)
    converted = [*cache_dir().glob(f"{own}-{'[0-9a-f]' * 16}*")] if own else []
    if row is None and not converted:
        raise Problem(
            "model_missing", f"{name!r} is not on this computer, so nothing was removed; see green-code models."
        )
    freed = store.remove(row) if row is not None else 0
    for folder in converted:
        freed += store.remove_folder(folder)
    return {"name": name, "freed_bytes": freed, "sentence": f"{name} removed, {size_text(freed)} freed"}


def _convert_pickled(name: str, progress: _Progress) -> dict[str, Any]:
    from green_code.models.pickled import convert_pickled

    row = ROWS.get(name)
    if row is not None and not row.pickled:
        raise Problem("bad_request", f"{name} has no pickled weights, so there is nothing to convert.")
    folder = store.folder_of(row) if row is not None else Path(name).expanduser()
    with store.locked(row, progress) if row is not None else contextlib.nullcontext():
        written = convert_pickled(folder, row, progress)
    return {
        "name": name,
        "sentence": f"{folder} now has {', '.join(written)}" if written else f"{name} has safetensors",
    }


def _open(name: str, progress: _Progress) -> None:
    """Convert the weights to the engine's format, if they are not."""
    size = _expected(ROWS[name]).disk_bytes if name in ROWS else 100

    def report(sentence: str, share: float | None) -> None:
        progress(sentence, int(size * (share or 0.0)), size)

    open_model(find_model(name), bundle_of(name), weight_formats(), report, convert_apart)


def _known(name: str) -> str:
    """A catalog name, the base of a bundle, or an absolute path."""
    if name in ROWS or name == TINY:
        return name
    if (path := Path(name).expanduser()).exists():
        return str(path.resolve())
    base = base_of_bundle(name)
    if base is None:
        find_model(name)  # raises
    return str(base)


def _row(name: str) -> Row:
    if name not in ROWS:
        raise Problem(
            "bad_request",
            f"{name!r} is not in the catalog, so its files have no published hash; see green-code models.",
        )
    return ROWS[name]


_ACTIONS: Final[dict[str, tuple[Callable[..., dict[str, Any]], str]]] = {
    "list": (lambda *_: {}, "list the models: what there is, what is here, what fits this machine"),
    "get": (_get, "download a model, from where it can be had, and convert it"),
    "verify": (_verify, "compare a model's files with their published hashes"),
    "remove": (_remove, "remove a model's files and its converted weights"),
    "convert": (_convert_pickled, "write pickled weights, as OPT is published, as safetensors"),
}
