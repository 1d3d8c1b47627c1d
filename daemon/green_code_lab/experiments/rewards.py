"""What does the paper's agent learn, with as many exits as the paper's and with its hyper-parameters? What do the constants of its
reward do (α: exiting late, β: exiting early and wrong, γ: going on needlessly, which also divides all rewards)? And what does a
reward in joules with a price on errors do instead?

Agents are trained on the recorded positions of `green-code train rollouts` and replayed on those of held-out projects: episodes of
typing, eight completions over one cache, the first of them cold. *The paper's PPO* has its hyper-parameters (500,000 steps),
and nothing ends a run, while the critic is ours; *our PPO* has this project's, and ends where nearly every token leaves at the first exit. The
network is our bundles', with one layer of 64 units, or the paper's, with two. *Error*: the price, in full-depth tokens, of a token
other than the last layer's; twice that where the source's own token is lost by it, nothing where it is won.

What the paper's reward asks for can be computed, as it depends on the token and the exit alone: its sum over the exits of a token is
given for fixed exits, for full depth, and for the exit that earns most at each token, which an agent that knew everything would
choose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from green_code.decoding.exit_classifier import EXIT
from green_code.engine.loading import Runtime
from green_code.folders import bundles_dir
from green_code.kernels.thread_pool import usable_cores
from green_code.models.bundle import load_bundle
from green_code.problems import Problem
from green_code_lab.agent import ppo, supervised
from green_code_lab.agent.baselines import Baseline, agent, all_baselines, fixed, full_depth, oracle, replay
from green_code_lab.agent.candidates import train_by_paper
from green_code_lab.agent.environment import ExitEnvironment
from green_code_lab.agent.episodes import draw_typing
from green_code_lab.agent.networks import Actor, ExitModule, PaperModule, features
from green_code_lab.agent.paper_environment import Rewards, sums_of_rewards
from green_code_lab.agent.prices import TokenPrices, token_prices
from green_code_lab.agent.rollouts import Rollouts, open_rollouts
from green_code_lab.experiments.common import facts
from green_code_lab.experiments.experiment import Args, Experiment, Found, Report, Table
from green_code_lab.experiments.plots import Curves

PAPER, OURS, ENERGY, SUPERVISED, RULES = (
    "paper's reward, its PPO", "paper's reward, our PPO", "joules, our PPO", "joules, supervised", "rules",
)  # fmt: skip
_REWARDS = Rewards()
_DEFAULT = "α = β = γ = 1"
_CONSTANTS = (("α", "alpha", (0.0, 4.0)), ("β", "beta", (0.0, 4.0)), ("γ", "gamma", (0.25, 4.0)))  # by default 1
_ERROR_PRICES = (0.5, 1.0, 3.0)
_USUAL_PRICE = 1.0  # of the agents whose thresholds are shown
_THRESHOLD = 0.5
_DOCUMENTS = 256  # held-out episodes
_EPISODES = 32  # of each document that PPO replays
_SCORES = ("cost", "saving", "depth", "agreement", "whole", "accuracy")


@dataclass(frozen=True)
class Arm:
    """An agent to train: by which method, its setting's name, and its rewards or the price of an error."""

    method: str
    setting: str
    rewards: Rewards = _REWARDS
    error: float = _USUAL_PRICE
    network: type[Actor] = ExitModule


