"""The experiments' plots, as small SVG files that are the same for the same data: no date, no random ids."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from green_code.problems import Problem
from green_code_lab.experiments.layers import ADAPTED, UNTOUCHED
from green_code_lab.experiments.pages import language_name
from green_code_lab.experiments.propagation import PROPAGATION
from green_code_lab.experiments.quality import AGENT, CONFIDENCE, EXACT, FIXED, FULL
from green_code_lab.experiments.quality import UNTOUCHED as UNTOUCHED_MODEL
from green_code_lab.experiments.rewards import ENERGY, PAPER, RULES, SUPERVISED

try:
    import matplotlib
    from matplotlib.figure import Figure
except ImportError as error:
    raise Problem(
        "bad_request", "plots need the package matplotlib; run: pip install 'green-code[train,evaluate]'"
    ) from error

_STYLE: Any = {
    "svg.hashsalt": "green-code",
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],  # the list is written out with each text
    "font.size": 9.0,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.alpha": 0.3,
}
_BARS: Any = {"markersize": 4, "capsize": 2, "linewidth": 1}
_GREY, _GREEN = "#777777", "#2b8a3e"


def draw_layers(found: dict[str, Any], path: Path) -> None:
    """Edit similarity by layer with its intervals, a panel per language."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.2 * len(found["rows"]), 3.2), layout="constrained")
        panels = figure.subplots(1, len(found["rows"]), sharey=True, squeeze=False)[0]
        for panel, (language, count) in zip(panels, found["rows"].items(), strict=True):
            for model, style in (
                (UNTOUCHED, {"color": _GREY, "marker": "o"}),
                (ADAPTED, {"color": _GREEN, "marker": "s"}),
            ):
                own = [p for p in found["points"] if (p["model"], p["language"]) == (model, language)]
                means = [p["edit_similarity"] for p in own]
                away = _distances(means, [p["edit_similarity_interval"] for p in own])
                panel.errorbar([p["layer"] for p in own], means, away, label=model, **style, **_BARS)
            panel.set_title(f"{language_name(language)}, {count} rows")
            panel.set_xlabel("layer decoded from")
            panel.set_xticks(range(1, found["layers"] + 1))
        panels[0].set_ylabel("edit similarity (0 … 100)")
        panels[0].set_ylim(bottom=0)
        panels[0].legend(loc="upper left")
        _save(figure, path)


def draw_energy(found: dict[str, Any], path: Path) -> None:
    """Millijoules per token by layer with the fitted line; below it how far the means and their intervals are off."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        points, windows, total = found["points"], found["windows"], found["layers"]
        layers, line = [p["layer"] for p in points], [p["line_joules"] for p in points]
        upper.scatter(
            [w["layer"] for w in windows], [w["joules"] * 1e3 for w in windows], 4, _GREY, label="window"
        )
        upper.plot(
            layers, [joules * 1e3 for joules in line], color=_GREEN, linewidth=1, label="least-squares line"
        )
        upper.set_ylabel(f"mJ per token ({found['source']})")
        upper.set_ylim(bottom=0)
        upper.legend(loc="upper left")
        skipped = upper.secondary_xaxis("top", functions=(lambda run: total - run, lambda run: total - run))
        skipped.set_xlabel("layers skipped")
        skipped.set_ticks([total - layer for layer in layers])
        off = [(p["joules"] / p["line_joules"] - 1) * 100 for p in points]
        ends = [[(end / p["line_joules"] - 1) * 100 for end in p["joules_interval"]] for p in points]
        lower.errorbar(layers, off, _distances(off, ends), fmt=".", color=_GREY, **_BARS)
        lower.axhline(0, color=_GREEN, linewidth=1)
        lower.set_ylabel("off the line (%)")
        lower.set_xlabel("layers run")
        lower.set_xticks(layers)
        _save(figure, path)


def draw_baselines(found: dict[str, Any], path: Path) -> None:
    """Joules a completion by arm; those without a cache in grey."""
    arms = found["arms"]
    with matplotlib.rc_context({**_STYLE, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(6.4, 0.6 + 0.32 * len(arms)), layout="constrained")
        panel = figure.subplots()
        means = [arm["joules"] for arm in arms]
        away = _distances(means, [arm["joules_interval"] for arm in arms])
        colours = [_GREEN if arm["cache"] else _GREY for arm in arms]
        panel.barh(range(len(arms)), means, xerr=away, color=colours, error_kw={"elinewidth": 0.8})
        panel.set_yticks(range(len(arms)), [arm["arm"] for arm in arms])
        panel.invert_yaxis()
        panel.set_xlabel(f"J a completion ({found['source']})")
        _save(figure, path)


def draw_paper(found: dict[str, Any], path: Path) -> None:
    """ROUGE-L over joules, each in parts of Full's, ours with a cache and without."""
    with matplotlib.rc_context({**_STYLE, "axes.grid.axis": "both"}):
        figure = Figure(figsize=(4.2 * len(found["files"]), 3.2), layout="constrained")
        panels = figure.subplots(1, len(found["files"]), squeeze=False)[0]
        for panel, language in zip(panels, found["files"], strict=True):
            own = [a for a in found["arms"] if a["language"] == language and a["setting"] != "Base"]
            full = next(a for a in own if a["setting"] == "Full")
            for key, label, colour in (("joules", "cache", _GREEN), ("uncached_joules", "no cache", _GREY)):
                panel.plot(
                    [a[key] / full[key] for a in own],
                    [a["rouge_l"] / full["rouge_l"] if full["rouge_l"] else 0.0 for a in own],
                    marker="o", color=colour, label=label, linewidth=1, markersize=3,
                )  # fmt: skip
            panel.set_title(f"{language_name(language)}, {found['files'][language]} files")
            panel.set_xlabel("joules, parts of full depth's")
        panels[0].set_ylabel("ROUGE-L, parts of full depth's")
        panels[0].legend(loc="lower right")
        _save(figure, path)


