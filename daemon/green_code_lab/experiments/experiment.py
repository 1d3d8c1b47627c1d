"""What every experiment consists of, the one writer of its page, and figures with their intervals.

An experiment's module says what is asked, what is measured and which columns are shown; the page follows from that and
from the data of record, NAME.json. Its `notes` are sentences about that one measurement, written by hand into the file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import random
import shlex
import subprocess
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import torch

from green_code import __version__
from green_code.engine.loading import Runtime
from green_code.engine.measured_costs import processor_name
from green_code.kernels.thread_pool import usable_cores
from green_code.models.device import gpu_uuid
from green_code_lab.evaluation.metrics import bootstrap_interval
from green_code_lab.experiments.plots import Bars, Curves, draw, language_name

Found = dict[str, Any]
"""Data of record, as in JSON. A figure is a number, or [value, low, high] with a 95 % bootstrap interval."""
Args = argparse.Namespace
Report = Callable[[str], None]
Measure = Callable[[Runtime, Args, Report], Found]
"""Measures with a runtime; returns records and `settings` by name. Raises Problem where it lacks what it needs."""
Drawn = TypeVar("Drawn")
_DRAWS, _WIDTH = 1000, 118
ROWS: Mapping[str, Any] = {"data": [], "limit": 200}
"""Arguments of experiments over rows."""


def paragraph(text: str) -> str:
    """In lines of the documents' width; a number stays beside its per cent."""
    whole = " ".join(text.split()).replace(" %", "\0%")
    lines = textwrap.wrap(whole, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")


def bullet(text: str) -> str:
    return "- " + paragraph(text).replace("\n", "\n  ")


def decimal(value: float, sign: bool = False, digits: int = 1) -> str:
    """A number in decimals; with a sign on both sides of 0 where that is asked for. Never −0.0."""
    return f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def cell(figure: Any, form: str) -> str:
    """A figure in a table.

    Args:
        form: digits after the point; before them `%`: a share, in per cent; `m`: in thousandths; `x`: a factor; `+`: with a sign.
    """
    if figure is None:
        return "–"
    if isinstance(figure, str):
        return figure.replace("|", "\\|")
    scale, unit = (100, " %") if "%" in form else (1e3, "") if "m" in form else (1, "x" * ("x" in form))
    digits = int(form[-1]) if form[-1].isdigit() else 1
    value, *interval = figure if isinstance(figure, list | tuple) else (figure,)
    numbers = [decimal(each * scale, "+" in form, digits) for each in (value, *interval)]
    return f"{numbers[0]}{unit}" + (f" [{', '.join(numbers[1:])}]" if interval else "")


@dataclass(frozen=True)
class Table:
    """Records as rows. Columns are (heading, key, form), see `cell`; `each`: a table for each value of these keys."""

    records: str
    heading: str
    text: str
    columns: tuple[tuple[str, str, str], ...]
    each: tuple[str, ...] = ()

    def markdown(self, found: Found) -> str:
        """Empty where there are no records. Columns that no record has a figure for are left out."""
        groups: dict[str, list[Found]] = {}
        for record in found[self.records]:
            name = ", ".join(language_name(str(record[key])) for key in self.each)
            groups.setdefault(name, []).append(record)
        parts = [f"## {self.heading}", paragraph(self.text)] if groups else []
        for name, records in groups.items():
            columns = [c for c in self.columns if any(record.get(c[1]) is not None for record in records)]
            rows = [[cell(record.get(key), form) for _, key, form in columns] for record in records]
            left = sum(any(isinstance(record.get(key), str) for record in records) for _, key, _ in columns)
            rules = [":--" if i < left else "--:" for i in range(len(columns))]
            lines = [[heading for heading, _, _ in columns], rules, *rows]
            parts += [f"{name}:" if name else "", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
        return "\n\n".join(filter(None, parts))


@dataclass(frozen=True)
class Experiment:
    """One page of docs/experiments.

    Attributes:
        text: the module's docstring: what is asked, and in further paragraphs how it is measured. Figures of that are settings.
        arguments: those of the command, with their defaults. folder: of the page, in the project.
    """

    name: str
    title: str
    text: str | None
    measure: Measure
    arguments: Mapping[str, Any]
    tables: tuple[Table, ...]
    plot: Curves | Bars
    folder: str = "docs/experiments"

    @property
    def question(self) -> str:
        return " ".join((self.text or "").partition("\n\n")[0].split())

    def page(self, found: Found) -> str:
        """Markdown of the data of record."""
        method = (self.text or "").strip().split("\n\n")[1:]
        parts = [
            f"# {self.title}", paragraph(self.question), f"![{self.plot.caption}]({self.name}.svg)", "\n".join(map(bullet, found["notes"])),
            *(table.markdown(found) for table in self.tables),
            "## How it was measured", *map(paragraph, method),
            "\n".join(bullet(f"{name}: {value}") for name, value in _conditions(found).items()), f"```\n{found['command']}\n```",
            paragraph(f"Data: [{self.name}.json]({self.name}.json). Intervals in brackets are bootstrap intervals of 95 %."),
        ]  # fmt: skip
        return "\n\n".join(filter(None, parts)) + "\n"

    def write(self, found: Found, out: Path) -> None:
        """NAME.json, .md and .svg, which is equal for equal data, into a folder that is there."""
        data = json.dumps(found, separators=(",", ":"), ensure_ascii=False)
        (out / f"{self.name}.json").write_text(data + "\n", "utf-8")
        (out / f"{self.name}.md").write_text(self.page(found), "utf-8")
        draw(self.plot, found, out / f"{self.name}.svg")


def _conditions(found: Found) -> dict[str, Any]:
    m = found["machine"]
    machine = (
        m["processor"], m["gpu"], m["system"], f"usable cores: {m['cores']}", m["compute"], f"torch {m['torch']}, threads: {m['threads']}",
        f"Python {m['python']}", f"Green Code {m['green_code']}",
    )  # fmt: skip
    commit = {"commit": found["commit"]} if found.get("commit") else {}
    weights = f"{found['model']}, weights {found['weights'][:12]}"
    first = {"date": found["date"], **commit, "machine": ", ".join(filter(None, machine)), "model": weights}
    return {**first, **found["settings"]}


def rounded(figures: Any) -> Any:
    """To six significant digits, through lists and dicts: more is not shown anywhere."""
    if isinstance(figures, dict):
        return {key: rounded(value) for key, value in figures.items()}
    if isinstance(figures, list | tuple):
        return [rounded(value) for value in figures]
    return float(f"{figures:.6g}") if isinstance(figures, float) else figures


def mean_figure(values: Sequence[float]) -> list[float]:
    """The mean over rows, with its interval."""
    return [fmean(values), *bootstrap_interval(values)]


def interval_figure(items: Sequence[Drawn], of: Callable[[Sequence[Drawn]], float], seed: int = 0) -> list[float]:
    """A figure of all items, as a ratio of sums, with its interval; items are drawn whole."""
    generator = random.Random(seed)
    drawn = sorted(of(generator.choices(items, k=len(items))) for _ in range(_DRAWS))
    return [of(items), drawn[int(0.025 * _DRAWS)], drawn[int(0.975 * _DRAWS)]]


def ratio_figure(pairs: Sequence[tuple[float, float]], seed: int) -> list[float]:
    """The sum of the first over the sum of the second, with its interval."""
    return interval_figure(pairs, lambda drawn: sum(a for a, _ in drawn) / sum(b for _, b in drawn), seed)


def provenance(runtime: Runtime, experiment: str, options: dict[str, object]) -> dict[str, Any]:
    """What every data file begins with. `options` are the command's, by name; empty ones are left out."""
    return {
        "experiment": experiment, "date": datetime.date.today().isoformat(), "command": _command(experiment, options),
        "commit": _commit(), "model": Path(runtime.model).name, "weights": runtime.weights,
        "machine": {
            "processor": processor_name(), "gpu": _gpu_name(runtime.decoder.gpu),
            "cores": usable_cores(), "threads": torch.get_num_threads(), "compute": runtime.decoder.description,
            "torch": torch.__version__, "python": platform.python_version(), "system": platform.system(), "green_code": __version__,
        },
    }  # fmt: skip


def _gpu_name(gpu: str | None) -> str | None:
    """Of the card with a UUID; of another GPU its kind."""
    cards = (torch.device("cuda", number) for number in range(torch.cuda.device_count()))
    return next((torch.cuda.get_device_name(card) for card in cards if gpu_uuid(card) == gpu), gpu)


def _command(experiment: str, options: dict[str, object]) -> str:
    words = ["green-code", "experiments", experiment]
    for name, value in options.items():
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if any(str(each) for each in values):
            words += [f"--{name}", *(v.name if isinstance(v, Path) else str(v) for v in values)]
    return shlex.join(words)


def _commit() -> str | None:
    """Of the sources that run; None where they are no checkout of git."""
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
