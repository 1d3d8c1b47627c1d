"""How many joules and CPU-seconds do completions take while a file is typed, with a warm cache, and how much of the typing do
they save?

In each file, some lines are typed again in their place, with the file before and after them, as by people who pause: a
suggestion is requested at the start of a line, which the editor has indented, and after every few characters. Where it is the
rest of the line, it is accepted; else typing goes on, and what is typed along a suggestion needs no engine. Each mode gets the
same files, in turns. The model was not trained on held-out projects, but priors of drafts and the agent's thresholds were
chosen on them. CPU time is the process' own: measure on a quiet machine.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from green_code.engine.loading import Runtime
from green_code.link.messages import CompletionParams, Decoding
from green_code.lsp.type_through import TypeThrough
from green_code.settings import default_settings
from green_code_lab.evaluation.thresholds import early_thresholds
from green_code_lab.experiments.common import by_policy, choose_files, drafting_policy
from green_code_lab.experiments.experiment import Args, Experiment, Found, Report, Table, ratio_figure
from green_code_lab.experiments.plots import Bars

LINES = 10  # that a session types
CHARACTERS = 4  # that are typed between two requests
FULL = "full depth"
_BEFORE_LINES = 30  # at least, before the first line that is typed


class File(NamedTuple):
    """A place to type at: the text before it, the lines to type, the text after."""

    language: str
    before: str
    lines: tuple[str, ...]
    after: str


@dataclass
class Typed:
    """One file in one arm. `typed_along`: requests that needed no engine; `requests`: the engine's results of the others."""

    file: File
    arm: str
    typed_along: int = 0
    characters: int = 0
    accepted: int = 0
    requests: list[Any] = field(default_factory=list)

    def total(self, name: str) -> float:
        """Of a figure of the results; `prompt_new`: positions of prompts that were not in the cache."""
        if name == "prompt_new":
            return self.total("prompt_tokens") - self.total("prompt_reused")
        return float(sum(result[name] for result in self.requests))

    @property
    def texts(self) -> list[str]:
        return [result["text"] for result in self.requests]


def arms(runtime: Runtime) -> dict[str, tuple[Decoding, str, float]]:
    """Full depth first. `exact` as the editor has it; `fast` at the editor's threshold and at the bundle's presets, with an agent."""
    usual = default_settings().threshold
    found: dict[str, tuple[Decoding, str, float]] = {
        FULL: ("full", "full", 1.0), "exact": ("exact", drafting_policy(runtime), usual),
    }  # fmt: skip
    if runtime.agent is not None:
        presets = early_thresholds(runtime.calibration, usual)
        found |= {f"fast, {name}": ("fast", "agent", threshold) for name, threshold in presets.items()}
    return found


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    files, settings = choose_files(runtime, args, place_in)
    measured, compared = list[Typed](), list(arms(runtime).items())
    type_file(runtime, *compared[0], files[0])  # what is loaded at first use, is now
    for i, file in enumerate(files):
        turn = compared if i % 2 == 0 else compared[::-1]
        measured += [type_file(runtime, name, how, file) for name, how in turn]
        report(f"file {i + 1} of {len(files)}")
    typing = f"{LINES} lines of each file; a request at a line's start and after every {CHARACTERS} characters"  # fmt: skip
    found = [summary(name, measured, args.seed) for name, _ in compared]
    return {"settings": {**settings, "typing": typing}, "arms": found}


def place_in(language: str, text: str, generator: random.Random) -> File | None:
    """Where `LINES` lines begin, the first of them not blank."""
    lines = text.splitlines(keepends=True)
    least = min(_BEFORE_LINES, len(lines) // 2)
    starts = [i for i in range(least, len(lines) - LINES) if lines[i].strip()]
    if not starts:
        return None
    start = generator.choice(starts)
    end = start + LINES
    return File(language, "".join(lines[:start]), tuple(lines[start:end]), "".join(lines[end:]))


def type_file(runtime: Runtime, arm: str, how: tuple[Decoding, str, float], file: File) -> Typed:
    """A session of its own types the file's lines, and accepts what is right."""
    session, given, done = runtime.new_session(), TypeThrough(), Typed(file, arm)
    params = by_policy(runtime.model, *how)
    params["language"], params["suffix"] = file.language, "\n" + file.after
    for i, line in enumerate(file.lines):
        body, before = line.rstrip("\n"), file.before + "".join(file.lines[:i])
        at = len(body) - len(body.lstrip())  # the editor indents
        done.characters += len(body) - at
        while at < len(body):
            asked: CompletionParams = {**params, "prefix": before + body[:at]}
            if (shown := given.find(asked)) is not None:
                done.typed_along += 1
            else:
                shown = session.complete(asked, lambda: None, math.inf)
                done.requests.append(shown)
                given.add(asked, shown)
            if shown["text"].rstrip() == body[at:].rstrip():
                done.accepted += len(body) - at
                break
            at += CHARACTERS
    return done


def summary(arm: str, measured: Sequence[Typed], seed: int) -> Found:
    """An arm's sums over files, and ratios to full depth on the same files with intervals over files."""
    own = [typed for typed in measured if typed.arm == arm]
    full = {typed.file: typed for typed in measured if typed.arm == FULL}
    requests = sum(len(typed.requests) for typed in own)

    def against_full(name: str) -> list[float]:
        return ratio_figure([(full[t.file].total(name), t.total(name)) for t in own], seed)

    def total(name: str) -> float:
        return sum(typed.total(name) for typed in own)

    return {
        "arm": arm, "requests": requests, "typed_along": sum(typed.typed_along for typed in own), "tokens": total("tokens"),
        "joules_per_request": total("energy_joules") / requests, "cpu_seconds_per_request": total("cpu_seconds") / requests,
        "wall_seconds_per_request": total("wall_seconds") / requests,
        "joules": against_full("energy_joules"), "cpu": against_full("cpu_seconds"),
        "accepted": ratio_figure([(t.accepted, t.characters) for t in own], seed),
        "same": sum(typed.texts == full[typed.file].texts for typed in own) / len(own),
        "prompt_depth": total("prompt_layers_run") / total("prompt_new"),
    }  # fmt: skip


EXPERIMENT = Experiment(
    "sessions", "What typing costs in each mode", __doc__, measure, {"limit": 20},
    (
        Table(
            "arms", "Cost by mode",
            "*Requests*: those to the engine. *Typed along*: those that were answered without it. *Joules*, *CPU time*: full depth's over this mode's, "
            "for the same lines. *Accepted*: share of the characters that suggestions have typed. *Same*: files in which every suggestion is full "
            "depth's. *Prompt*: layers that were run over a new position of a prompt.",
            (
                ("mode", "arm", ""), ("requests", "requests", "0"), ("typed along", "typed_along", "0"), ("tokens", "tokens", "0"),
                ("mJ a request", "joules_per_request", "m0"), ("CPU-ms", "cpu_seconds_per_request", "m1"),
                ("ms", "wall_seconds_per_request", "m1"), ("joules", "joules", "x2"), ("CPU time", "cpu", "x2"), ("accepted", "accepted", "%"),
                ("same", "same", "%"), ("prompt", "prompt_depth", "1"),
            ),
        ),
    ),
    Bars("Full depth's cost over each mode's", "arms", None, "arm", (("joules", "joules"), ("cpu", "CPU time")), "full depth's over this mode's" ),
)  # fmt: skip
