"""What do larger models cost, on larger machines and for many users, and what do early exits save there?

The cost model is fitted to what was measured of two models and checked on all others ([models](experiments/models.md)). What it says of
cards is a prediction from their data sheets: no card was measured. Decoding waits for memory, so a token costs the bytes that it reads over
the bandwidth, of which a card is assumed to reach the share that the CPU kernel reached of this machine's memory (median over models).
Joules are seconds times the card's highest power, which decoding does not reach: they are upper bounds, and ratios are closer.

The simulation of continuous batching replays exits that the agent chose while it completed the rows, without drafts: 256 completions,
drawn from the recorded ones with replacement. Each slot has a completion; where it ends, the next begins. *Together*: all slots decode a token at a time, so a layer is read where one of them is that
deep. *Grouped*: slots wait at exits, and the span of layers for which most wait runs next. Positions that an exit left behind are run
when a later token of their slot goes deeper. Its steps are those of the cache (`decoding/kv_cache.py`), its tests closed forms.

Joules on the CPU are its seconds × the watts per core of the settings, an estimate as everywhere in this project.
"""

from __future__ import annotations

import itertools
import json
import random
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from green_code.decoding.exit_policies import parse_policy
from green_code.energy.meters import EstimateMeter
from green_code.engine.assumed_costs import costs_of, layer_weights
from green_code.engine.loading import Runtime, load_measured
from green_code.kernels.weight_bits import bits_for
from green_code.models.rows import ROWS
from green_code.problems import Problem
from green_code.work import Prices
from green_code_lab.experiments.common import choose_rows, drafting_policy, stream
from green_code_lab.experiments.continuous_batching import Schedule, StepCosts, Trace, simulate
from green_code_lab.experiments.cost_model import CARDS, OnCard, fitted
from green_code_lab.experiments.experiment import ROWS as ROW_ARGUMENTS
from green_code_lab.experiments.experiment import Args, Experiment, Found, Report, Table
from green_code_lab.experiments.plots import Curves
from green_code_lab.lite.plan import PLANNED

MEASURED = Path(__file__).parents[3] / "docs" / "experiments"
_FITTED = ("gemma-3-270m", "qwen2.5-coder-0.5b-instruct")
_PROMPT = 256  # positions of a prompt in models.json
_TOKENS = 24  # of a completion
_BEFORE = 128  # tokens of its prompt, which do not count
_COMPLETIONS = 256  # that are served, drawn with replacement
_SLOTS = (1, 2, 4, 8, 16, 32, 64)
_CARDS = (1, 2, 4, 8)
_LATENCY = 10e-6
_KEYS_A_DAY, _DAYS = 8_000, 220
_ARMS = ("full depth, no stop", "exact, balanced")


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    models, sessions = (_measured(name) for name in ("models", "sessions"))
    rows, settings = choose_rows(runtime, args)
    policy = drafting_policy(runtime)
    report(f"exits of {len(rows)} completions")
    traces = [trace for row in rows if (trace := _trace(runtime, row.prefix, policy))]
    layers = runtime.layers_total
    depth = statistics.fmean(each / layers for each in itertools.chain(*traces))
    heads = statistics.fmean(1 + sum(exit < each for exit in runtime.exits) for each in itertools.chain(*traces))
    watts, share = EstimateMeter().watts_per_core, _share_of_bandwidth(models)
    tokens = _tokens(models, watts)
    shown = {
        "completion": f"{_TOKENS} tokens after at most {_BEFORE} tokens of prompt",
        "cost model": f"fitted to {' and '.join(_FITTED)} of models.json ({models['date']}, {models['machine']['processor']}), one thread, int8",
        "share of a card's bandwidth": f"{share:.2f}", "latency of a sum over cards": f"{_LATENCY * 1e6:.0f} µs, assumed",
        "exits replayed": f"{sum(map(len, traces))} tokens of {len(traces)} completions, policy {policy}, on average {depth:.1%} of the layers and {heads:.2f} readings of the head",
        "developer-year": f"{_KEYS_A_DAY:,} keys a day on {_DAYS} days, assumed; joules per 100 keys of sessions.json ({sessions['date']}), kept-away projects",
        **{f"data sheet of {card.name}": card.source for card in CARDS},
    }  # fmt: skip
    return {
        "settings": {**settings, **shown},
        "prices": _prices(runtime, [load_measured(name, device=runtime.device) for name in args.beside]),
        "tokens": tokens,
        "cards": on_cards(share, depth, heads),
        "split": split(share),
        "batches": batches(traces, layers, runtime.exits, runtime.costs.prices, share, args.seed),
        "years": years(sessions, share, depth, heads, tokens),
        "traces": [list(trace) for trace in traces],
    }


