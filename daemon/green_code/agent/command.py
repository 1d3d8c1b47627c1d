"""`green-code train`: rollouts, agent, calibration; without a step, all in turn."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from green_code.adaptation.corpus import open_corpus
from green_code.agent.calibrate import calibrate
from green_code.agent.environment import ExitEnvironment, Prices
from green_code.agent.ppo import Arguments, train
from green_code.agent.rivals import compare
from green_code.agent.rollouts import WINDOW, open_rollouts, record
from green_code.energy.costs import CostModel, Work
from green_code.energy.meters import SHORT_WINDOW_SECONDS
from green_code.engine.runtime import THREADS, load_runtime, measured_costs
from green_code.folders import bundles_dir
from green_code.kernels.form import forms
from green_code.models.bundle import AGENT, CALIBRATION, load_bundle, refresh_manifest, write_manifest
from green_code.models.catalog import DEFAULT, find_model
from green_code.models.decoder import Decoder
from green_code.models.sources import open_vocabulary
from green_code.models.weights import adapted_weights, open_model

STEPS = ("rollouts", "agent", "calibrate")
_COMPARED = (0.5, 0.7, 0.8, 0.9, 0.95)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("step", nargs="?", choices=STEPS, help="one step (default: all)")
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument(
        "--work", type=Path, default=Path("work"), help="folder of the corpus and of rollouts"
    )
    parser.add_argument(
        "--exits", help="depths at which the agent decides, e.g. 7,9,11,13,15 (default: the bundle's)"
    )
    parser.add_argument("--positions", type=int, default=40_000, help="rollout positions per language")
    parser.add_argument("--rows", type=int, default=60, help="calibration rows per language")
    parser.add_argument(
        "--error-price", type=float, default=Prices.error, help="cost of a wrong token, in full-depth tokens"
    )
    parser.add_argument("--seed", type=int, default=Arguments.seed)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


def run(args: argparse.Namespace) -> int:
    for step in [args.step] if args.step else STEPS:
        torch.set_num_threads(args.threads)
        {"rollouts": make_rollouts, "agent": train_agent, "calibrate": make_calibration}[step](args)
    return 0


def _bundle_folder(args: argparse.Namespace) -> Path:
    return bundles_dir() / Path(args.model).name


def make_rollouts(args: argparse.Namespace) -> None:
    bundle = load_bundle(_bundle_folder(args))
    exits = tuple(int(e) for e in args.exits.split(",")) if args.exits else bundle.exits
    found = find_model(args.model)
    config, weights = adapted_weights(found, bundle)
    decoder = Decoder.load(config, weights)
    vocabulary = open_vocabulary(found.open(), bundle.vocabulary)
    corpus = open_corpus(args.work / "corpus", vocabulary, WINDOW, WINDOW)
    folder, bos = args.work / "rollouts", vocabulary.bos
    record(decoder, corpus, "train", exits, args.positions, args.seed, folder / "train", bos, print)
    record(
        decoder, corpus, "heldout", exits, args.positions // 4, args.seed + 1, folder / "heldout", bos, print
    )


def prices(costs: CostModel, layers: int, error: float) -> Prices:
    """The measured cost model in units of one warm token at full depth."""
    unit = costs.joules(Work(runs=layers, evaluations=layers, few=layers, heads=1, head_rows=1))
    return Prices(
        costs.run_joules / unit,
        costs.few_joules / unit,
        costs.evaluation_joules / unit,
        (costs.head_joules + costs.head_row_joules) / unit,
        costs.decision_joules / unit,
        error,
    )


def train_agent(args: argparse.Namespace) -> None:
    """PPO on the training rollouts; the rivals' scores on held-out projects beside it."""
    folder = _bundle_folder(args)
    torch.set_num_threads(THREADS)  # costs are those of service
    opened = open_model(find_model(args.model), load_bundle(folder), forms())
    costs = measured_costs(opened, SHORT_WINDOW_SECONDS, lambda *_: None)
    torch.set_num_threads(args.threads)
    rollouts = open_rollouts(args.work / "rollouts" / "train")
    priced = prices(costs, rollouts.layers, args.error_price)
    arguments = replace(Arguments(), seed=args.seed)
    environment = ExitEnvironment(
        rollouts, priced, arguments.environments, arguments.episode_tokens, args.seed
    )
    agent = train(environment, rollouts.states.shape[2], arguments, args.work / "ppo.jsonl")
    held = ExitEnvironment(
        open_rollouts(args.work / "rollouts" / "heldout"), priced, 64, arguments.episode_tokens, args.seed
    )
    scores = compare(agent.actor, held, _COMPARED)
    for score in scores:
        print(
            f"{score.name:14} cost {score.cost:.3f}  depth {score.depth:5.2f}  agreement {score.agreement:.3f}  accuracy {score.accuracy:.3f}"
        )
    save_file(agent.actor.state_dict(), str(folder / AGENT), metadata=agent.actor.save_metadata())
    (folder / CALIBRATION).unlink(missing_ok=True)  # of the agent before
    manifest = dict(json.loads((folder / "manifest.json").read_text()))
    manifest["exits"] = list(rollouts.exits)
    manifest["agent"] = {
        "method": "PPO",
        "arguments": asdict(arguments),
        "prices": asdict(priced),
        "positions": len(rollouts.final_tokens),
        "held_out": [asdict(score) for score in scores],
    }
    write_manifest(folder, {k: v for k, v in manifest.items() if k not in ("schema", "files")})


def make_calibration(args: argparse.Namespace) -> None:
    folder = _bundle_folder(args)
    runtime = load_runtime(args.model, lambda *_: None)
    corpus = open_corpus(args.work / "corpus", runtime.vocabulary, WINDOW, WINDOW)
    content = calibrate(runtime, corpus, args.rows, args.seed, print)
    (folder / CALIBRATION).write_text(json.dumps(content, indent=1) + "\n")
    refresh_manifest(folder)
    print(json.dumps(content["stops"], indent=1))