@dataclass(frozen=True)
class Training:
    """What agents are trained on, and how long; see `measure`."""

    rollouts: Path
    weights: str
    prices: TokenPrices
    prefill_exit: int | None
    papers: ppo.Arguments
    ours: ppo.Arguments
    logs: Path

    def train(self, arm: Arm) -> Actor | str:
        """The network, or why the run ended. A finished run is not repeated."""
        torch.set_num_threads(1)
        rollouts = open_rollouts(self.rollouts, self.weights)
        key = hashlib.sha256(repr((arm, self)).encode()).hexdigest()[:12]
        path = self.logs / f"{key}.pt"
        if path.is_file():
            network = arm.network(rollouts.states.shape[2], rollouts.exits)
            network.load_state_dict(torch.load(path, weights_only=True))
            return network.requires_grad_(False)
        try:
            network = self._trained(arm, rollouts, self.logs / f"{key}.jsonl")
        except Problem as problem:
            return str(problem).partition(";")[0]
        part = path.with_suffix(".part")
        torch.save(network.state_dict(), part)
        part.replace(path)
        return network

    def _trained(self, arm: Arm, rollouts: Rollouts, log: Path) -> Actor:
        prices = replace(self.prices, error=arm.error)
        if arm.method in (PAPER, OURS):
            arguments = self.papers if arm.method == PAPER else self.ours
            return train_by_paper(rollouts, arm.rewards, arguments, log, _quiet, arm.network)
        if arm.method == SUPERVISED:
            usual = supervised.Arguments()
            steps = max(1, usual.steps * self.ours.updates // ppo.Arguments.updates)
            chosen = replace(usual, steps=steps, seed=self.ours.seed)
            return supervised.train(rollouts, prices, self.prefill_exit, chosen, _quiet)
        typing = draw_typing(rollouts, self.ours.environments, _EPISODES, self.ours.seed)
        environment = ExitEnvironment(rollouts, prices, typing, self.prefill_exit)
        return ppo.train(environment, self.ours, log, None, _quiet).actor


def _quiet(_: str) -> None: ...


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    bundle = load_bundle(bundles_dir() / Path(args.model).name)
    folder, key = args.work / "rollouts", bundle.weights_key
    rollouts, held = (open_rollouts(folder / part, key) for part in ("train", "heldout"))
    rollouts.check_like(held)
    prices = token_prices(runtime.costs.prices, rollouts.layers, _USUAL_PRICE)
    papers = replace(
        ppo.PAPER, updates=max(1, ppo.PAPER.updates * args.updates // ppo.Arguments.updates), seed=args.seed
    )
    ours = replace(ppo.Arguments(), updates=args.updates, seed=args.seed)
    logs = args.work / "rewards"
    logs.mkdir(exist_ok=True)
    training = Training(folder / "train", key, prices, bundle.prefill_exit, papers, ours, logs)
    typing = draw_typing(held, _DOCUMENTS, 1, args.seed)
    full = replay(full_depth(), held, prices, typing, bundle.prefill_exit, None).cost

    def scored(baseline: Baseline) -> Found:
        found = asdict(replay(baseline, held, prices, typing, bundle.prefill_exit, full))
        return {name: found[name] for name in _SCORES}

    arms, networks, rewarded = list[Found](), dict[str, Actor](), list[Found]()
    for arm, trained in _trained(training, list(all_arms())):
        found: Found = {"reward": arm.method, "setting": arm.setting}
        if isinstance(trained, str):
            arms.append({**found, "ended": trained})
            report(f"{arm.method}, {arm.setting}: {trained}")
            continue
        arms.append({**found, **scored(agent(arm.method, trained, _THRESHOLD, prices))})
        report(f"{arm.method}, {arm.setting}: mean depth {arms[-1]['depth']:.2f}")
        if arm.network is ExitModule and (arm.rewards, arm.error) == (_REWARDS, _USUAL_PRICE):
            networks[arm.method] = trained
        if arm.method == PAPER and arm.network is ExitModule:
            rewarded.append({"setting": arm.setting, **sums(held, arm.rewards, trained)})
    rules = (*(fixed(held, depth) for depth in held.exits), full_depth(), oracle())
    arms += [{"reward": RULES, "setting": f"{r.family} {r.setting}".strip(), **scored(r)} for r in rules]
    thresholds = [
        {"family": each.family, "setting": each.setting, **scored(each)}
        for each in all_baselines(networks, held, prices)
    ]
    return {
        "settings": {
            "training": f"{len(rollouts.final_tokens)} recorded positions; our PPO: {args.updates} updates, seed {args.seed}",
            "replay": f"{len(held.final_tokens)} positions of held-out projects, threshold {_THRESHOLD}",
            **facts(runtime),
            "exits": f"{', '.join(map(str, held.exits))} of {held.layers} layers",
            **{f"{whose} PPO": _described(arguments) for whose, arguments in (("the paper's", papers), ("our", ours))},
        },
        "arms": arms, "rewarded": rewarded, "thresholds": thresholds,
    }  # fmt: skip


def _described(a: ppo.Arguments) -> str:
    steps = a.environments * a.steps
    return f"{a.updates} updates of {steps} steps, entropy {a.entropy:g}, discount {a.discount:g}, rate {a.learning_rate:g}"


def all_arms() -> Iterator[Arm]:
    yield Arm(PAPER, _DEFAULT)
    yield Arm(PAPER, f"{_DEFAULT}, the paper's network", network=PaperModule)
    for sign, name, values in _CONSTANTS:
        yield from (Arm(PAPER, f"{sign} = {value:g}", replace(_REWARDS, **{name: value})) for value in values)
    yield Arm(OURS, _DEFAULT)
    for method in (ENERGY, SUPERVISED):
        yield from (Arm(method, f"error {price:g}", error=price) for price in _ERROR_PRICES)


def _trained(training: Training, arms: Sequence[Arm]) -> Iterator[tuple[Arm, Actor | str]]:
    """Each arm with its network, or why its run ended; a process a core."""
    if (jobs := usable_cores()) == 1:
        yield from ((arm, training.train(arm)) for arm in arms)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        yield from zip(arms, pool.map(training.train, arms), strict=True)


@torch.no_grad()
def sums(rollouts: Rollouts, rewards: Rewards, network: Actor) -> Found:
    """What a token earns in all, on average over tokens that the model wrote: at fixed exits, at full depth, at the exit that earns
    most, and where the network leaves."""
    greedy = np.flatnonzero(np.repeat(rollouts.greedy, np.diff(rollouts.starts)))
    earned = sums_of_rewards(rollouts, rewards)[greedy]
    depths = np.array([*rollouts.exits, rollouts.layers])
    most = earned.argmax(1)
    leaves = []
    for index in range(len(rollouts.exits)):
        states = torch.from_numpy(np.asarray(rollouts.states[greedy, index], np.float32))
        nothing = torch.zeros(len(greedy))
        logits = network(features(states, nothing, nothing, nothing), torch.full((len(greedy),), index))
        leaves.append(logits.softmax(-1)[:, EXIT].numpy() > _THRESHOLD)
    leaves.append(np.ones(len(greedy), bool))
    left = np.argmax(leaves, axis=0)
    agrees = np.column_stack((rollouts.agrees[greedy], np.ones(len(greedy), bool)))
    rows, best = np.arange(len(greedy)), int(earned[:, :-1].mean(0).argmax())
    found = {
        "first": earned[:, 0].mean(), "fixed": earned[:, best].mean(), "fixed_depth": depths[best], "full": earned[:, -1].mean(),
        "most": earned[rows, most].mean(), "most_depth": depths[most].mean(), "most_agreement": agrees[rows, most].mean(),
        "agent": earned[rows, left].mean(), "agent_depth": depths[left].mean(), "agent_first": (left == 0).mean(),
        "agent_agreement": agrees[rows, left].mean(),
    }  # fmt: skip
    return {name: float(figure) for name, figure in found.items()}


_SCORED = (
    ("cost", "cost", "2"), ("saved", "saving", "%"), ("mean depth", "depth", "1"), ("agreement", "agreement", "3"), ("whole", "whole", "3"),
    ("accuracy", "accuracy", "3"),
)  # fmt: skip
EXPERIMENT = Experiment(
    "rewards", "What an agent learns from each reward", __doc__, measure, {"updates": ppo.Arguments.updates},
    (
        Table(
            "arms", "Agents and rules",
            "*Cost*: of a completion with its part of the prompt, in full-depth tokens at measured prices, errors not counted. *Saved*: against full "
            "depth. *Agreement*: tokens that are the last layer's. *Whole*: completions that agree in every token. *Accuracy*: tokens that are the "
            "source's.",
            (("reward", "reward", ""), ("setting", "setting", ""), *_SCORED, ("training ended", "ended", "")),
        ),
        Table(
            "rewarded", "What the paper's reward pays",
            "The sum of a token's rewards, on average. *First*: always at the first exit. *Fixed*: at the fixed exit that earns most. *Full*: never "
            "leaving early. *Most*: at the exit of each token that earns most. *Agent*: trained by the paper's PPO; *at the first*: tokens that leave "
            "there.",
            (
                ("setting", "setting", ""), ("first", "first", "2"), ("fixed", "fixed", "2"), ("its depth", "fixed_depth", "0"), ("full", "full", "2"),
                ("most", "most", "2"), ("depth", "most_depth", "1"), ("agreement", "most_agreement", "3"), ("agent", "agent", "2"),
                ("depth", "agent_depth", "1"), ("agreement", "agent_agreement", "3"), ("at the first", "agent_first", "%"),
            ),
        ),
        Table(
            "thresholds", "Thresholds",
            f"Agents of the default constants, and of an error price of {_USUAL_PRICE:g}, at each threshold, beside what needs no agent. *Confidence*: of "
            "the exit's most likely token.",
            (("rule", "family", ""), ("setting", "setting", ""), *_SCORED),
        ),
    ),
    Curves("Agreement over cost", "thresholds", None, "cost", "agreement", "cost of a completion, in full-depth tokens", "agreement with the last layer", "family"),
)  # fmt: skip