def draw_recipes(found: dict[str, Any], path: Path) -> None:
    """Agreement of each variant's exits by depth, hollow where a layer was not trained; beside it the last layer's loss."""
    variants = found["variants"]
    rows = range(len(variants))
    with matplotlib.rc_context({**_STYLE, "axes.grid.axis": "both"}):
        figure = Figure(figsize=(8.4, 1.6 + 0.28 * len(variants)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
        shown = {v["name"]: [p for p in v["points"] if p["depth"] < found["layers"]] for v in variants}
        depths = sorted({point["depth"] for own in shown.values() for point in own})
        for i, depth in enumerate(depths):
            colour = matplotlib.colormaps["viridis"](i / max(1, len(depths) - 1))
            for trained in (True, False):
                spots = [
                    (point["agreement"] * 100, row)
                    for row, own in zip(rows, shown.values(), strict=True)
                    for point in own
                    if (point["depth"], point["trained"]) == (depth, trained)
                ]
                face = colour if trained else "none"
                left.scatter(*zip(*spots, strict=True) if spots else ([], []), 22, facecolors=face, edgecolors=colour)  # fmt: skip
            left.scatter([], [], 22, color=colour, label=f"layer {depth}")
        left.set_yticks(rows, [v["label"] for v in variants])
        left.invert_yaxis()
        left.set_xlabel("agreement with the last layer (%)")
        left.set_xlim(0, 100)
        right.barh(rows, [v["last_rise"] * 100 for v in variants], 0.5, color=_GREEN)
        right.axvline(0, color=_GREY, linewidth=1)
        right.set_xlabel("last layer's loss (%)")
        figure.legend(loc="outside lower center", ncols=6, frameon=False)
        _save(figure, path)


def draw_drafts(found: dict[str, Any], path: Path) -> None:
    """Joules of full depth over those spent, whole and after the prompt, by where drafts come from."""
    arms = found["arms"][1:]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 2.8), layout="constrained")
        panel = figure.subplots()
        for i, (key, label, colour) in enumerate(
            (("ratio", "whole", _GREY), ("ratio_after_prompt", "after the prompt", _GREEN))
        ):
            ratios = [arm[key] for arm in arms]
            away = _distances(ratios, [arm[f"{key}_interval"] for arm in arms])
            places = [place + 0.36 * i - 0.18 for place in range(len(arms))]
            panel.bar(places, ratios, 0.34, color=colour, label=label)
            panel.errorbar(places, ratios, away, fmt="none", ecolor="black", capsize=2, linewidth=1)
        panel.axhline(1, color="black", linewidth=0.8)
        panel.set_xticks(range(len(arms)), [arm["name"] for arm in arms])
        panel.set_ylabel("full depth's joules over those spent")
        panel.legend(loc="upper right")
        _save(figure, path)


