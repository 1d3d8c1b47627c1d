"""Which models does Green Code serve on this processor, how fast, in how much memory, and how long does their conversion take?

A model that is on this computer is measured with its published weights; any other model of the catalog with random weights of its
true shape, which cost the same. Each is converted into weights of 8 and of 4 bits in a process of its own, whose peak of memory that
is, and an engine is started for each. *Loads* and the first table's figures are those of the format that the product chooses.

Times are of the kernel alone at full depth: token ids in and out, no drafts, no exits. Every engine has a process of its own and is
warm. In each round all of them run the same prompt and then the same number of tokens, every other round in reverse order (A B B A);
figures are medians over rounds, ratios are medians of the rounds' ratios. llama.cpp reads the published GGUF file.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from subprocess import SubprocessError
from typing import Any

import psutil

from green_code.engine.loading import Runtime
from green_code.folders import BUNDLES_VARIABLE, CACHE_VARIABLE, bundles_dir
from green_code.kernels.packing import Extras, packed_sizes
from green_code.kernels.thread_pool import usable_cores
from green_code.models import store
from green_code.models.bundle import bundle_of
from green_code.models.catalog import find_model
from green_code.models.rows import ROWS, Row
from green_code.problems import Problem
from green_code_lab.benchmark.conversions import convert_alone
from green_code_lab.benchmark.internals import memory_speed
from green_code_lab.benchmark.peers import Prompt, Spec
from green_code_lab.benchmark.peers.llama_cpp import fetch_library
from green_code_lab.benchmark.process import Worker
from green_code_lab.benchmark.prompts import SHORT, choose_rows
from green_code_lab.benchmark.rounds import Rounds, median, ratio
from green_code_lab.benchmark.shapes import write_random
from green_code_lab.benchmark.starts import engine_start
from green_code_lab.experiments.experiment import Args, Experiment, Found, Report, Table
from green_code_lab.experiments.plots import Curves

LLAMA_CPP = "llama.cpp"
_BITS, _THREADS = (8, 4), (1, 2)
_TOKENS = 16  # after a prompt: so few that their attention costs little
_TEXTS = 8
_SECONDS = 240.0  # of a model; no pair of rounds begins later
_SMALL = 600_000_000  # parameters, with --quick
_SPARE_BYTES = 2 << 30  # of memory, beside the weights


@dataclass(frozen=True)
class Candidate:
    """A line of the table. `row`: of the catalog; None: a path."""

    name: str
    row: Row | None
    weights: str
    adapted: bool = False

    @property
    def random(self) -> bool:
        return self.weights == "random"


def candidates(names: Sequence[str], quick: bool) -> list[Candidate]:
    """Models with and without their bundle; random weights only for shapes that no model here has. With `quick`, the small ones here.

    Args:
        names: of the catalog, or paths; none: the whole catalog.
    Raises:
        Problem: there is no such model.
    """
    rows = [ROWS.get(name) for name in names or ROWS]
    others = [name for name in names if name not in ROWS]
    for name in others:
        find_model(name)
    here = [row for row in rows if row is not None and store.state_of(row) == "downloaded" and not row.pickled]
    found = [Candidate(name, None, "published") for name in others]
    for row in here:
        if bundle_of(row.name) is not None:
            found.append(Candidate(row.name, row, "published, with its bundle", adapted=True))
        found.append(Candidate(row.name, row, "published"))
    shapes = {row.shape for row in here}
    for row in filter(None, rows):
        if row.shape not in shapes:
            shapes.add(row.shape)
            found.append(Candidate(row.name, row, "random"))
    if quick and not names:
        found = [each for each in found if each.row is not None and each.row.parameters <= _SMALL and not each.random]
    return found


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    chosen = candidates(args.models, args.quick)
    texts = [row.prefix + row.reference + row.suffix for row in choose_rows(args.data, args.seed)][:_TEXTS]
    args.work.mkdir(parents=True, exist_ok=True)
    models, formats, times = list[Found](), list[Found](), list[Found]()
    for candidate in chosen:
        about = {"model": Path(candidate.name).name, "weights": candidate.weights}
        report(f"{about['model']}, {candidate.weights}")
        try:
            with tempfile.TemporaryDirectory(prefix="models-", dir=args.work.resolve()) as folder:
                own, timed = _of_model(candidate, Path(folder), texts, args.repetitions, report)
        except Exception as problem:  # whatever it is, the other models' hour of figures stays
            models.append({**about, "loads": f"not measured here: {problem}"})
            report(str(models[-1]["loads"]))
            continue
        formats += [{**about, **each} for each in own]
        times += [{**about, **each} for each in timed]
        models.append({**about, **summary(own, timed, candidate.row if candidate.random else None)})
    if not times:
        raise Problem("bad_request", f"no model could be measured; the first is {models[0]['loads']}")
    settings = {
        "prompts": f"{SHORT} tokens of {', '.join(path.name for path in args.data) or 'the demo'}, seed {args.seed}",
        "rounds": f"up to {args.repetitions}, and none begun after {_SECONDS:g} s of a model; {_TOKENS} tokens after each prompt",
    }
    return {"settings": settings, "models": models, "formats": formats, "times": times}


def _of_model(
    candidate: Candidate, folder: Path, texts: Sequence[str], rounds: int, report: Report
) -> tuple[list[Found], list[Found]]:
    """Records of the two formats, and of the times. Raises Problem where there is no room, or the model does not load."""
    model, file = candidate.name, None
    if candidate.random:
        assert candidate.row is not None
        check_room(candidate.row, folder)
        published = folder / "published"
        published.mkdir()
        write_random(candidate.row.name, published)
        model = str(published)
    elif candidate.row is not None:
        place = store.get(candidate.row, lambda *_: None)
        file = place / candidate.row.file.name if candidate.row.file is not None else None
    formats, specs, prompts = list[Found](), list[Spec](), list[list[int]]()
    for bits in _BITS:
        environment = _environment(candidate, folder / f"int{bits}")
        made = convert_alone(model, bits, texts, SHORT, environment)
        prompts = made.pop("prompts")
        ready, resident = engine_start(model, environment)
        report(f"int{bits}: converted in {made['seconds']:.1f} s, an engine is ready in {ready:.1f} s")
        formats.append({"format": f"int{bits}", **made, "ready": ready, "resident_mb": resident / 1e6})
        specs.append(Spec(f"int{bits}", "", "kernel", {"model": model, "environment": environment}))
    if not prompts:
        raise Problem("bad_request", f"no text has {SHORT} tokens of it; give files of rows with --data.")
    if file is not None and file.suffix == ".gguf":
        bundle = bundle_of(candidate.name) if candidate.adapted else None
        specs.append(_llama_cpp(file, bundle.vocabulary if bundle is not None else None))
    return formats, _times(specs, [Prompt(tuple(ids), "") for ids in prompts], rounds, formats, report)


def check_room(row: Row, folder: Path) -> None:
    """Random weights need room on the disk for the published form and both formats, and in memory for both formats at once.

    Raises:
        Problem: there is too little.
    """
    sizes = [packed_sizes(row.shape.config(), Extras(), bits) for bits in _BITS]
    needs = {
        "disk": (2 * row.parameters + sum(each.disk for each in sizes), shutil.disk_usage(folder).free),
        "memory": (sum(each.memory for each in sizes) + _SPARE_BYTES, psutil.virtual_memory().available),
    }
    for what, (needed, free) in needs.items():
        if needed > free:
            raise Problem(
                "cache_unwritable", f"it needs {needed / 1e9:.0f} GB of {what}, and {free / 1e9:.0f} are free"
            )


def _environment(candidate: Candidate, cache: Path) -> Mapping[str, str]:
    """A cache of its own for each format, which sees what has been downloaded; and a folder of bundles, without any if need be."""
    cache.mkdir()
    if store.models_dir().is_dir():
        (cache / "models").symlink_to(store.models_dir(), target_is_directory=True)
    bundles = bundles_dir() if candidate.adapted else cache / "no-bundles"
    return {CACHE_VARIABLE: str(cache), BUNDLES_VARIABLE: str(bundles)}


def _llama_cpp(file: Path, ids: Sequence[int] | None) -> Spec:
    try:
        return Spec(
            LLAMA_CPP, "", "llama_cpp", {"library": str(fetch_library()), "file": str(file.resolve()), "ids": ids}
        )
    except (Problem, OSError, SubprocessError) as problem:
        return Spec(LLAMA_CPP, "", "llama_cpp", missing=str(problem))


def _times(
    specs: Sequence[Spec], prompts: Sequence[Prompt], rounds: int, formats: Sequence[Found], report: Report
) -> list[Found]:
    threads = [count for count in _THREADS if count <= usable_cores()]
    speeds = {count: memory_speed(count) / 1e9 for count in threads}
    samples = list[Found]()
    with closing(Rounds(specs, report)) as running:
        list(_asked(running, prompts[0], 0, max(threads)))  # warm
        end = time.monotonic() + _SECONDS
        for round in range(rounds + rounds % 2):
            if round % 2 == 0 and round and time.monotonic() > end:
                break
            for count in threads:
                samples += _asked(running, prompts[round % len(prompts)], round, count)
        missing = running.missing
    for name, why in missing.items():
        report(f"{name} is missing: {why}")
    weights = {each["format"]: each["weights_gb"] for each in formats}
    return times([each for each in samples if each["engine"] not in missing], weights, speeds)


def _asked(running: Rounds, prompt: Prompt, round: int, threads: int) -> Iterator[Found]:
    """One sample an engine: the prompt with an empty cache, then tokens behind it."""

    def ask(worker: Worker, count: int, cold: bool) -> dict[str, Any]:
        return worker.complete(prompt, count, cold, threads)

    first = running.ask_all(partial(ask, count=1, cold=True), round)
    then = running.ask_all(partial(ask, count=_TOKENS, cold=False), round)
    for name, answer in then.items():
        yield {
            "engine": name, "threads": threads, "round": round, "bytes": answer["bytes"],
            "prompt_ms": first[name]["seconds"] * 1e3, "token_ms": answer["seconds"] / _TOKENS * 1e3,
        }  # fmt: skip


def times(samples: Sequence[Found], weights: Mapping[str, float], speeds: Mapping[int, float]) -> list[Found]:
    """A record for each engine and number of threads.

    Args:
        weights: gigabytes that a token reads, by format. speeds: of the memory, in GB/s, by threads.
    """
    found = []
    groups: dict[tuple[str, int], list[Found]] = {}
    for sample in samples:
        groups.setdefault((sample["engine"], sample["threads"]), []).append(sample)
    for (engine, threads), own in groups.items():
        figures = {name: [each[name] for each in own] for name in ("token_ms", "prompt_ms")}
        record: Found = {
            "format": engine,
            "threads": threads,
            "cores": f"{threads} thread{'s' * (threads > 1)}",
            "rounds": len(own),
        }
        record |= {name: list(median(values)) for name, values in figures.items()}
        record["process_mb"] = own[-1]["bytes"] / 1e6
        record["machine_gb_per_s"] = speeds[threads]
        if engine in weights:
            record |= {"gb": weights[engine], "gb_per_s": weights[engine] / record["token_ms"][0] * 1e3}
            if theirs := groups.get((LLAMA_CPP, threads)):
                for name, values in figures.items():
                    record[f"{name}_gain"] = list(ratio([each[name] for each in theirs], values))
        found.append(record)
    return found


def summary(formats: Sequence[Found], timed: Sequence[Found], random: Row | None) -> Found:
    """The first table's record: of the format that the product chooses. `random`: the row whose shape random weights have."""
    chosen = f"int{formats[0]['bits']}"
    (served,) = (each for each in formats if each["format"] == chosen)
    own = {each["threads"]: each for each in timed if each["format"] == chosen}
    there = [each["format"] for each in timed]
    fim = served["fim"] if random is None else random.fim
    return {
        "loads": "yes", **{f"int{bits}": _yes(f"int{bits}" in there) for bits in _BITS}, "chosen": chosen,
        "fim": _yes(fim) + (" (its card)" if random is not None else ""),
        "exits": _yes(all(each["half"] is not None for each in formats)),
        "half": None if random is not None else fmean(each["half"] for each in formats),
        **{f"token_{n}": each["token_ms"] for n, each in own.items()}, **{f"prompt_{n}": each["prompt_ms"] for n, each in own.items()},
        "seconds": served["seconds"], "peak_gb": served["peak_gb"], "resident_mb": served["resident_mb"],
    }  # fmt: skip


