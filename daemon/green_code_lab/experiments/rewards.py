"""What do the constants of the paper's reward do (α: exiting late, β: exiting early and wrong, γ: going on needlessly, which also
divides all rewards), and what does a reward in joules with a price on errors do instead?

Agents are trained on the recorded positions of `green-code train rollouts` and replayed on those of held-out projects:
episodes of typing, eight completions over one cache, the first of them cold. *Error*: the price, in full-depth tokens, of a
token other than the last layer's; twice that where the source's own token is lost by it, nothing where it is won. All PPO is
this project's; the paper's own has no entropy bonus, a discount of 0.99 and a rate of 5e-5. A run in which nearly every token
leaves at the first exit is ended here; the paper ends none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from green_code.engine.loading import Runtime
from green_code.folders import bundles_dir
from green_code.models.bundle import load_bundle
from green_code.problems import Problem
from green_code_lab.agent import ppo, supervised
from green_code_lab.agent.baselines import Baseline, agent, fixed, full_depth, oracle, replay
from green_code_lab.agent.candidates import train_by_paper
from green_code_lab.agent.environment import ExitEnvironment
from green_code_lab.agent.episodes import draw_typing
from green_code_lab.agent.networks import ExitModule
from green_code_lab.agent.paper_environment import Rewards
from green_code_lab.agent.prices import TokenPrices, token_prices
from green_code_lab.agent.rollouts import Rollouts, open_rollouts
from green_code_lab.experiments.common import facts
from green_code_lab.experiments.experiment import Args, Experiment, Found, Report, Table
from green_code_lab.experiments.plots import Curves

PAPER, ENERGY, SUPERVISED, RULES = "paper's reward, PPO", "joules, PPO", "joules, supervised", "rules"
_CONSTANTS = (("α", "alpha", (0.0, 4.0)), ("β", "beta", (0.0, 4.0)), ("γ", "gamma", (0.25, 4.0)))  # by default 1
_ERROR_PRICES = (0.0, 0.5, 1.0, 3.0)
_THRESHOLD = 0.5
_DOCUMENTS = 256  # held-out episodes
_EPISODES = 32  # of each document that PPO replays


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    bundle = load_bundle(bundles_dir() / Path(args.model).name)
    folder, key = args.work / "rollouts", bundle.weights_key
    rollouts, held = (open_rollouts(folder / part, key) for part in ("train", "heldout"))
    rollouts.check_like(held)
    prices = token_prices(runtime.costs.prices, rollouts.layers, 1.0)
    typing = draw_typing(held, _DOCUMENTS, 1, args.seed)
    full = replay(full_depth(), held, prices, typing, bundle.prefill_exit, None).cost

    def replayed(baseline: Baseline) -> Found:
        score = asdict(replay(baseline, held, prices, typing, bundle.prefill_exit, full))
        return {name: score[name] for name in ("cost", "saving", "depth", "agreement", "whole", "accuracy")}

    arms = []
    chosen = replace(ppo.Arguments(), updates=args.updates, seed=args.seed)
    for reward, setting, train in runs(rollouts, prices, bundle.prefill_exit, chosen, args.work):
        arm: Found = {"reward": reward, "setting": setting}
        try:
            arm |= replayed(agent(reward, train(), _THRESHOLD, prices))
        except Problem as problem:
            arm["ended"] = str(problem).partition(";")[0]
        report(f"{reward}, {setting}: {arm.get('ended') or round(arm['depth'], 2)}")
        arms.append(arm)
    rules = (*(fixed(held, depth) for depth in held.exits), full_depth(), oracle())
    arms += [{"reward": RULES, "setting": f"{r.family} {r.setting}".strip(), **replayed(r)} for r in rules]
    return {
        "settings": {
            "training": f"{len(rollouts.final_tokens)} recorded positions; PPO: {args.updates} updates, seed {args.seed}",
            "replay": f"{len(held.final_tokens)} positions of held-out projects, threshold {_THRESHOLD}",
            **facts(runtime),
            "exits": f"{', '.join(map(str, held.exits))} of {held.layers} layers",
            "PPO": f"entropy {chosen.entropy}, discount {chosen.discount:g}, rate {chosen.learning_rate:g}",
        },
        "arms": arms,
    }


def runs(
    rollouts: Rollouts, prices: TokenPrices, prefill_exit: int | None, arguments: ppo.Arguments, work: Path
) -> Iterator[tuple[str, str, Callable[[], ExitModule]]]:
    """Reward, setting, and how to train on it."""
    log, quiet = work / "rewards.jsonl", lambda _: None

    def by_ppo(priced: TokenPrices) -> ExitModule:
        typing = draw_typing(rollouts, arguments.environments, _EPISODES, arguments.seed)
        environment = ExitEnvironment(rollouts, priced, typing, prefill_exit)
        return ppo.train(environment, arguments, log, None, quiet).actor

    def by_supervision(priced: TokenPrices) -> ExitModule:
        usual = supervised.Arguments()
        steps = max(1, usual.steps * arguments.updates // ppo.Arguments.updates)
        chosen = replace(usual, steps=steps, seed=arguments.seed)
        return supervised.train(rollouts, priced, prefill_exit, chosen, quiet)

    papers = {"α = β = γ = 1": Rewards()}
    papers |= {f"{a} = {v:g}": replace(Rewards(), **{name: v}) for a, name, values in _CONSTANTS for v in values}  # fmt: skip
    for setting, rewards in papers.items():
        yield PAPER, setting, partial(train_by_paper, rollouts, rewards, arguments, log, quiet)
    for reward, train in ((ENERGY, by_ppo), (SUPERVISED, by_supervision)):
        for price in _ERROR_PRICES:
            yield reward, f"error {price:g}", partial(train, replace(prices, error=price))


EXPERIMENT = Experiment(
    "rewards", "What an agent learns from each reward", __doc__, measure, {"updates": 60},
    (
        Table(
            "arms", "Agents and rules",
            "*Cost*: of a completion with its part of the prompt, in full-depth tokens at measured prices, errors not counted. *Saved*: against full "
            "depth. *Agreement*: tokens that are the last layer's. *Whole*: completions that agree in every token. *Accuracy*: tokens that are the "
            "source's.",
            (
                ("reward", "reward", ""), ("setting", "setting", ""), ("cost", "cost", "2"), ("saved", "saving", "%"),
                ("mean depth", "depth", "1"), ("agreement", "agreement", "3"), ("whole", "whole", "3"), ("accuracy", "accuracy", "3"),
                ("training ended", "ended", ""),
            ),
        ),
    ),
    Curves("Agreement over cost", "arms", None, "cost", "agreement", "cost of a completion, in full-depth tokens", "agreement with the last layer", "reward", lines=False),
)  # fmt: skip