def draw_sessions(found: dict[str, Any], path: Path) -> None:
    """Full depth's joules and CPU time over each mode's, and the share of characters that were accepted."""
    arms = found["arms"]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 2.8), layout="constrained")
        costs, accepted = figure.subplots(1, 2, width_ratios=(3, 2))
        for i, (key, label, colour) in enumerate(
            (("ratio", "joules", _GREEN), ("cpu_ratio", "CPU time", _GREY))
        ):
            _bars(costs, [arm[key] for arm in arms], 0.36 * i - 0.18, 0.34, label, colour)
        costs.axhline(1, color="black", linewidth=0.8)
        costs.set_ylabel("full depth's cost over this mode's")
        costs.legend(loc="upper left")
        _bars(accepted, [arm["accepted"] for arm in arms], 0.0, 0.6, "accepted", _GREEN)
        accepted.set_ylabel("characters accepted, share")
        for panel in (costs, accepted):
            panel.set_xticks(range(len(arms)), [arm["name"].replace(", ", ",\n") for arm in arms], fontsize=6)
        _save(figure, path)


def draw_quality(found: dict[str, Any], path: Path) -> None:
    """Edit similarity over joules a completion, a panel per language, a line per family of policies."""
    families = {
        UNTOUCHED_MODEL: ("black", "x"), FULL: ("black", "o"), EXACT: ("#1864ab", "D"),
        AGENT: (_GREEN, "s"), CONFIDENCE: ("#e8590c", "^"), FIXED: (_GREY, "v"),
    }  # fmt: skip
    _draw_families(found, families, path)


def draw_plateaus(found: dict[str, Any], path: Path) -> None:
    """Edit similarity over joules a completion, a panel per language, a line per prefill exit."""
    names = list(dict.fromkeys(arm["family"] for arm in found["arms"]))
    styles = itertools.cycle(
        [(_GREY, "v"), (_GREEN, "s"), ("#1864ab", "D"), ("#e8590c", "^"), ("#862e9c", "P"), ("#c2255c", "X")]
    )
    families = {name: ("black", "o") if name == FULL else next(styles) for name in names}
    _draw_families(found, families, path)


def _draw_families(found: dict[str, Any], families: dict[str, tuple[str, str]], path: Path) -> None:
    with matplotlib.rc_context({**_STYLE, "axes.grid.axis": "both"}):
        figure = Figure(figsize=(4.2 * len(found["rows"]), 3.4), layout="constrained")
        panels = figure.subplots(1, len(found["rows"]), squeeze=False)[0]
        for panel, (language, count) in zip(panels, found["rows"].items(), strict=True):
            for family, (colour, marker) in families.items():
                own = [a for a in found["arms"] if (a["family"], a["language"]) == (family, language)]
                own.sort(key=lambda a: a["joules"])
                means = [a["edit_similarity"] for a in own]
                away = _distances(means, [a["edit_similarity_interval"] for a in own])
                panel.errorbar([a["joules"] for a in own], means, away, label=family, color=colour, marker=marker, elinewidth=0.5, **_BARS)  # fmt: skip
            panel.set_title(f"{language_name(language)}, {count} rows")
            panel.set_xlabel(f"J a completion ({found['energy_source']})")
            panel.set_xlim(left=0)
        panels[0].set_ylabel("edit similarity (0 … 100)")
        panels[0].legend(loc="lower right", fontsize=7)
        _save(figure, path)


def draw_rewards(found: dict[str, Any], path: Path) -> None:
    """Agreement over cost, a mark per trained agent; rules beside them."""
    styles = {
        PAPER: ("#e8590c", "^"),
        ENERGY: (_GREEN, "s"),
        SUPERVISED: ("#1864ab", "D"),
        RULES: (_GREY, "v"),
    }
    with matplotlib.rc_context({**_STYLE, "axes.grid.axis": "both"}):
        figure = Figure(figsize=(7.2, 3.8), layout="constrained")
        panel = figure.subplots()
        for reward, (colour, marker) in styles.items():
            own = [arm for arm in found["arms"] if arm["reward"] == reward and "failed" not in arm]
            panel.scatter(
                [a["cost"] for a in own],
                [a["agreement"] for a in own],
                24,
                colour,
                marker=marker,
                label=reward,
            )
            for arm in own:
                panel.annotate(arm["setting"], (arm["cost"], arm["agreement"]), (4, 3), textcoords="offset points", fontsize=6)  # fmt: skip
        panel.set_xlabel("cost of a completion, in full-depth tokens")
        panel.set_ylabel("agreement with the last layer")
        panel.legend(loc="lower right", fontsize=7)
        _save(figure, path)


