"""What a bundle's stops give where code is unlike the corpus.

The functions of `evaluation/unlike.txt`, which are in no corpus, are typed again, with suggestions from the engine as it serves them: at each
stop, and always, without one. A stop that is worth less there than asking always, beyond chance, is not shipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from green_code.engine.loading import Runtime
from green_code.problems import Problem
from green_code_lab.evaluation.metrics import bootstrap_interval
from green_code_lab.evaluation.parallel import jobs_for, processes
from green_code_lab.evaluation.watch import texts
from green_code_lab.replay.objective import PRESETS, figures
from green_code_lab.replay.service import Arm, serve_span
from green_code_lab.replay.spans import Span
from green_code_lab.replay.typist import Typed

ALWAYS = "always"
_LINES_BEFORE = 2  # of a function, with which one begins
_PROJECT = "unlike"

Typings = Mapping[str, Sequence[Typed]]
"""The same spans' replays by the name of a stop, or `ALWAYS`."""


def unlike_spans() -> list[Span]:
    """Each function, typed from its third line to its end, with nothing behind it."""
    spans = []
    for language, text in texts():
        lines = text.splitlines(keepends=True)
        spans.append(
            Span(_PROJECT, language, "".join(lines[:_LINES_BEFORE]), "".join(lines[_LINES_BEFORE:]).rstrip("\n"), "")
        )
    return spans


def type_unlike(runtime: Runtime, spans: Sequence[Span], report: Callable[[str], None]) -> Typings:
    """Type the spans at every stop that the bundle has, a process a core."""
    names = (ALWAYS, *runtime.calibration["suggestions"]["presets"])
    found = dict[str, Sequence[Typed]]()
    with processes(runtime, min(jobs_for(runtime), len(spans)), _serve) as serve:
        for name in names:
            found[name] = list(serve([(span, name) for span in spans]))
            about = ", ".join(f"{each} {value:.3f}" for each, value in figures(found[name]).items())
            report(f"unlike the corpus, {name:9}{about}")
    return found


def _serve(runtime: Runtime, task: tuple[Span, str]) -> Typed:
    span, name = task
    policy = "agent" if runtime.agent is not None else "full"
    arm = Arm(name, "exact", policy) if name == ALWAYS else Arm(name, "exact", policy, stop=name, gated=True)
    return serve_span(runtime, span, arm, 0)


def record(found: Typings) -> dict[str, Any]:
    """For the calibration's "suggestions": figures by stop, and what each is worth above asking always, in accepted keys a function under the
    stop's prices, with the 95 % interval over functions."""
    every = found[ALWAYS]
    stops = {
        name: {**_rounded(figures(typed)), "gain": [round(each, 3) for each in _gain(name, typed, every)]}
        for name, typed in found.items()
        if name != ALWAYS
    }
    reference = {"files": len(every), "characters": sum(typed.keys for typed in every)}
    return {"reference": reference, ALWAYS: _rounded(figures(every)), "presets": stops}


def check(found: Typings) -> None:
    """Raises Problem where a stop is worth less than asking always, beyond chance."""
    lost = [name for name, typed in found.items() if name != ALWAYS and _gain(name, typed, found[ALWAYS])[2] < 0]
    if lost:
        raise Problem(
            "bad_request",
            f"where code is unlike the corpus, asking always is worth more than the stop {' and the stop '.join(lost)}, beyond chance: not to be shipped. Train stops on records of more and other code (--spans).",
        )


def _gain(stop: str, typed: Sequence[Typed], others: Sequence[Typed]) -> tuple[float, float, float]:
    differences = [
        PRESETS[stop].objective(mine) - PRESETS[stop].objective(its) for mine, its in zip(typed, others, strict=True)
    ]
    return float(np.mean(differences)), *bootstrap_interval(differences)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in values.items()}
