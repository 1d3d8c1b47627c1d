"""`green-code train`: rollouts, agent, calibration; without a step, all in turn."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import torch
from safetensors.torch import save_file

from green_code.decoding.exit_policies import parse_exits
from green_code.energy.meters import SHORT_WINDOW_SECONDS
from green_code.engine.loading import load_runtime
from green_code.engine.measured_costs import THREADS, measured_costs
from green_code.folders import bundles_dir
from green_code.kernels.weight_format import weight_formats
from green_code.models.adapters import read_adapters
from green_code.models.bundle import (
    AGENT,
    CALIBRATION,
    Bundle,
    load_bundle,
    refresh_manifest,
    write_manifest,
)
from green_code.models.catalog import DEFAULT, find_model
from green_code.models.weights import open_model
from green_code.problems import Problem
from green_code_lab.agent.baselines import agents, best_family, compare, everyone
from green_code_lab.agent.calibrate import LINES, calibrate
from green_code_lab.agent.candidates import REWARDS, shipped, table, train_candidates
from green_code_lab.agent.episodes import draw_typing
from green_code_lab.agent.paper_environment import Rewards
from green_code_lab.agent.ppo import Arguments
from green_code_lab.agent.prices import prices_of
from green_code_lab.agent.record import PARTS, record
from green_code_lab.agent.rollouts import merge_rollouts, open_rollouts
from green_code_lab.corpus import open_corpus
from green_code_lab.corpus.shards import LEAST_HELD_OUT
from green_code_lab.evaluation.parallel import jobs_for, workers

STEPS = ("rollouts", "agent", "calibrate")
_ERROR_PRICE = 0.7
_DOCUMENTS = 512  # stretches over which agents and rivals are compared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("step", nargs="?", choices=STEPS, help="one step (default: all)")
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument(
        "--work", type=Path, default=Path("work"), help="folder of the corpus and of rollouts"
    )
    parser.add_argument(
        "--exits", help="depths at which the agent decides, e.g. 7,9,11,13,15 (default: the bundle's)"
    )
    parser.add_argument("--positions", type=int, default=200_000, help="rollout positions per language")
    parser.add_argument(
        "--files",
        type=int,
        default=300,
        help=f"files per language to calibrate on, {LINES} lines of each (default: %(default)s)",
    )
    parser.add_argument(
        "--reward", choices=REWARDS, default=REWARDS[0], help="joules, or the paper's rewards (PPO alone)"
    )
    for name in ("alpha", "beta", "gamma"):
        parser.add_argument(
            f"--{name}", type=float, default=getattr(Rewards, name), help=f"the paper's {name}"
        )
    parser.add_argument(
        "--error-price",
        type=float,
        default=_ERROR_PRICE,
        help="cost of a token other than the last layer's, in full-depth tokens",
    )
    parser.add_argument("--seed", type=int, default=Arguments.seed)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


def run(args: argparse.Namespace) -> int:
    for step in [args.step] if args.step else STEPS:
        torch.set_num_threads(args.threads)
        {"rollouts": make_rollouts, "agent": train_agent, "calibrate": make_calibration}[step](args)
    return 0


def _bundle_folder(model: str) -> Path:
    return bundles_dir() / Path(model).name


def make_rollouts(args: argparse.Namespace) -> None:
    """Record all PARTS, a process a language: each is one thread's work."""
    bundle = load_bundle(_bundle_folder(args.model))
    opened = open_model(find_model(args.model), bundle, read_adapters(bundle), weight_formats())
    exits = parse_exits(args.exits, opened.decoder.config.layers) if args.exits else bundle.exits
    _check_plateau(bundle, exits)  # what the agent would refuse is said before it is waited for
    languages = open_corpus(args.work / "corpus", opened.vocabulary, LEAST_HELD_OUT, LEAST_HELD_OUT).languages
    for part, share in PARTS.items():
        positions = int(share * args.positions)
        folder = args.work / "rollouts" / part
        jobs = [
            (args.model, args.work, exits, language, part, positions, args.seed, folder / language)
            for language in languages
        ]
        with ProcessPoolExecutor(len(jobs), get_context("spawn")) as pool:
            for job in [pool.submit(_record, *each) for each in jobs]:
                job.result()
        merge_rollouts(folder, [folder / language for language in languages])