def draw_propagation(found: dict[str, Any], path: Path) -> None:
    """Propagation less the cache with its intervals, by policy: similarity, agreement with full depth, joules."""
    shown = (
        ("edit_similarity", 1, "edit similarity"),
        ("same_as_full", 100, "texts of full depth (%)"),
        ("joules", 1e3, "mJ a token"),
    )
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.2 * len(found["rows"]), 6), layout="constrained")
        panels = figure.subplots(len(shown), len(found["rows"]), sharex=True, sharey="row", squeeze=False)
        for column, (language, count) in enumerate(found["rows"].items()):
            own = [a for a in found["arms"] if (a["cache"], a["language"]) == (PROPAGATION, language)]
            for panel, (name, unit, label) in zip(panels[:, column], shown, strict=True):
                changes = [arm["from_staircase"][name] for arm in own]
                means = [change["mean"] * unit for change in changes]
                away = _distances(means, [[end * unit for end in change["interval"]] for change in changes])
                panel.errorbar(range(len(own)), means, away, fmt="s", color=_GREEN, **_BARS)
                panel.axhline(0, color=_GREY, linewidth=1)
                if not column:
                    panel.set_ylabel(label)
            panels[0, column].set_title(f"{language_name(language)}, {count} rows")
            names = [f"{arm['family']} {arm['setting']}" for arm in own]
            panels[-1, column].set_xticks(range(len(own)), names, rotation=90)
        figure.supylabel("propagation less cache", fontsize=9)
        _save(figure, path)


def draw_snippets(found: dict[str, Any], path: Path) -> None:
    """Edit similarity less that without a snippet, with its intervals: of all rows, and by whether there is room."""
    kinds = (
        ("all", "all rows", "black", "o"),
        ("short", "with room", _GREEN, "s"),
        ("long", "without", _GREY, "v"),
    )
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.2 * len(found["rows"]), 3.2), layout="constrained")
        panels = figure.subplots(1, len(found["rows"]), sharey=True, squeeze=False)[0]
        for panel, (language, count) in zip(panels, found["rows"].items(), strict=True):
            own = [arm for arm in found["arms"] if arm["language"] == language][1:]
            for at, (kind, label, colour, marker) in enumerate(kinds):
                shown = [(place + 0.2 * at - 0.2, arm[kind]) for place, arm in enumerate(own) if arm[kind]]
                means = [change["mean"] for _, change in shown]
                away = _distances(means, [change["interval"] for _, change in shown])
                panel.errorbar([place for place, _ in shown], means, away, fmt=marker, color=colour, label=label, **_BARS)  # fmt: skip
            panel.axhline(0, color=_GREY, linewidth=1)
            panel.set_xticks(range(len(own)), [arm["name"] for arm in own], fontsize=8)
            panel.set_title(f"{language_name(language)}, {count} rows")
        panels[0].set_ylabel("edit similarity less no snippet's")
        panels[0].legend(loc="lower left", fontsize=7)
        _save(figure, path)


def _bars(
    panel: Any, found: Sequence[dict[str, float]], at: float, width: float, label: str, colour: str
) -> None:
    values, places = [f["value"] for f in found], [place + at for place in range(len(found))]
    panel.bar(places, values, width, color=colour, label=label)
    away = _distances(values, [(f["low"], f["high"]) for f in found])
    panel.errorbar(places, values, away, fmt="none", ecolor="black", capsize=2, linewidth=1)


def _distances(means: Sequence[float], intervals: Sequence[Sequence[float]]) -> list[list[float]]:
    """From each mean down and up to its interval's ends, as matplotlib wants them."""
    below = [max(0.0, mean - low) for mean, (low, _) in zip(means, intervals, strict=True)]
    above = [max(0.0, high - mean) for mean, (_, high) in zip(means, intervals, strict=True)]
    return [below, above]


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