def _measured(name: str) -> Found:
    path = MEASURED / f"{name}.json"
    try:
        found: Found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Problem(
            "bad_request",
            f"{path} cannot be read ({error.strerror}): run this in a checkout of the project, after `green-code experiments {name}`.",
        ) from error
    return found


@torch.inference_mode()
def _trace(runtime: Runtime, prefix: str, policy: str) -> Trace:
    """Depths of the tokens behind a prefix, at the agent's likelier action."""
    deciding = parse_policy(policy, runtime.exits, runtime.layers_total, runtime.agent, 0.5)
    start = [runtime.vocabulary.bos] if runtime.vocabulary.bos is not None else []
    prompt = [*start, *runtime.vocabulary.encode(prefix)[-_BEFORE:]]
    tokens = stream(runtime, prompt, deciding, None, _TOKENS)[1]
    return [each.depth for each in itertools.islice(tokens, _TOKENS)]


def _share_of_bandwidth(models: Found) -> float:
    alone = [row for row in models["times"] if row["threads"] == 1 and row.get("gb_per_s") is not None]
    return float(statistics.median(row["gb_per_s"] / row["machine_gb_per_s"] for row in alone))


def _tokens(models: Found, watts: float) -> list[Found]:
    """A token and a prompt of each measured model and format on one thread: predicted from two of them, and measured."""
    read = {(row["model"], row["weights"], row["format"]): 1e9 * row["weights_gb"] for row in models["formats"]}
    rows: list[dict[str, Any]] = []
    for row in models["times"]:
        key = (row["model"], row["weights"], row["format"])
        if row["threads"] == 1 and key in read:
            shape = ROWS[row["model"]].shape
            rows.append({
                "model": row["model"], "weights": row["weights"], "format": row["format"], "shape": shape, "layers": shape.layers,
                "bytes": read[key], "positions": _PROMPT, "token": row["token_ms"][0] / 1e3, "prompt": row["prompt_ms"][0] / 1e3,
            })  # fmt: skip
    first, second = (next(row for row in rows if row["model"] == name and row["format"] == "int8") for name in _FITTED)
    prompts = [row for row in rows if row["model"] == _FITTED[1]]
    rates, found = fitted(first, second, prompts), list[Found]()
    for row in rows:
        token, prompt = rates.token(row["layers"], row["bytes"]), rates.prompt(row["shape"], _PROMPT, row["format"])
        basis = ", ".join([*["token"] * (row is first or row is second), *["prompt"] * (row in prompts)])
        found.append({
            "model": row["model"], "weights": row["weights"], "format": row["format"], "gigabytes": row["bytes"] / 1e9,
            "predicted": token * watts, "measured": row["token"] * watts, "error": token / row["token"] - 1,
            "prompt": prompt * watts, "prompt_measured": row["prompt"] * watts, "prompt_error": prompt / row["prompt"] - 1,
            "basis": basis or "no", "per_gigabyte": rates.byte * 1e9 * watts, "per_layer": rates.layer * watts,
        })  # fmt: skip
    return found


def _prices(runtime: Runtime, others: Sequence[Runtime]) -> list[Found]:
    """Joules of each unit of work: measured, and for the others what the first one's say by their weights."""
    first = _priced(runtime.model, "measured", runtime)
    found = [first]
    assumed = _assumed(runtime)
    for other in others:
        own = _assumed(other)
        scaled = {
            name: price * getattr(own, name) / getattr(assumed, name)
            for name, price in vars(runtime.costs.prices).items()
        }
        found += [
            _row(other.model, f"from {runtime.model}", other, Prices(**scaled)),
            _priced(other.model, "measured", other),
        ]
    return found


def _assumed(runtime: Runtime) -> Prices:
    config = runtime.decoder.config
    return costs_of(config, runtime.decoder.has_svd_head, bits_for(config)).prices


def _priced(model: str, basis: str, runtime: Runtime) -> Found:
    return _row(model, basis, runtime, runtime.costs.prices)


def _row(model: str, basis: str, runtime: Runtime, prices: Prices) -> Found:
    layer_bytes = layer_weights(runtime.decoder.config) * (1 if bits_for(runtime.decoder.config) == 8 else 5 / 8)
    return {
        "model": Path(model).name,
        "basis": basis,
        "per_byte": 1e9 * prices.layer_batch / layer_bytes,
        **vars(prices),
    }


