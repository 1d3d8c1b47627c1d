"""From samples to a table's figures: by engine and number of threads, each with its interval and its ratio."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from green_code_lab.benchmark.statistics import median, ratio

Steps = Mapping[str, Mapping[str, Any]]
"""An engine's samples of one round, by step."""


def _per_token(what: str) -> Callable[[Steps], float]:
    """Of a token after the prompt: what `decode` took beyond the prompt and its first token, over the other tokens."""

    def figure(steps: Steps) -> float:
        tokens = len(steps["decode"]["tokens"]) - len(steps["prompt"]["tokens"])
        return float(steps["decode"][what] - steps["prompt"][what]) / tokens

    return figure


def _of(step: str, what: str) -> Callable[[Steps], float]:
    return lambda steps: float(steps[step][what])


def _per_prompt_token(step: str) -> Callable[[Steps], float]:
    return lambda steps: float(steps[step]["seconds"] / steps[step]["prompt_tokens"])


FIGURES: Mapping[str, Callable[[Steps], float]] = {
    "token_seconds": _per_token("seconds"),
    "token_cpu_seconds": _per_token("cpu_seconds"),
    "token_joules": _per_token("joules"),
    "prompt_token_seconds": _per_prompt_token("prompt"),
    "long_prompt_token_seconds": _per_prompt_token("long"),
    "cold_seconds": _of("cold", "seconds"),
    "cold_cpu_seconds": _of("cold", "cpu_seconds"),
    "cold_joules": _of("cold", "joules"),
    "keystroke_seconds": _of("keystroke", "seconds"),
    "keystroke_cpu_seconds": _of("keystroke", "cpu_seconds"),
    "keystroke_joules": _of("keystroke", "joules"),
}
"""All are better when smaller."""


def summarise(samples: Sequence[Mapping[str, Any]], baseline: str) -> list[dict[str, Any]]:
    """A row per engine and number of threads, in the order of the samples.

    Each figure is {median, low, high} with the rounds' `values` and `ratio`, the same of its ratio to the baseline's in the same rounds and on
    as many threads (None where the baseline was not measured). A figure that was not measured is left out.
    """
    groups: dict[tuple[str, int], dict[int, dict[str, Mapping[str, Any]]]] = {}
    for sample in samples:
        rounds = groups.setdefault((sample["peer"], sample["threads"]), {})
        rounds.setdefault(sample["round"], {})[sample["step"]] = sample
    values = {group: _values(list(rounds.values())) for group, rounds in groups.items()}
    return [
        {"peer": peer, "threads": threads, **_estimates(own, values.get((baseline, threads)))}
        for (peer, threads), own in values.items()
    ]


def _values(rounds: Sequence[Steps]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for name, figure in FIGURES.items():
        try:
            found[name] = [figure(steps) for steps in rounds]
        except (KeyError, TypeError):
            continue  # no such step in this plan, or a meter without a reading
    return found


def _estimates(own: Mapping[str, list[float]], base: Mapping[str, list[float]] | None) -> dict[str, Any]:
    return {
        name: {
            **asdict(median(values)),
            "values": list(values),
            "ratio": asdict(ratio(values, base[name])) if base and name in base else None,
        }
        for name, values in own.items()
    }