def _record(
    model: str,
    work: Path,
    exits: tuple[int, ...],
    language: str,
    part: str,
    positions: int,
    seed: int,
    folder: Path,
) -> None:
    torch.set_num_threads(1)
    bundle = load_bundle(_bundle_folder(model))
    opened = open_model(find_model(model), bundle, read_adapters(bundle), weight_formats())
    corpus = open_corpus(work / "corpus", opened.vocabulary, LEAST_HELD_OUT, LEAST_HELD_OUT)
    record(
        opened.decoder, opened.vocabulary, corpus, language, part, exits, positions, seed, folder, bundle.weights_key, print
    )  # fmt: skip


def train_agent(args: argparse.Namespace) -> None:
    """Agents by supervision and by PPO on the training rollouts, beside their rivals on held-out ones.

    Raises:
        Problem: the rollouts are of another bundle, or a monitor found that training failed.
    """
    folder = _bundle_folder(args.model)
    bundle = load_bundle(folder)
    rollouts, validation, held = (
        open_rollouts(args.work / "rollouts" / part, bundle.weights_key) for part in PARTS
    )
    for other in (validation, held):
        rollouts.check_like(other)
    _check_plateau(bundle, rollouts.exits)
    torch.set_num_threads(THREADS)  # costs are those of service
    opened = open_model(find_model(args.model), bundle, read_adapters(bundle), weight_formats())
    costs = measured_costs(opened, bundle.exits, SHORT_WINDOW_SECONDS, lambda *_: None)
    torch.set_num_threads(args.threads)
    priced = prices_of(costs, rollouts.layers, args.error_price)
    candidates = train_candidates(
        rollouts, priced, bundle.prefill_exit, args.seed, args.work, args.reward, _rewards(args)
    )
    networks = {name: shipped(candidate.network) for name, candidate in candidates.items()}
    seen = draw_typing(validation, _DOCUMENTS, 1, args.seed)
    tried = compare(agents(networks, priced), validation, priced, seen, bundle.prefill_exit)
    best = best_family(tried)
    typing = draw_typing(held, _DOCUMENTS, 1, args.seed)
    scores = compare(everyone(networks, held, priced), held, priced, typing, bundle.prefill_exit)
    for line in table(scores, best):
        print(line)
    network = networks[best]
    save_file(
        {name: w.half() for name, w in network.state_dict().items()},
        str(folder / AGENT),
        metadata=network.save_metadata(),
    )
    (folder / CALIBRATION).unlink(missing_ok=True)  # of the agent before
    trained = {
        "method": best,
        "reward": {"kind": args.reward, **(asdict(_rewards(args)) if args.reward == "paper" else {})},
        "arguments": candidates[best].arguments,
        "prices": asdict(priced),
        "positions": len(rollouts.final_tokens),
        "held_out": [asdict(score) for score in scores],
    }
    write_manifest(folder, {**bundle.manifest, "exits": list(rollouts.exits), "agent": trained})


def _check_plateau(bundle: Bundle, exits: Sequence[int]) -> None:
    """Raises Problem where prompts settle behind the last of an agent's exits."""
    if bundle.prefill_exit is not None and bundle.prefill_exit > exits[-1]:
        raise Problem(
            "bad_request",
            f"the bundle's prompts settle at layer {bundle.prefill_exit}, behind the last of these exits, {exits[-1]}; give deeper --exits, or first `green-code adapt kv-projections --prefill exit` with a layer up to it.",
        )


def _rewards(args: argparse.Namespace) -> Rewards:
    if args.gamma <= 0:
        raise Problem("bad_request", "--gamma must be greater than 0: the paper's rewards are divided by it.")
    return Rewards(args.alpha, args.beta, args.gamma)


def make_calibration(args: argparse.Namespace) -> None:
    folder = _bundle_folder(args.model)
    runtime = load_runtime(args.model, lambda *_: None)
    corpus = open_corpus(args.work / "corpus", runtime.vocabulary, LEAST_HELD_OUT, LEAST_HELD_OUT)
    with workers(runtime, jobs_for(runtime)) as complete:
        content = calibrate(runtime, corpus, args.files, args.seed, complete, print)
    (folder / CALIBRATION).write_text(json.dumps(content, indent=1) + "\n")
    refresh_manifest(folder)
    print(json.dumps(content["presets"], indent=1))