def on_cards(share: float, depth: float, heads: float) -> list[Found]:
    """A token of each planned shape on each card, in 16 and in 4 bits (with scales: 5), at full depth and with the replayed exits."""
    found = []
    for (model, shape), card, (name, bits) in itertools.product(
        PLANNED.items(), CARDS, (("bfloat16", 16), ("int4", 5))
    ):
        on = OnCard(shape, card, bits, share)
        row: Found = {"model": model, "card": card.name, "format": name, "gigabytes": on.weights / 1e9}
        if on.fits:
            full, early = on.token(), on.token(depth, heads)
            row |= {
                "seconds": full, "joules": full * card.watts, "early_joules": early * card.watts, "saved": 1 - early / full,
                "rows": on.layer_bytes / (share * card.bandwidth) / on.position,
            }  # fmt: skip
        found.append(row)
    return found


def split(share: float) -> list[Found]:
    """Layers split among several cards of the first kind, in bfloat16: seconds and joules of a token, and what communication takes."""
    found = []
    for (model, shape), cards in itertools.product(PLANNED.items(), _CARDS):
        on = OnCard(shape, CARDS[0], 16, share)
        if on.weights > 0.9 * cards * CARDS[0].memory:
            continue
        seconds = on.split(cards, _LATENCY)
        found.append({
            "model": model, "cards": cards, "seconds": seconds, "communication": 1 - on.token() / cards / seconds,
            "joules": seconds * cards * CARDS[0].watts, "faster": on.token() / seconds,
        })  # fmt: skip
    return found


def batches(
    traces: Sequence[Trace], layers: int, exits: Sequence[int], prices: Prices, share: float, seed: int
) -> list[Found]:
    """Completions drawn from the replayed ones, with more and more slots, at this machine's prices and at those that are predicted of a card."""
    card = OnCard(PLANNED["llama-3.2-3b"], CARDS[0], 16, share)
    bandwidth = share * CARDS[0].bandwidth
    costs = {
        "this machine": StepCosts(
            prices.layer_batch, prices.small_batch_position, prices.head_batch, prices.head_position
        ),
        f"llama-3.2-3b, {CARDS[0].name}": StepCosts(
            card.layer_bytes / bandwidth, card.position, card.head_bytes / bandwidth
        ),
    }
    drawn = random.Random(seed).choices(traces, k=_COMPLETIONS)
    full = [[layers] * len(trace) for trace in drawn]
    schedules: tuple[Schedule, ...] = ("together", "grouped")
    found: dict[str, list[Found]] = {where: [] for where in costs}
    for slots in _SLOTS:
        plain = simulate(full, layers, (), slots, "together")
        served = {name: simulate(drawn, layers, exits, slots, name) for name in schedules}
        for where, each in costs.items():
            row: Found = {"where": where, "slots": slots, "full": plain.cost(each) / plain.tokens}
            row |= {name: 1 - run.cost(each) / plain.cost(each) for name, run in served.items()}
            found[where].append(row | {f"{name}_rows": run.positions / run.reads for name, run in served.items()})
    return [row for rows in found.values() for row in rows]


def years(
    sessions: Found, share: float, depth: float, heads: float, tokens: Sequence[Mapping[str, Any]]
) -> list[Found]:
    """Kilowatt-hours of a developer-year: without and with what this project saves. Larger models: as many tokens, at their price."""
    arms = {row["arm"]: row for row in sessions["arms"] if row["part"] == "kept away"}
    before, after = (arms[name]["joules_per_100_keys"] * _KEYS_A_DAY * _DAYS / 100 / 3.6e6 for name in _ARMS)
    light = next(row["measured"] for row in tokens if row["model"] == _FITTED[0])
    found: list[Found] = [
        {
            "model": _FITTED[0],
            "basis": "measured here",
            "factor": 1.0,
            "before": before,
            "after": after,
            "saved": 1 - after / before,
        }
    ]
    on_cpu = {
        row["model"]: row["predicted"] / light
        for row in tokens
        if row["format"] == "int8" and row["model"] in (_FITTED[1], "llama-3.2-3b")
    }
    factors = {(model, "predicted, this CPU"): factor for model, factor in on_cpu.items()}
    for model, shape in PLANNED.items():
        cards = next(
            count for count in _CARDS if OnCard(shape, CARDS[0], 16, share).weights <= 0.9 * count * CARDS[0].memory
        )
        seconds = OnCard(shape, CARDS[0], 16, share).split(cards, _LATENCY)
        factors[model, f"predicted, {cards} × {CARDS[0].name}"] = seconds * cards * CARDS[0].watts / light
    found += [
        {
            "model": model,
            "basis": basis,
            "factor": factor,
            "before": before * factor,
            "after": after * factor,
            "saved": 1 - after / before,
        }
        for (model, basis), factor in factors.items()
    ]
    return found


