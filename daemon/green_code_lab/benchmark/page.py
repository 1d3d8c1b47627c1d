"""performance.md from the content of performance.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from green_code_lab.benchmark.rounds import COMPLETION_TOKENS, SETTLE_SECONDS
from green_code_lab.experiments.pages import bullet, decimal, paragraph, percent, table

_NONE = "–"


def page(found: dict[str, Any]) -> str:
    """Markdown."""
    parts = [
        "# Performance",
        paragraph(
            f"How long {found['model']} takes to complete code in Green Code and in other engines, on the same weights (but for llama.cpp's stock file), the same prompts and as many threads, "
            "decoding greedily with a key-value cache. All are warm and take turns."
        ),
        paragraph(_machine(found)),
        *[part for threads in found["plan"]["threads"] for part in _tables(found, threads)],
        "![Time per token, and of a completion](performance.svg)",
        "## Where the time of a token goes",
        *_profile(found),
        "## What further positions in a pass cost",
        *_passes(found),
        "## What rounding changes",
        _rounding(found),
        "## How far from what memory allows",
        *_bound(found),
        *_starts(found),
        "## How it was measured",
        *_method(found),
        "## To reproduce",
        f"```\n{found['command']}\n```",
        paragraph(
            "On a machine that does nothing else. This page, its [data](performance.json) and its [plot](performance.svg) are written by that command (`make bench`); "
            "nothing here is written by hand. `make bench-quick` gives a first idea in two minutes and puts it elsewhere."
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _machine(found: Mapping[str, Any]) -> str:
    m = found["machine"]
    return (
        f"Measured on {found['date']} on {m['processor']}, {m['system']}, {m['cores']} core{'s' * (m['cores'] != 1)} usable, "
        f"Python {m['python']}, Green Code {m['green_code']}, weights {found['weights'][:12]}."
    )


# --- tables -----------------------------------------------------------------------------------------------

Figure = Mapping[str, Any]
_Show = Callable[[Figure], str]


def _milliseconds(figure: Figure) -> str:
    median, low, high = (figure[name] * 1e3 for name in ("median", "low", "high"))
    places = 0 if median >= 100 else 1 if median >= 10 else 2
    return f"{median:.{places}f} [{low:.{places}f}, {high:.{places}f}]"


def _per_second(figure: Figure) -> str:
    return f"{1 / figure['median']:.0f}" if figure["median"] > 0 else _NONE


def _thousandths(figure: Figure) -> str:
    return f"{figure['median'] * 1e3:.3g}"


def _plain(figure: Figure) -> str:
    return f"{figure['median']:.3g}"


def _ratio(figure: Figure) -> str:
    if not (ratio := figure["ratio"]):
        return _NONE
    return f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"


def _tables(found: Mapping[str, Any], threads: int) -> list[str]:
    source = next((p["source"] for p in found["peers"] if "source" in p), "estimate")
    joules = "estimated" if source == "estimate" else "measured"
    token: list[tuple[str, str, _Show]] = [
        ("tokens/s", "token_seconds", _per_second),
        ("ms per token", "token_seconds", _milliseconds),
        ("ratio", "token_seconds", _ratio),
        ("CPU-ms per token", "token_cpu_seconds", _thousandths),
        (f"mJ per token ({joules})", "token_joules", _thousandths),
        (f"prompt of {_about(found, 'short')}, tokens/s", "prompt_token_seconds", _per_second),
        (f"prompt of {_about(found, 'long')}, tokens/s", "long_prompt_token_seconds", _per_second),
    ]
    completion: list[tuple[str, str, _Show]] = [
        ("cold, ms", "cold_seconds", _milliseconds),
        ("ratio", "cold_seconds", _ratio),
        (f"J ({joules})", "cold_joules", _plain),
        ("after a keystroke, ms", "keystroke_seconds", _milliseconds),
        ("ratio", "keystroke_seconds", _ratio),
        (f"J ({joules})", "keystroke_joules", _plain),
    ]
    more = {"MiB resident": _memory, "agreement": lambda peer: _agreement(found, peer)}
    name = _threads(threads)
    return [
        f"## {name}: a token, and a prompt",
        _table(found, threads, token, {}),
        f"## {name}: a completion of {COMPLETION_TOKENS} tokens",
        _table(found, threads, completion, more),
    ]


def _about(found: Mapping[str, Any], which: str) -> str:
    counts = sorted(found["prompt_tokens"][which])
    return f"{counts[len(counts) // 2]:,}"


def _table(
    found: Mapping[str, Any],
    threads: int,
    columns: Sequence[tuple[str, str, _Show]],
    more: Mapping[str, Callable[[Mapping[str, Any]], str]],
) -> str:
    measured = {row["peer"]: row for row in found["summary"] if row["threads"] == threads}
    rows = []
    for peer in found["peers"]:
        if "why_not" in peer:
            why = f"not set up: {peer['why_not']}".replace("|", "/").replace("\n", " ")
            rows.append([peer["label"], why, *[_NONE] * (len(columns) + len(more) - 1)])
            continue
        own = measured.get(peer["name"], {})
        cells = [show(own[name]) if name in own else _NONE for _, name, show in columns]
        rows.append([peer["label"], *cells, *(show(peer) for show in more.values())])
    return table(["engine", *(head for head, _, _ in columns), *more], rows)


def _memory(peer: Mapping[str, Any]) -> str:
    return f"{peer['resident_bytes'] / 2**20:,.0f}"


def _agreement(found: Mapping[str, Any], peer: Mapping[str, Any]) -> str:
    share = found["agreement"].get(peer["name"])
    return _NONE if share is None else percent(share)


# --- the other sections -----------------------------------------------------------------------------------


def _profile(found: Mapping[str, Any]) -> list[str]:
    profiles = found["profile"]
    if not profiles:
        return ["Not measured."]
    parts = sorted(
        {part for p in profiles for part in p["parts"]}, key=lambda part: -_share(profiles[0], part)
    )
    heads = [
        "part",
        *(f"{p['decoding']}, ms" for p in profiles),
        *(f"{p['decoding']}, share" for p in profiles),
    ]
    rows = [
        [
            part,
            *(f"{p['parts'].get(part, 0.0) * 1e3:.3f}" for p in profiles),
            *(percent(_share(p, part)) for p in profiles),
        ]
        for part in parts
    ]
    rows.append(["a token", *(f"{p['seconds'] * 1e3:.3f}" for p in profiles), *(["100.0 %"] * len(profiles))])
    fast = next(
        (f"`fast` is at threshold {p['threshold']:g}; " for p in profiles if p["decoding"] == "fast"), ""
    )
    return [
        paragraph(
            f"{_threads(max(found['plan']['threads']))}, one process, the prompt in the cache; each part is charged only for what it does itself. {fast}"
            "what it leaves to deeper layers is in *layers* when a later token goes there."
        ),
        table(heads, rows),
    ]


def _threads(count: int) -> str:
    return "One thread" if count == 1 else f"{count} threads"


def _share(profile: Mapping[str, Any], part: str) -> float:
    return float(profile["parts"].get(part, 0.0) / profile["seconds"])


def _passes(found: Mapping[str, Any]) -> list[str]:
    heads, columns = ["positions"], []
    for threads in found["plan"]["threads"]:
        own = [row for row in found["passes"] if row["threads"] == threads]
        heads += [f"{_threads(threads).lower()}, ms", "ratio"]
        columns += [[_milliseconds(row) for row in own], [_ratio(row) for row in own]]
    positions = dict.fromkeys(str(row["positions"]) for row in found["passes"])
    return [
        paragraph(
            f"All layers over so many positions at once, behind a prompt of {found['prompt_tokens']['short'][0]} tokens: so drafts are verified. *Ratio*: to a pass over one "
            "position in the same round."
        ),
        table(heads, [list(row) for row in zip(positions, *columns, strict=True)]),
    ]


def _rounding(found: Mapping[str, Any]) -> str:
    measured = found["rounding"]
    return paragraph(
        f"Over {measured['positions']:,} positions of the rows' own text, {found['machine']['compute']}, names the same next token as the same weights in float32 in torch "
        f"in {percent(measured['agreement'])} of cases."
    )


def _bound(found: Mapping[str, Any]) -> list[str]:
    bound, rows = found["bound"], []
    measured = {row["threads"]: row for row in found["summary"] if row["peer"] == found["baseline"]}
    for at in bound["threads"]:
        own = measured.get(at["threads"], {}).get("token_seconds")
        rows.append([
            str(at["threads"]),
            f"{at['bytes_per_second'] / 1e9:.1f}",
            f"{at['token_seconds'] * 1e3:.2f}",
            _milliseconds(own) if own else _NONE,
            f"{decimal(own['median'] / at['token_seconds'])} ×" if own else _NONE,
        ])  # fmt: skip
    return [
        paragraph(
            f"A token at full depth reads {bound['weight_bytes'] / 1e6:.0f} MB of weights once. At the speed at which this machine reads and copies memory, "
            "that takes the third column, unless weights stay in the processor's cache."
        ),
        table(["threads", "GB/s", "bound, ms per token", "Green Code, full depth", "of the bound"], rows),
    ]


def _starts(found: Mapping[str, Any]) -> list[str]:
    starts = found["starts"]
    rows = [
        [name, f"{starts[name]['seconds']['median']:.2f}", f"{starts[name]['bytes']['median'] / 2**20:,.0f}"]
        for name in ("front", "engine")
    ]
    trip = starts["round_trip"]
    return [
        "## Start, memory, and the way between",
        table(["process", "ready after, s", "MiB resident then"], rows),
        paragraph(
            f"Medians of {starts['runs']} starts, converted weights in the disk's cache. After the demo's files, each in a session of its own, the engine has "
            f"{starts['used_bytes'] / 2**20:,.0f} MiB resident, weights included. A question to it and back takes {trip['median'] * 1e3:.2f} ms in the median "
            f"and {trip['p99'] * 1e3:.2f} ms at the 99th percentile."
        ),
    ]


def _rounds(found: Mapping[str, Any]) -> str:
    rounds, places = found["rounds"], found["places"]
    if rounds == places:
        return f"{rounds} rounds, each with another place"
    return f"{rounds} rounds over {places} places, which come again (so intervals are too narrow),"


def _method(found: Mapping[str, Any]) -> list[str]:
    plan, meter = found["plan"], next((p["meter"] for p in found["peers"] if "meter" in p), "")
    versions = [f"{peer['label']}: {peer['said']}." for peer in found["peers"] if "said" in peer]
    reference = "the same weights at full depth in float32 in transformers"
    agreement = (
        f"No agreement is given: {found['no_reference']}."
        if found["no_reference"]
        else f"*Agreement*: the share of a cold completion's tokens before the first that differs from {reference}, the mean over rounds. "
        "llama.cpp's stock file holds the untouched weights, so part of its difference is what adaptation changed."
    )
    facts = [
        f"{_rounds(found)} in {found['rows']} (seed {found['seed']}), in which every engine does the same. "
        "The order is reversed from round to round, and all do one thing before any does the next. Each engine runs in a process of its own, and begins "
        f"{SETTLE_SECONDS * 1e3:.0f} ms after the one before has ended, whose threads have gone to sleep then.",
        "Prompts end where a line does, and are cut at the start of a line. All engines are given the same tokens of the bundle's vocabulary; the stock file has them under other numbers. "
        "Every engine writes as many tokens as it is asked for: the end of the text ends nothing, and neither do our stop rules, which are run all the same.",
        f"*Per token*: {plan['decode_tokens']} tokens after an empty cache less the prompt and its first token, over the others. *Prompt*: an empty cache, and one token. "
        f"*Cold*: an empty cache, prompt and {COMPLETION_TOKENS} tokens. *After a keystroke*: then one more character is typed, and {COMPLETION_TOKENS} tokens are asked for again; "
        "each engine keeps what it can of its cache. transformers' assisted decoding can keep nothing, so there it is as if cold; "
        "ours draft from nothing that they wrote there before, since typing along a suggestion never reaches the engine.",
        "*Drafts*: our *exact* and *fast* guess from the prompt and from a table of n-grams; of transformers there are two modes that draft. llama.cpp runs without. "
        "In *fast*, a prompt rises only as far as its first token needs: so its speed is no whole prompt's; what later tokens ask of it is in *per token* and *cold*.",
        f"Medians over rounds with 95 % bootstrap intervals. *Ratio*: the median over rounds of the time over that of {_label(found)} in the same round, with its interval; less than 1 is faster.",
        "CPU time is that of all threads of the engine's process; memory is what is resident in it after the last round, Python and weights included.",
        f"Joules are {'an ' if meter.startswith('estimate') else 'measured: '}{meter}.",
        agreement,
        *versions,
    ]
    return ["\n".join(bullet(fact) for fact in facts)]


def _label(found: Mapping[str, Any]) -> str:
    return next(str(p["label"]) for p in found["peers"] if p["name"] == found["baseline"])