def _yes(true: bool) -> str:
    return "yes" if true else "no"


EXPERIMENT = Experiment(
    "models", "The models that it serves", __doc__, measure, {"models": [], "repetitions": 12},
    (
        Table(
            "models", "Models",
            "*Exits*: whether layers below the last choose tokens without a bundle; *half*: the share of tokens that half the layers choose as all do, before any training. "
            "*Resident*: the engine's process with the model, before its first completion. Times in ms, of a token and of a prompt of 256 tokens, on 1 and 2 threads.",
            (
                ("model", "model", ""), ("weights", "weights", ""), ("loads", "loads", ""), ("int8", "int8", ""), ("int4", "int4", ""), ("chosen", "chosen", ""),
                ("FIM", "fim", ""), ("exits", "exits", ""), ("half", "half", "%0"), ("token, 1", "token_1", "1"), ("token, 2", "token_2", "1"),
                ("prompt, 1", "prompt_1", "0"), ("prompt, 2", "prompt_2", "0"), ("conversion, s", "seconds", "1"), ("peak, GB", "peak_gb", "2"),
                ("resident, MB", "resident_mb", "0"),
            ),
        ),
        Table(
            "formats", "Conversion and engine, by format",
            "*Weights*: what a token reads at full depth. *Ready*: from no engine to one that holds the converted model.",
            (
                ("model", "model", ""), ("weights", "weights", ""), ("format", "format", ""), ("conversion, s", "seconds", "1"), ("peak, GB", "peak_gb", "2"),
                ("on disk, GB", "disk_gb", "2"), ("weights, GB", "weights_gb", "3"), ("ready, s", "ready", "2"), ("resident, MB", "resident_mb", "0"),
            ),
        ),
        Table(
            "times", "Times, by format and threads",
            "*GB/s*: the weights that a token reads over its time, beside what this machine's memory gave just before. *Gain*: llama.cpp's time over ours, on the same file. "
            "*Process*: resident memory of the process that was timed, in the end.",
            (
                ("model", "model", ""), ("weights", "weights", ""), ("engine", "format", ""), ("threads", "threads", "0"), ("token, ms", "token_ms", "2"),
                ("prompt, ms", "prompt_ms", "0"), ("GB/s", "gb_per_s", "1"), ("memory, GB/s", "machine_gb_per_s", "1"), ("gain, token", "token_ms_gain", "x2"),
                ("gain, prompt", "prompt_ms_gain", "x2"), ("process, MB", "process_mb", "0"), ("rounds", "rounds", "0"),
            ),
        ),
    ),
    Curves("Milliseconds a token over the weights that it reads", "times", "cores", "gb", "token_ms", "GB", "ms a token", "format", lines=False),
)  # fmt: skip
