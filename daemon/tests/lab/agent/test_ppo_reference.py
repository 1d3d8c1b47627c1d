"""Our PPO beside Stable-Baselines3's, on the same environment with the same settings: the same result within its noise."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

from green_code.decoding.exit_classifier import EXTRA_FEATURES
from green_code_lab.agent.baselines import Baseline, compare
from green_code_lab.agent.baselines import agent as by_agent
from green_code_lab.agent.environment import ExitEnvironment
from green_code_lab.agent.episodes import draw_typing
from green_code_lab.agent.ppo import Arguments, train
from tests.lab.agent.replayed import EXITS, PRICES, WIDTH, toy

ARGUMENTS = replace(
    Arguments(), environments=16, steps=64, updates=20, learning_rate=3e-3, entropy=0.0, gae_lambda=0.95
)
SEEDS = range(5)
RETURN = 30.0  # of an episode, about; SB3 gets rewards in its units, as our critic does


def environment() -> ExitEnvironment:
    data = toy()
    return ExitEnvironment(data, PRICES, draw_typing(data, ARGUMENTS.environments, 8, seed=1), None)


def objective(baseline: Baseline) -> float:
    data = toy()
    return compare([baseline], data, PRICES, draw_typing(data, 64, 2, seed=5), None)[0].objective


class Vectorised(VecEnv):
    """The environment as Stable-Baselines3 wants it; the exit index is one-hot."""

    def __init__(self, inner: ExitEnvironment) -> None:
        self.inner, self._actions = inner, np.zeros(0)
        space = gymnasium.spaces.Box(-np.inf, np.inf, (WIDTH + EXTRA_FEATURES + len(EXITS),), np.float32)
        super().__init__(inner.count, space, gymnasium.spaces.Discrete(2))

    def reset(self) -> Any:
        return observation(self.inner)

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> Any:
        rewards, ended = self.inner.step(self._actions)
        seen = observation(self.inner)
        infos = [{"terminal_observation": row} if end else {} for row, end in zip(seen, ended, strict=True)]
        return seen, rewards / RETURN, ended, infos

    def close(self) -> None: ...
    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...
    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def observation(inner: ExitEnvironment) -> Any:
    seen, exits = inner.observe()
    return torch.cat((seen, torch.nn.functional.one_hot(exits, len(EXITS)).float()), -1).numpy()


def theirs(seed: int) -> float:
    a = ARGUMENTS
    model = PPO(
        "MlpPolicy", Vectorised(environment()), learning_rate=lambda left: a.learning_rate * left, n_steps=a.steps,
        batch_size=a.steps * a.environments // a.minibatches, n_epochs=a.epochs, gamma=a.discount, gae_lambda=a.gae_lambda,
        clip_range=a.clip, ent_coef=a.entropy, max_grad_norm=a.gradient_clip, target_kl=a.kl_limit / 1.5, seed=seed, device="cpu",
        policy_kwargs={"net_arch": {"pi": [64], "vf": [64]}, "activation_fn": torch.nn.Tanh},
    )  # fmt: skip
    model.learn(a.updates * a.steps * a.environments)
    return objective(
        Baseline("SB3", "", lambda e: model.predict(observation(e), deterministic=True)[0], uses_head=True)
    )


def ours(seed: int, log: Path) -> float:
    trained = train(environment(), replace(ARGUMENTS, seed=seed), log, report=lambda _: None)
    return objective(by_agent("ours", trained.actor, 0.5, PRICES))


@pytest.mark.slow
def test_same_result_as_stable_baselines(tmp_path: Path) -> None:
    mine, reference = [ours(seed, tmp_path / "log") for seed in SEEDS], [theirs(seed) for seed in SEEDS]
    noise = (statistics.variance(mine) + statistics.variance(reference)) / len(SEEDS)
    assert all(statistics.stdev(each) < 0.1 * statistics.fmean(each) for each in (mine, reference))
    difference = statistics.fmean(mine) - statistics.fmean(reference)
    assert abs(difference) <= 3 * noise**0.5 + 0.01 * statistics.fmean(reference), (mine, reference)
