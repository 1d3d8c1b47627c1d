"""How much faster, and for how much less energy a token, are several rows in one batch, each with its own cache?

The demo's files are cut at their places of completion, and all are completed by a fixed number of tokens at most, cold, over and over; the
batch sizes take turns. A batch holds so many sessions; what they have to run over a few positions runs in one call of the kernel
(`green-code evaluate --batch`). Texts are the same in every arm, which is checked. Prompts are short, and their time counts.
"""

from __future__ import annotations

from functools import partial
from statistics import fmean

from green_code.cli.demo import samples
from green_code.engine.loading import Runtime
from green_code.engine.requests import completion_params
from green_code.link.messages import CompletionParams, Decoding
from green_code.problems import Problem
from green_code_lab.evaluation.together import complete_together
from green_code_lab.experiments.experiment import Args, Experiment, Found, Report, Table, mean_figure
from green_code_lab.experiments.plots import Curves
from green_code_lab.experiments.windows import Spent, take_turns

SIZES = (1, 2, 4, 8)
MODES: tuple[Decoding, ...] = ("full", "exact")
PROMPT_CHARACTERS = 200
TOKENS = 16
"""Of a completion, at most."""


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    rows = {mode: _rows(runtime.model, mode) for mode in MODES}
    texts: dict[Decoding, list[str]] = {}

    def complete_all(mode: Decoding, size: int) -> int:
        done = list(complete_together(runtime, [{**row} for row in rows[mode]], size))
        if texts.setdefault(mode, [each["text"] for each in done]) != [each["text"] for each in done]:
            raise Problem("internal_error", f"a batch of {size} gave another text in {mode}; this is a bug.")
        return sum(each["tokens"] for each in done)

    works = {(mode, size): partial(partial, complete_all, mode, size) for mode in MODES for size in SIZES}
    windows, settings = take_turns(runtime, works, args, report)
    completions = f"{len(rows['full'])} prompts of at most {PROMPT_CHARACTERS} characters from the demo's files, at most {TOKENS} tokens each"
    return {"settings": {**settings, "completions": completions}, "sizes": figures(windows)}


def _rows(model: str, mode: Decoding) -> list[CompletionParams]:
    """As many as the greatest batch holds."""
    found = [
        completion_params(
            prefix[-PROMPT_CHARACTERS:],
            model=model,
            decoding=mode,
            max_tokens=TOKENS,
            single_line=False,
            max_lines=1000,
        )
        for _, prefix, _, _ in samples()
    ]
    while len(found) < max(SIZES):
        found += [{**row, "prefix": row["prefix"][len(row["prefix"]) // 3 :]} for row in found]
    return found[: max(SIZES)]


def figures(windows: dict[tuple[Decoding, int], list[Spent]]) -> list[Found]:
    """Means over windows, for each token; ratios to a batch of one, repetition by repetition."""

    def ratios(mode: Decoding, own: list[Spent]) -> tuple[list[float], list[float]]:
        pairs = list(zip(own, windows[mode, 1], strict=True))
        faster = mean_figure([one.wall_seconds / each.wall_seconds for each, one in pairs])
        return faster, mean_figure([1 - each.joules / one.joules for each, one in pairs])

    found = list[Found]()
    for (mode, size), own in windows.items():
        faster, saved = ratios(mode, own)
        found.append({
            "mode": mode, "size": size, "tokens_per_second": mean_figure([1 / each.wall_seconds for each in own]),
            "joules": mean_figure([each.joules for each in own]), "cpu_seconds": fmean(each.cpu_seconds for each in own),
            "faster": faster, "saved": saved,
        })  # fmt: skip
    return found


EXPERIMENT = Experiment(
    "batching", "Many rows in one batch", __doc__, measure, {"window-seconds": 6.0, "repetitions": 4},
    (
        Table(
            "sizes", "By batch size",
            "*Faster* and *saved*: against a batch of one, of the same repetition. Prompts are in all figures.",
            (
                ("decoding", "mode", "1"), ("rows in a batch", "size", "0"), ("tokens/s", "tokens_per_second", "1"), ("faster", "faster", "x2"),
                ("J a token", "joules", "3"), ("saved", "saved", "%"), ("CPU-ms a token", "cpu_seconds", "m1"),
            ),
        ),
    ),
    Curves("Tokens a second by batch size", "sizes", None, "size", "tokens_per_second", "rows in a batch", "tokens/s", "mode"),
)  # fmt: skip