EXPERIMENT = Experiment(
    "scaling", "Larger models, larger machines, many users", __doc__, measure, {**ROW_ARGUMENTS, "limit": 20, "beside": []},
    (
        Table(
            "prices", "Joules per layer, per head and per byte",
            "Fitted to windows of the meter (`energy/costs.py`). *From*: the first model's prices times the ratio of the weights that each unit reads or"
            " multiplies; beside it what was measured. *nJ a byte*: a layer over the bytes of its weights.",
            (
                ("model", "model", ""), ("basis", "basis", ""), ("layer, mJ", "layer_batch", "m2"), ("position of a small batch, mJ", "small_batch_position", "m2"),
                ("position, mJ", "layer_position", "m2"), ("head, mJ", "head_batch", "m2"), ("position of it, mJ", "head_position", "m2"),
                ("decision, mJ", "decision", "m2"), ("nJ a byte", "per_byte", "2"),
            ),
        ),
        Table(
            "tokens", "One model's cost from another's",
            "A token costs joules per gigabyte that it reads and joules per layer; both follow from two models' measured tokens. A prompt of 256 tokens costs"
            " joules per product, from one model's measured prompts. *Basis*: what of the row the model was fitted to; the other figures are predictions.",
            (
                ("model", "model", ""), ("weights", "weights", ""), ("format", "format", ""), ("GB a token", "gigabytes", "3"), ("token, J", "predicted", "3"),
                ("measured", "measured", "3"), ("error", "error", "+%0"), ("prompt, J", "prompt", "1"), ("measured", "prompt_measured", "1"),
                ("error", "prompt_error", "+%0"), ("basis", "basis", ""), ("J a GB", "per_gigabyte", "2"), ("mJ a layer", "per_layer", "m2"),
            ),
        ),
        Table(
            "cards", "On cards: a prediction",
            "A token alone in its batch. *Saved*: with the replayed exits, against full depth; both read an SVD head. *Rows*: how many a batch may have until"
            " products take as long as reading the weights. Where there are no figures, the weights do not fit.",
            (
                ("model", "model", ""), ("card", "card", ""), ("format", "format", ""), ("weights, GB", "gigabytes", "1"), ("token, ms", "seconds", "m2"),
                ("token, J, at most", "joules", "2"), ("with exits, J", "early_joules", "2"), ("saved", "saved", "%0"), ("rows", "rows", "0"),
            ),
        ),
        Table(
            "split", "Layers split among cards: a prediction",
            "Tensor-parallel (arXiv 1909.08053) on one machine's links: each layer needs two sums over all cards, of two bytes a number. For one token a sum is"
            " nearly all latency. It pays in time where the weights that a card need not read take longer than the sums; it never pays in joules, so a model"
            " that fits on one card belongs on one card.",
            (
                ("model", "model", ""), ("cards", "cards", "0"), ("token, ms", "seconds", "m2"), ("times faster", "faster", "x1"),
                ("communication", "communication", "%0"), ("token, J, at most", "joules", "2"),
            ),
        ),
        Table(
            "batches", "Many completions at once: a simulation",
            "*Full depth*: joules of a token on this machine, seconds on the card. *Saved*: by the replayed exits against full depth with as many slots.",
            (
                ("slots", "slots", "0"), ("full depth, mJ or ms", "full", "m3"), ("saved together", "together", "%0"), ("saved grouped", "grouped", "%0"),
                ("rows a layer, together", "together_rows", "1"), ("grouped", "grouped_rows", "1"),
            ),
            ("where",),
        ),
        Table(
            "years", "A developer-year",
            "Joules per 100 keys × keys a day ÷ 100 × days ÷ 3.6 million, in kWh. *Before*: full depth without a stop. *After*: the default, exact with its stops."
            " *Factor*: a token's joules over the first row's; the other rows ask and decode as often as the first, which larger models need not. Not in it:"
            " what a machine takes while nobody types, which for a card of its own is most of it.",
            (
                ("model", "model", ""), ("basis", "basis", ""), ("factor", "factor", "1"), ("before, kWh", "before", "3"), ("after, kWh", "after", "3"),
                ("saved", "saved", "%0"),
            ),
        ),
    ),
    Curves("What exits save of a token, by slots", "batches", "where", "slots", "grouped", "slots", "share saved, grouped"),
    "docs",
)  # fmt: skip
