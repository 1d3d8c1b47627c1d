"""`green-code train`: rollouts, agent, calibration, records, stops, watch; without a step, all in turn."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

import torch

from green_code.energy.meters import SHORT_WINDOW_SECONDS
from green_code.engine.loading import load_measured
from green_code.engine.measured_costs import measured_costs
from green_code.kernels.thread_pool import usable_cores
from green_code.models.bundle import AGENT, CALIBRATION, Bundle, changing, load_bundle, refresh_manifest, write_manifest
from green_code.models.catalog import DEFAULT
from green_code.models.vocabulary import Vocabulary
from green_code.models.weights import Model
from green_code.problems import Problem
from green_code_lab.agent.baselines import agents, all_baselines, best_family, compare
from green_code_lab.agent.calibrate import LINES, calibrate
from green_code_lab.agent.candidates import REWARDS, as_stored, table, train_candidates
from green_code_lab.agent.episodes import draw_typing
from green_code_lab.agent.paper_environment import Rewards
from green_code_lab.agent.ppo import PAPER, Arguments
from green_code_lab.agent.prices import token_prices
from green_code_lab.agent.record import PARTS, record
from green_code_lab.agent.rollouts import merge_rollouts, open_rollouts
from green_code_lab.cli.train_stops import bundle_folder, make_records, train_stops, watch_stops
from green_code_lab.corpus import Corpus, open_corpus
from green_code_lab.corpus.shards import LEAST_HELD_OUT
from green_code_lab.devices import add_device, open_on
from green_code_lab.evaluation.parallel import jobs_for, workers
from green_code_lab.lite.recipe import parse_exits

STEPS = ("rollouts", "agent", "calibrate", "records", "stops", "watch")
_ERROR_PRICE = 0.7
_DOCUMENTS = 512  # episodes over which agents and baselines are compared
_PPO = {"default": Arguments(), "paper": PAPER}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("step", nargs="?", choices=STEPS, help="one step (default: all)")
    add("--model", default=DEFAULT)
    add("--work", type=Path, default=Path("work"), help="folder of the corpus and of rollouts")
    add("--exits", help="layers at which the agent decides, e.g. 7,9,11,13,15 (default: the bundle's)")
    add("--positions", type=int, default=200_000, help="rollout positions per language (default: %(default)s)")
    add("--files", type=int, default=300, help="files per language to calibrate on (default: %(default)s)")
    add("--lines", type=int, default=LINES, help="lines of a file to calibrate on (default: %(default)s)")
    spans = "files per language in which typing is recorded to learn stops from; a sixth as many to choose by (default: %(default)s)"
    add("--spans", type=int, default=160, help=spans)
    rewards = "measured energy, or the paper's rewards (PPO only)"
    add("--reward", choices=REWARDS, default=REWARDS[0], help=rewards)
    add("--ppo", choices=tuple(_PPO), default="default", help="hyper-parameters of PPO: this project's, or the paper's")
    for name in ("alpha", "beta", "gamma"):
        add(f"--{name}", type=float, default=getattr(Rewards, name), help=f"the paper's {name}")
    price = "price of a token that differs from the last layer's, in full-depth tokens (default: %(default)s)"
    add("--error-price", type=float, default=_ERROR_PRICE, help=price)
    add("--seed", type=int, default=Arguments.seed)
    add("--threads", type=int, default=torch.get_num_threads())
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    for step in [args.step] if args.step else STEPS:
        torch.set_num_threads(args.threads)
        {
            "rollouts": make_rollouts, "agent": train_agent, "calibrate": make_calibration, "records": make_records, "stops": train_stops,
            "watch": watch_stops,
        }[step](args)  # fmt: skip
    return 0


def _open(args: argparse.Namespace) -> tuple[Bundle, Model]:
    bundle = load_bundle(bundle_folder(args.model))
    return bundle, open_on(args.device, args.model, bundle)


def _open_corpus(args: argparse.Namespace, vocabulary: Vocabulary) -> Corpus:
    return open_corpus(args.work / "corpus", vocabulary, LEAST_HELD_OUT, LEAST_HELD_OUT)


def make_rollouts(args: argparse.Namespace) -> None:
    """Record all PARTS, a process a core, each with one language at a time and one thread."""
    bundle, opened = _open(args)
    exits = parse_exits(args.exits, opened.decoder.config.layers) if args.exits else bundle.exits
    _check_prefill_exit(bundle, exits)
    languages = _open_corpus(args, opened.vocabulary).languages
    folders = {part: [args.work / "rollouts" / part / language for language in languages] for part in PARTS}
    with ProcessPoolExecutor(min(len(languages), usable_cores()), get_context("spawn")) as pool:
        jobs = [
            pool.submit(_record, args, exits, folder.name, part, int(PARTS[part] * args.positions), folder)
            for part, of_part in folders.items()
            for folder in of_part
        ]
        for job in jobs:
            job.result()
    for part, of_part in folders.items():
        merge_rollouts(args.work / "rollouts" / part, of_part)


def _record(
    args: argparse.Namespace, exits: Sequence[int], language: str, part: str, positions: int, folder: Path
) -> None:
    torch.set_num_threads(1)
    bundle, opened = _open(args)
    corpus = _open_corpus(args, opened.vocabulary)
    record(
        opened.decoder, opened.vocabulary, corpus, language, part, exits, positions, args.seed, folder, bundle.weights_key, print
    )  # fmt: skip


def train_agent(args: argparse.Namespace) -> None:
    """Train agents by supervision and by PPO; choose by validation rollouts, and report on held-out ones.

    Raises Problem where the rollouts are of another bundle, or a monitor stopped the only run.
    """
    if args.gamma <= 0:
        raise Problem("bad_request", "--gamma must be greater than 0: the paper's rewards are divided by it.")
    folder, rewards = bundle_folder(args.model), Rewards(args.alpha, args.beta, args.gamma)
    bundle, opened = _open(args)
    rollouts, validation, held_out = (
        open_rollouts(args.work / "rollouts" / part, bundle.weights_key) for part in PARTS
    )
    for other in (validation, held_out):
        rollouts.check_like(other)
    _check_prefill_exit(bundle, rollouts.exits)
    opened.decoder.serve()  # costs are those of service
    costs = measured_costs(opened.decoder, bundle.exits, SHORT_WINDOW_SECONDS, lambda *_: None)
    torch.set_num_threads(args.threads)
    prices = token_prices(costs.prices, rollouts.layers, args.error_price)
    arguments = replace(_PPO[args.ppo], seed=args.seed)
    candidates = train_candidates(rollouts, prices, bundle.prefill_exit, arguments, args.work, args.reward, rewards)
    networks = {name: as_stored(candidate.network) for name, candidate in candidates.items()}
    typing = draw_typing(validation, _DOCUMENTS, 1, args.seed)
    tried = compare(agents(networks, prices), validation, prices, typing, bundle.prefill_exit)
    best = best_family(tried)
    typing = draw_typing(held_out, _DOCUMENTS, 1, args.seed)
    baselines = all_baselines(networks, held_out, prices)
    scores = compare(baselines, held_out, prices, typing, bundle.prefill_exit)
    for line in table(scores, best):
        print(line)
    network = networks[best]
    trained = {
        "method": best,
        "reward": {"kind": args.reward, **(asdict(rewards) if args.reward == "paper" else {})},
        "arguments": candidates[best].arguments,
        "prices": asdict(prices),
        "energy_source": costs.source,
        "positions": len(rollouts.final_tokens),
        "held_out": [asdict(score) for score in scores],
    }
    with changing(folder) as new:
        network.frozen().save(new / AGENT)
        (new / CALIBRATION).unlink(missing_ok=True)  # of the previous agent
        write_manifest(new, {**bundle.manifest, "exits": list(rollouts.exits), "agent": trained})


def _check_prefill_exit(bundle: Bundle, exits: Sequence[int]) -> None:
    """Raises Problem where the prefill exit is above the last of an agent's exits."""
    if bundle.prefill_exit is not None and bundle.prefill_exit > exits[-1]:
        raise Problem(
            "bad_request",
            f"the bundle's prefill exit {bundle.prefill_exit} is above the last of these exits, {exits[-1]}; give deeper --exits, or first run `green-code adapt kv-projections --prefill-exit N` with a lower layer.",
        )


def make_calibration(args: argparse.Namespace) -> None:
    folder = bundle_folder(args.model)
    runtime = load_measured(args.model, device=args.device)
    corpus = _open_corpus(args, runtime.vocabulary)
    with workers(runtime, jobs_for(runtime)) as complete:
        content = calibrate(runtime, corpus, args.files, args.lines, args.seed, complete, print)
    if "suggestions" in runtime.calibration:
        content["suggestions"] = runtime.calibration["suggestions"]
    with changing(folder) as new:
        (new / CALIBRATION).write_text(json.dumps(content, indent=1) + "\n")
        refresh_manifest(new)
    print(json.dumps(content["presets"], indent=1))
