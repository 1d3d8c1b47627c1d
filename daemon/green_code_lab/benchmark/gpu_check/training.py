"""Does a model of three billion weights train here: some steps of LITE, then of an agent on its states?"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from green_code.engine.assumed_costs import costs_of
from green_code.models.shapes import weight_shapes
from green_code.models.torch_decoder import Decoder
from green_code_lab.agent import ppo, supervised
from green_code_lab.agent.environment import ExitEnvironment
from green_code_lab.agent.episodes import draw_typing
from green_code_lab.agent.prices import token_prices
from green_code_lab.agent.rollouts import Rollouts
from green_code_lab.benchmark.gpu_check.where import Where
from green_code_lab.benchmark.gpu_shapes import SHAPES
from green_code_lab.corpus import Corpus
from green_code_lab.lite import checkpoint
from green_code_lab.lite.recipe import Recipe
from green_code_lab.lite.trainer import TrainingInputs, train

_STEPS, _UPDATES = 3, 2
_CHUNK = 16


def run(where: Where) -> list[dict[str, Any]]:
    """A row for LITE, and two for agents: by supervision and by PPO."""
    config = where.shape(SHAPES["Llama-3.2-3B"])
    if not where.is_card:
        config = replace(config, layers=4, windows=(None,) * 4, ropes=config.ropes[:1] * 4)
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.ones(shape) if len(shape) == 1 else torch.randn(shape, generator=generator) * 0.02
        for name, shape in weight_shapes(config).items()
    }
    exits = (config.layers // 2, config.layers)
    sequence, batch = (512, 4) if where.is_card else (16, 2)
    recipe = Recipe(
        exit_groups=((exits[0],),), weights=tuple((depth, 1.0) for depth in exits), tokens=sequence * batch * _STEPS, sequence=sequence, learning_rate=1e-5,
        batch=batch, micro_batch=1 if where.is_card else batch, guard_tokens=sequence * batch * _STEPS,
    )  # fmt: skip
    drawn = np.random.default_rng(0).integers(2, config.vocabulary, 4 * sequence * batch)
    tokens = drawn.astype(np.uint32 if config.vocabulary > 1 << 16 else np.uint16)
    corpus = Corpus({("python", part): tokens for part in ("train", "heldout")}, 0)
    with tempfile.TemporaryDirectory() as folder:
        run_folder, begin = Path(folder) / "lite", time.perf_counter()
        train(TrainingInputs(config, lambda _: weights, corpus, 0, {"base": "random"}), recipe, run_folder)
        about = checkpoint.load(run_folder)
        assert about is not None
        trained = {**weights, **checkpoint.weights(run_folder, about)}
        lite = {"what": "LITE", "steps": _STEPS, "seconds": time.perf_counter() - begin}
    peak = torch.cuda.max_memory_allocated() / 1e9 if where.is_card else 0.0
    changed = any(not torch.equal(trained[name], weights[name]) for name in trained if name.startswith("layers."))
    assert changed, "nothing was learned"
    lite["peak, GB"] = peak
    print(lite, flush=True)
    return [lite, *_agent(where, Decoder.load(config, trained), exits[0], tokens)]


@torch.inference_mode()
def _states(where: Where, decoder: Decoder, tokens: np.ndarray, depth: int) -> tuple[Any, Any, Any]:
    """States at `depth` (P, C), and the tokens that the head gives there and at full depth."""
    decoder = decoder.to("cuda" if where.is_card else "cpu")
    ids = torch.from_numpy(tokens.astype(np.int64))[None].to(decoder.device)
    x = decoder.embed_tokens(ids)
    found = []
    for layer in range(1, decoder.config.layers + 1):
        x = decoder.run_layer(layer, x)
        if layer in (depth, decoder.config.layers):
            found.append((x[0].float().cpu().numpy(), decoder.logits(x)[0].argmax(-1).cpu().numpy()))
    (states, early), (_, final) = found
    return states, early, final


def _agent(where: Where, decoder: Decoder, depth: int, tokens: np.ndarray) -> list[dict[str, Any]]:
    count = 512 if where.is_card else 32
    states, early, final = _states(where, decoder, tokens[:count], depth)
    layers, chunks = decoder.config.layers, count // _CHUNK
    unit = states / np.sqrt(np.square(states).mean(-1, keepdims=True) + 1e-6)
    rollouts = Rollouts(
        (depth,), layers, unit[:, None].astype(np.float16), early[:, None], np.zeros((count, 1), np.float16), np.ones((count, 1), np.float16),
        np.full(count, layers), final, final, np.arange(chunks + 1) * _CHUNK, np.zeros(chunks, np.int64), np.arange(chunks) % 2 == 0,
        np.zeros(count, np.int64),
    )  # fmt: skip
    prices = token_prices(costs_of(decoder.config, has_svd_head=False).prices, layers, 1.0)
    begin = time.perf_counter()
    arguments = replace(supervised.Arguments(), steps=_STEPS, batch=count, rounds=1, documents=4)
    network = supervised.train(rollouts, prices, None, arguments)
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
    rows = [{"what": "agent, supervised", "steps": _STEPS, "seconds": time.perf_counter() - begin}]
    environments, begin = 16 if where.is_card else 4, time.perf_counter()
    ppo_arguments = replace(ppo.Arguments(), environments=environments, steps=_CHUNK, updates=_UPDATES, critic_alone=0)
    typing = draw_typing(rollouts, environments, _UPDATES, ppo_arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        environment = ExitEnvironment(rollouts, prices, typing, None)
        trained = ppo.train(environment, replace(ppo_arguments, kl_limit=None), Path(folder) / "log", report=print)
    assert all(torch.isfinite(parameter).all() for parameter in trained.parameters())
    rows.append({"what": "agent, PPO", "steps": _UPDATES, "seconds": time.perf_counter() - begin})
    print(*rows, sep="\n", flush=True)
    return rows
