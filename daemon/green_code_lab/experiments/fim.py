"""Does a model gain by the text behind the cursor (fill-in-the-middle), and how much of that text pays?

A row's line is completed in a session that has come there as somebody does who types: the document was opened at the line above,
then a line was begun, then comes the row's request. *J opened*: the first of these. *J*: the other two, a completion in a new line:
with fill-in-the-middle, the text behind the cursor is run again there. Rows without text behind the cursor have a prompt of the form
`prefix` in all arms.

A completion is accepted where it is right as it is: the row's text begins with it, blanks at its end aside. *A joule*: accepted
characters of all rows over the joules of all, those of wrong completions included. Whichever form has more of them is the model's
`prompt` in the catalog.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePath
from typing import Any

from green_code.engine.loading import Runtime, load_measured
from green_code.engine.prompts import PromptLayout
from green_code.link.messages import CompletionParams
from green_code_lab.evaluation.datasets import Row, rows_digest
from green_code_lab.evaluation.metrics import mean
from green_code_lab.evaluation.parallel import jobs_for, laid_out, processes
from green_code_lab.evaluation.run import evaluate
from green_code_lab.experiments.common import Scored, by_language, by_policy, choose_rows
from green_code_lab.experiments.experiment import (
    ROWS,
    Args,
    Experiment,
    Found,
    Report,
    Table,
    mean_figure,
    ratio_figure,
)
from green_code_lab.experiments.plots import Curves

_SUFFIX_TOKENS = (64, 96, 128)
_ALL = "all languages"


def arms(runtime: Runtime) -> list[tuple[str, PromptLayout]]:
    """The layouts that are compared; the reference first."""
    plain = replace(runtime.layout, form="prefix")
    if plain.fim is None:
        return [("prefix", plain)]
    return [("prefix", plain), *((f"fim {n}", replace(plain, form="fim", suffix_tokens=n)) for n in _SUFFIX_TOKENS)]


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    rows, settings = choose_rows(runtime, args)
    found = list[Found]()
    for name in (args.model, *args.beside):
        own = runtime if name == args.model else load_measured(name, device=runtime.device)
        found += _of_model(own, name, rows, args, report)
    return {"settings": settings, "arms": found}


def _of_model(runtime: Runtime, model: str, rows: Sequence[Row], args: Args, report: Report) -> list[Found]:
    digest = rows_digest(rows, runtime.weights)
    params, found, base = by_policy(model, "exact", "agent"), list[Found](), list[dict[str, Any]]()
    for name, layout in arms(runtime):
        own = laid_out(runtime, layout)
        with processes(own, jobs_for(own), partial(_typed, layout)) as complete:
            folder = args.work / "experiments" / f"fim-{digest}" / name.replace(" ", "-")
            done = evaluate(own, rows, params, lambda _: None, folder, complete)  # type: ignore[arg-type]
        base = base or done
        groups: list[tuple[str, list[Scored]]] = [(_ALL, [done, base]), *by_language(done, base)]
        for language, (its, plain) in groups:
            about = {"model": PurePath(model).name, "language": language, "prompt": name}
            others = plain if done is not base else None
            found.append({**about, **figures(its, others, {row.id: row.reference for row in rows}, args.seed)})
        report(f"{PurePath(model).name}, {name}: edit similarity {found[-1]['edit_similarity'][0]:.1f}")
    return found


def _typed(layout: PromptLayout, runtime: Runtime, params: CompletionParams) -> dict[str, Any]:
    """The row's completion behind two requests that nobody reads."""
    session, prefix = laid_out(runtime, layout).new_session(), params["prefix"]
    above, end, line = prefix.rpartition("\n")
    before: CompletionParams = {**params, "max_tokens": 1}
    opened = session.complete({**before, "prefix": above}, lambda: None, math.inf)
    begun = above + end + line[: len(line) - len(line.lstrip())]
    entered = session.complete({**before, "prefix": begun}, lambda: None, math.inf)
    result = session.complete(params, lambda: None, math.inf)
    joules = {name: result[name] + entered[name] for name in ("energy_joules", "energy_full_joules")}
    return {**result, **joules, "opened_joules": opened["energy_joules"]}


def figures(done: Scored, base: Scored | None, references: dict[str, str], seed: int) -> Found:
    """Means over rows; `base`: the same rows in the reference's form, None: these are that."""
    similar = [[row["edit_similarity"] for row in rows] for rows in (done, base or done)]
    accepted = [_accepted(row["text"], references[row["id"]]) for row in done]
    joules = [row["energy_joules"] for row in done]
    return {
        "rows": len(done),
        "edit_similarity": mean_figure(similar[0]),
        "from_prefix": None if base is None else mean_figure([a - b for a, b in zip(*similar, strict=True)]),
        "exact_match": mean([row["exact_match"] for row in done]),
        "accepted": mean(accepted),
        "joules": mean(joules),
        "opened_joules": mean([row["opened_joules"] for row in done]),
        "accepted_a_joule": ratio_figure([*zip(map(float, accepted), joules, strict=True)], seed),
        "filled_in": mean([float(row["prompt"] == "fim") for row in done]),
        "prompt_tokens": mean([float(row["prompt_tokens"]) for row in done]),
    }


def _accepted(text: str, reference: str) -> int:
    """Characters of a text that is right."""
    own = text.rstrip()
    return len(own) if reference.startswith(own) else 0


EXPERIMENT = Experiment(
    "fim", "What the text behind the cursor is worth", __doc__, measure, {**ROWS, "beside": []},
    (
        Table(
            "arms", "Forms of the prompt",
            "*fim N*: with at most N tokens of the text behind the cursor. *From prefix*: edit similarity less that of the same rows in the form `prefix`. "
            "*Accepted*: characters a row. *Filled in*: rows with text behind the cursor.",
            (
                ("model", "model", ""), ("prompt", "prompt", ""), ("rows", "rows", "0"), ("edit similarity", "edit_similarity", "1"),
                ("from prefix", "from_prefix", "+1"), ("exact match", "exact_match", "%"), ("accepted", "accepted", "1"), ("J", "joules", "2"),
                ("J opened", "opened_joules", "2"), ("a joule", "accepted_a_joule", "2"), ("filled in", "filled_in", "%0"),
                ("prompt tokens", "prompt_tokens", "0"),
            ),
            ("language",),
        ),
    ),
    Curves("Edit similarity over joules a completion", "arms", "language", "joules", "edit_similarity", "J a completion", "edit similarity", "model"),
)  # fmt: skip
