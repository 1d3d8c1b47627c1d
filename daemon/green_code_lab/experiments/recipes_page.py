"""The page of the experiment `recipes`. Every sentence about a result is made from the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from green_code_lab.experiments.delta_forms import AS_TRAINED, SHIPPED
from green_code_lab.experiments.pages import (
    bullet,
    decimal,
    language_name,
    layers_named,
    machine,
    paragraph,
    percent,
    reproduce,
    table,
)
from green_code_lab.experiments.variants import DEFAULT, LEARNED, PAPER
from green_code_lab.experiments.weight_search import PENALTY
from green_code_lab.lite.monitors import DAMAGE

_METERS = {
    "nvml": "measured by the GPU's energy counter (NVML)",
    "rapl": "measured by the processor's energy counters (RAPL)",
    "estimate": "estimated from CPU-seconds, **not measured**",
}


def page(found: dict[str, Any]) -> str:
    """Markdown of recipes.json's content."""
    parts = [
        "# Which recipe learns most from a small budget",
        paragraph(
            f"Asked: how {found['model']} is best adapted to exits at {layers_named(found['exits'])} where compute is little. Each variant differs from the default recipe in the one thing that it is named for; the paper's recipe differs as a whole."
        ),
        "## How it was measured",
        paragraph(_method(found)),
        paragraph(_terms(found)),
        *([paragraph(f"Left out: {'; '.join(found['left_out'])}.")] if found["left_out"] else []),
        "## Result",
        "\n".join(bullet(sentence) for sentence in _result(found)),
        "![Agreement and the last layer's loss by variant](recipes.svg)",
        paragraph(
            "Agreement with the model's own last layer, in per cent; in brackets where the layer was not trained as an exit:"
        ),
        _agreement(found),
        paragraph("Accuracy of the next token, in per cent:"),
        _accuracy(found),
        paragraph(
            "Lines and cost. *Edit similarity*: of completed lines, 0 to 100; in brackets the difference from the untouched model's last layer, row by row, with its 95 % bootstrap interval:"
        ),
        _lines(found),
        *_own_exits(found),
        "## Weights: the default's, the paper's, learned",
        paragraph(_search(found)),
        _weights(found),
        "## Forms of the change",
        paragraph(_forms_sentence(found)),
        _forms(found),
        reproduce(
            found,
            "A cut run goes on where it stopped, and a variant that was finished is not trained again.",
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _method(found: dict[str, Any]) -> str:
    return (
        f"All variants see {found['tokens']:,} tokens of the same corpus, with seed {found['seed']}, and begin from the untouched weights. "
        f"They are scored on held-out code, which training never saw: {_counted(found['positions'], 'positions')}, each after the source's own tokens, and {_counted(found['rows'], 'lines')}, cut at random places and completed greedily by the sessions that serve editors. "
        f"The search for weights is scored on other held-out files. "
        f"Two shares of {sum(found['positions'].values()):,} independent positions differ by chance by up to {_points(_chance(found))} points (95 %, at one half): a rough measure for scores, which are means of such shares over the same positions, less a penalty; one seed each says nothing of other seeds. "
        f"{machine(found)}"
    )


def _counted(counts: Mapping[str, int], what: str) -> str:
    """`8 lines of Python and 9 of Java`."""
    (language, count), *rest = counts.items()
    others = "".join(f" and {count:,} of {language_name(name)}" for name, count in rest)
    return f"{count:,} {what} of {language_name(language)}{others}"


def _chance(found: dict[str, Any]) -> float:
    """Half of the 95 % interval of the difference of two independent shares near one half."""
    return 1.96 * math.sqrt(2 * 0.25 / sum(found["positions"].values()))


def _terms(found: dict[str, Any]) -> str:
    return (
        "*Agreement*: share of positions at which an exit's top token is that of the same model's last layer. *Accuracy*: share at which it is the next token. Both are means over the languages. "
        "*Last layer's loss*: the relative change of its cross-entropy from the untouched model's, in the language where it rose most. "
        f"*Score*: mean agreement over {layers_named(found['exits'])}, less {PENALTY:g} points for each per cent that the last layer's loss rises beyond the default's (beyond the untouched model's where the default's fell); only variants that train all of these exits have one."
    )


def _named(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {variant["name"]: variant for variant in found["variants"]}


def _result(found: dict[str, Any]) -> list[str]:
    default = _named(found)[DEFAULT]
    ranked = sorted(_scored(found), key=lambda v: -v["score"])
    first, second = ranked[:2]
    lead = first["score"] - (default if first is not default else second)["score"]
    said = [
        f"The highest score is that of {_quoted(first)}: {_points(first['score'])}, {_points(lead)} points above "
        + ("the default" if first is not default else f"the next, {_quoted(second)}")
        + (
            ", which chance alone could give."
            if lead < _chance(found)
            else ", with one seed of each; the best of many is flattered by chance."
        ),
        _kept_whole(found),
    ]
    told = [v for v in found["variants"] if v["lines"][-1]["interval"][1] < 0]
    said.append(
        "Lines from the last layer are told apart from the untouched model's, for the worse, with "
        + (f"{', '.join(_quoted(v) for v in told)}." if told else "no variant.")
    )
    late = max(found["variants"], key=lambda v: v["lines"][0]["edit_similarity"])
    point = late["lines"][0]
    said.append(
        f"Lines from a late exit are best with {_quoted(late)}: from layer {point['depth']}, edit similarity {decimal(point['edit_similarity'])} (default: {decimal(default['lines'][0]['edit_similarity'])} from layer {default['lines'][0]['depth']}; the untouched last layer: {decimal(found['untouched']['lines'][-1]['edit_similarity'])})."
    )
    quick = max(found["variants"], key=lambda v: v["tokens_per_second"])
    slow = min(found["variants"], key=lambda v: v["tokens_per_second"])
    said.append(
        f"A second trains {quick['tokens_per_second']:,} tokens with {_quoted(quick)} and {slow['tokens_per_second']:,} with {_quoted(slow)} (default: {default['tokens_per_second']:,})."
    )
    return said


def _kept_whole(found: dict[str, Any]) -> str:
    """Which variants a full run's guard would let pass."""
    over = [v for v in found["variants"] if v["last_rise"] > DAMAGE]
    limit = f"the {percent(DAMAGE)} from which a full run's guard gives it more weight"
    if not over:
        return f"With every variant the last layer's loss stays within {limit}."
    return f"The last layer's loss rises beyond {limit}, with {', '.join(_quoted(v) for v in over)}."


def _scored(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [variant for variant in found["variants"] if variant["score"] is not None]


def _quoted(variant: Mapping[str, Any]) -> str:
    return f"*{variant['label']}*"


def _points(share: float) -> str:
    """0.1234 as `12.3`: shares in tables whose heads say that they are per cent, and scores."""
    return decimal(share * 100)


def _cells(points: Sequence[dict[str, Any]], depths: Sequence[int], measure: str) -> list[str]:
    own = {point["depth"]: point for point in points}
    return [
        _points(own[d][measure]) if own[d]["trained"] else f"({_points(own[d][measure])})" for d in depths
    ]


def _heads(depths: Sequence[int]) -> list[str]:
    return [f"layer {depth}" for depth in depths]


def _agreement(found: dict[str, Any]) -> str:
    exits = found["exits"]
    rows = [["the untouched model", *_cells(found["untouched"]["points"], exits, "agreement"), "", "", ""]]
    for v in found["variants"]:
        mean = fmean(p["agreement"] for p in v["points"] if p["depth"] in exits)
        whole = v["score"] is not None
        rows.append(
            [
                v["label"],
                *_cells(v["points"], exits, "agreement"),
                _points(mean) if whole else f"({_points(mean)})",
                percent(v["last_rise"], True),
                _points(v["score"]) if whole else "",
            ]
        )
    return table(["variant", *_heads(exits), "mean", "last layer's loss", "score"], rows)


def _accuracy(found: dict[str, Any]) -> str:
    depths = [*found["exits"], found["layers"]]
    rows = [["the untouched model", *_cells(found["untouched"]["points"], found["exits"], "accuracy")]]
    rows[0].append(_points(found["untouched"]["points"][-1]["accuracy"]))
    rows += [[v["label"], *_cells(v["points"], depths, "accuracy")] for v in found["variants"]]
    return table(["variant", *_heads(depths)], rows)


def _lines(found: dict[str, Any]) -> str:
    source = found["variants"][0]["energy_source"]
    heads = ["variant", "from exit", "edit similarity there", f"from layer {found['layers']}"]
    heads += ["tokens/s", "s", f"kJ ({source})"]
    first, last = found["untouched"]["lines"]
    rows = [
        [
            "the untouched model",
            f"{first['depth']}",
            _similarity(first),
            decimal(last["edit_similarity"]),
            "",
            "",
            "",
        ]
    ]
    for v in found["variants"]:
        late, last = v["lines"]
        cost = [f"{v['tokens_per_second']:,}", f"{v['seconds']:,.0f}", f"{v['joules'] / 1e3:.1f}"]
        rows.append([v["label"], f"{late['depth']}", _similarity(late), _similarity(last), *cost])
    said = f"*Tokens/s* are medians over half minutes; seconds and kJ ({_METERS[source]}) are of whole runs, with what torch compiles."
    return f"{table(heads, rows)}\n\n{paragraph(said)}"


def _similarity(point: Mapping[str, Any]) -> str:
    low, high = point["interval"]
    return f"{decimal(point['edit_similarity'])} ({decimal(point['difference'], True)} [{decimal(low, True)}, {decimal(high, True)}])"


def _own_exits(found: dict[str, Any]) -> list[str]:
    others = [v for v in found["variants"] if v["score"] is None]
    if not others:
        return []
    rows = []
    for v in others:
        trained = [p for p in v["points"] if p["trained"] and p["depth"] != found["layers"]]
        cells = [f"{p['depth']}: {_points(p['agreement'])} / {_points(p['accuracy'])}" for p in trained]
        rows.append([v["label"], ", ".join(cells)])
    said = "Variants with exits of their own, at these: layer, agreement and accuracy in per cent. They compare with the tables above by depth, as a deeper exit costs more:"
    return [paragraph(said), table(["variant", "layer: agreement / accuracy"], rows)]


def _search(found: dict[str, Any]) -> str:
    searched, named = found["search"], _named(found)
    trials = searched["trials"]
    chosen, own, heuristic = trials[searched["best"]], trials[0], trials[1]
    said = (
        f"Learned weights are those of the best of {len(trials)} trials of {searched['tokens']:,} tokens each, by score on held-out files that the tables above do not use; the first two trials have the default's and the paper's weights. "
        f"Trial {chosen['number'] + 1} is best with {_points(chosen['score'])}; the default's weights have {_points(own['score'])}, the paper's {_points(heuristic['score'])}. "
    )
    if (learned := named.get(LEARNED)) is None:
        return said + "So nothing was learned that had not been known, and no further variant was trained."
    default = named[DEFAULT]
    paper = named.get(PAPER, default)  # where the default already has the paper's weights
    return said + (
        f"At the full budget the learned weights' score is {_points(learned['score'])}, the default's {_points(default['score'])} and the paper's {_points(paper['score'])}."
    )


def _weights(found: dict[str, Any]) -> str:
    trials = found["search"]["trials"]
    best = found["search"]["best"]
    depths = [depth for depth, _ in trials[0]["weights"]]
    named = [("the default's", 0), ("the paper's, by its rule", 1)]
    if best > 1:
        named.append((f"learned (trial {best + 1})", best))
    rows = [[label, *(f"{weight:.2f}" for _, weight in trials[i]["weights"])] for label, i in named]
    return table(["weights", *_heads(depths)], rows)


def _forms_sentence(found: dict[str, Any]) -> str:
    named = {weight_format["label"]: weight_format for weight_format in found["forms"]}
    trained, shipped = named[AS_TRAINED], named[SHIPPED]
    mean = {
        label: _mean(weight_format, found["exits"], "agreement") for label, weight_format in named.items()
    }
    change = (mean[SHIPPED] - mean[AS_TRAINED]) * 100
    others = [weight_format for label, weight_format in named.items() if label not in (AS_TRAINED, SHIPPED)]
    better = [
        weight_format
        for weight_format in others
        if weight_format["megabytes"] <= shipped["megabytes"] and mean[weight_format["label"]] > mean[SHIPPED]
    ]
    said = (
        f"The change that the default learned, in forms that could be shipped. As shipped it takes {shipped['megabytes']:.1f} MB for {trained['megabytes']:.1f} MB in float16, "
        f"and its exits agree with the last layer at {percent(mean[SHIPPED])} of the positions on average, {decimal(change, True)} points from as trained. "
    )
    if not better:
        return said + "No form that is as small or smaller agrees more."
    return (
        said
        + f"As small or smaller, and of more agreement: {', '.join(weight_format['label'] for weight_format in better)}."
    )


def _mean(weight_format: Mapping[str, Any], exits: Sequence[int], measure: str) -> float:
    return fmean(p[measure] for p in weight_format["points"] if p["depth"] in exits)


def _forms(found: dict[str, Any]) -> str:
    exits, layers = found["exits"], found["layers"]
    rows = [
        [
            weight_format["label"],
            f"{weight_format['megabytes']:.1f}",
            *_cells(weight_format["points"], exits, "agreement"),
            _points(_mean(weight_format, exits, "agreement")),
            _points(_mean(weight_format, exits, "accuracy")),
            *_cells(weight_format["points"], [layers], "accuracy"),
            percent(weight_format["last_rise"], True),
        ]
        for weight_format in found["forms"]
    ]
    heads = ["form", "MB", *(f"agreement, layer {exit}" for exit in exits)]
    heads += ["mean", "mean accuracy of the exits", f"accuracy, layer {layers}", "last layer's loss"]
    return table(heads, rows)
