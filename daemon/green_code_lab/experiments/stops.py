"""Which policy ends suggestions best: a rule over the tokens' probabilities, a learned agent, a gate before the engine?

Greedy continuations at full depth were recorded at every cursor position of spans of code (`green-code train records`); all policies then
meet the same replayed typing on them (`replay/typist.py`), at the same prices, one forward pass a token, without drafts. Agents and
gate learned on training projects. Every setting in the table was chosen on the spans that it is shown for, each family alike, by the objective: accepted keys,
less a price for each suggestion that was seen and wrong, less a price for joules. The prices are the preset's. The oracle knows the file.
"""

from __future__ import annotations

import json

from green_code.engine.loading import Runtime
from green_code.problems import Problem
from green_code_lab.experiments.common import facts
from green_code_lab.experiments.experiment import Args, Experiment, Found, Report, Table
from green_code_lab.experiments.plots import Curves
from green_code_lab.replay.objective import PRESETS


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    """Reads what `green-code train stops` has measured.

    Raises Problem where there is nothing to read.
    """
    path, suggestions = args.work / "stops.json", runtime.calibration.get("suggestions")
    if not path.is_file() or not suggestions:
        raise Problem(
            "bad_request", f"{path} is missing; run `green-code train records`, then `green-code train stops`."
        )
    report(f"reading {path}")
    reference = suggestions["reference"]
    prices = "; ".join(f"{name}: {each.wrong:g} and {each.energy:g}" for name, each in PRESETS.items())
    always = {"curve": "asking always", **suggestions["always"]}
    curve = [{"curve": "what ships, by stop", **point} for point in suggestions["curve"]]
    figures = [
        {"figure": name, "joules_per_character": point["joules_per_character"], "value": point[name], "of": point["curve"]}
        for name in ("accepted", "right") for point in (*curve, always)
    ]  # fmt: skip
    data = f"{reference['files']} files of held-out projects, {reference['characters']:,} keys; projects that are kept away have no part in it"
    settings = {"data": data, "prices in keys, of a wrong suggestion and of a joule": prices, **facts(runtime)}
    return {
        "settings": settings,
        "policies": json.loads(path.read_text("utf-8")),
        "curve": [*curve, always],
        "figures": figures,
    }


EXPERIMENT = Experiment(
    "stops", "Which policy stops best", __doc__, measure, {},
    (
        Table(
            "policies", "Policies under each preset's prices",
            "*Objective*: in keys a file. *Above the rule*: of the running product's, with the interval over files. *Requests*, *rejected*: per 100 keys.",
            (
                ("policy", "family", ""), ("setting", "setting", ""), ("objective", "objective", "1"), ("above the rule", "gain", "+2"),
                ("accepted", "accepted", "%1"), ("right", "right", "%0"), ("J/char.", "joules_per_character", "3"),
                ("requests", "requests_per_100", "1"), ("rejected", "rejected_per_100", "1"),
            ), ("preset",),
        ),
        Table(
            "curve", "What ships",
            "The policy of the bundle over its stop, with the gate, and asking always without a stop (`exact`, served by the engine).",
            (
                ("", "curve", ""), ("stop", "stop", "2"), ("accepted", "accepted", "%1"), ("right", "right", "%0"),
                ("J/char.", "joules_per_character", "3"), ("shown per 100 keys", "shown_per_100", "1"), ("rejected", "rejected_per_100", "1"),
            ),
        ),
    ),
    Curves(
        "Accepted characters and share right over joules per accepted character", "figures", "figure", "joules_per_character", "value",
        "joules per accepted character (estimate)", "share", "of",
    ),
)  # fmt: skip
