"""The whole decoder on the stand-in against the torch decoder with the same weights: every family, each exit, ragged lengths, windows,
verification, and what a bundle adds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from green_code.decoding.drafter import MAX_DRAFTS
from green_code.decoding.exit_classifier import ExitClassifier, parameter_shapes
from green_code.decoding.exit_policies import Agent, ExitView, Full, agent_for
from green_code.decoding.healing import Chooser
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.verifier import Verifier
from green_code.gpu.control import ROWS_AT_MOST
from green_code.gpu.decoder import GpuDecoder
from green_code.models.adapters import Adapters, LinearAdapter
from green_code.models.backend import TopToken
from green_code.models.config import ModelConfig
from green_code.models.svd_head import principal_directions
from green_code.models.tiny import TinySource
from green_code.models.torch_decoder import Decoder
from green_code.models.torch_format import TorchFormat
from green_code.models.vocabulary import Vocabulary
from green_code_lab.benchmark.gpu_check.correctness import dequantised
from tests.gpu.references import CONFIGS, gpu_decoder, random_weights

TOKENS = [3 + (7 * i) % 80 for i in range(24)]


def assert_same(found: list[TopToken], expected: list[TopToken], within: float = 1e-3) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.log_odds, one.margin) == pytest.approx((other.log_odds, other.margin), abs=within)
        assert one.token == other.token or other.margin < within


def run_both(name: str, bits: int) -> None:
    config = CONFIGS[name]
    weights = random_weights(config)
    decoder = gpu_decoder(config, weights, bits)
    one, other = KVCache(decoder), KVCache(dequantised(decoder, weights))
    for cache in (one, other):
        cache.append(TOKENS[:6])
        cache.advance(5, 1)  # a prompt at the first exit
        cache.append(TOKENS[6:8])
        cache.advance(7, 1)
    assert_same(one.top_tokens([5, 7], 1), other.top_tokens([5, 7], 1))
    for cache in (one, other):
        cache.advance(7, 2, 6)  # the rows below are filled; the last layer gives keys and values of most
        cache.truncate(7)
        cache.append(TOKENS[7:10])
        cache.advance(9, 2, 7)  # a verification
    assert_same(one.top_tokens(range(7, 10), 2), other.top_tokens(range(7, 10), 2))
    np.testing.assert_allclose(one.states(6, 10), other.states(6, 10), atol=1e-3)
    np.testing.assert_allclose(
        decoder.all_logits(one.buffers, 8, 10, 2), other.decoder.all_logits(other.buffers, 8, 10, 2), atol=1e-3
    )
    tokens = np.array([4, 9, 30], np.int32)
    assert_same([one.top_token_among(9, 2, tokens)], [other.top_token_among(9, 2, tokens)])


QUICK = ("llama", "opt", "gemma3", "qwen3")  # the others are as slow, and differ from these in one thing or two


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS if name not in QUICK)]
)
def test_every_family_computes_what_torch_computes(name: str) -> None:
    run_both(name, 8)


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_a_prompt_in_pieces_attends_to_the_earlier_ones(name: str) -> None:
    config = CONFIGS[name]
    weights = random_weights(config)
    decoder = gpu_decoder(config, weights, 8)
    one, other = KVCache(decoder), KVCache(dequantised(decoder, weights))
    for cache in (one, other):
        for piece in (TOKENS[:2], TOKENS[2:19]):  # a graph's, and more rows than a graph has
            cache.append(piece)
            cache.advance(len(cache) - 1, 1)
    np.testing.assert_allclose(one.states(0, 19), other.states(0, 19), atol=1e-4)


@pytest.mark.slow
def test_weights_of_four_bits() -> None:
    run_both("llama", 4)


def adapters_for(config: ModelConfig, weights: dict[str, np.ndarray]) -> Adapters:
    generator, width, kv = np.random.default_rng(5), config.width, 2 * config.kv_heads * config.head_width

    def linear(outputs: int) -> LinearAdapter:
        return LinearAdapter(
            generator.normal(0, 0.05, (outputs, width)).astype(np.float32),
            generator.uniform(0.5, 2, width).astype(np.float32),
        )

    head = weights["head.weight"]
    normed = generator.normal(0, 1, (400, width)).astype(np.float32)
    directions = principal_directions(lambda: iter([head]), normed.T @ normed, 64)
    return Adapters(directions.astype(np.float32), {1: linear(width)}, {2: linear(kv)})


def test_lenses_kv_projections_and_the_svd_head() -> None:
    config = CONFIGS["llama"]
    weights = random_weights(config)
    adapters = adapters_for(config, weights)
    decoder, plain = gpu_decoder(config, weights, 32, adapters), Decoder.load(config, weights)
    plain.set_lenses(adapters.lenses)
    plain.set_kv_projections(adapters.kv_projections)
    assert decoder.has_svd_head
    one, other = KVCache(decoder), KVCache(plain)
    for cache in (one, other):
        cache.append(TOKENS[:4])
        cache.advance(3, 1)
    assert_same(one.top_tokens([2, 3], 1), other.top_tokens([2, 3], 1))
    np.testing.assert_allclose(
        decoder.lensed_states(one.buffers, 2, 4, 1), plain.lensed_states(other.buffers, 2, 4, 1), atol=1e-4
    )
    for cache in (one, other):
        cache.decoder.project_kv(2, 2, cache.buffers, 0, 4, propagated=True)
        cache.decoder.run_layers(2, 2, cache.buffers, 3, 4)
    np.testing.assert_allclose(one.state(3), other.state(3), atol=1e-4)


def with_classifier(decoder: GpuDecoder, scale: float) -> tuple[Agent, ExitClassifier]:
    generator = np.random.default_rng(3)
    shapes = parameter_shapes(decoder.config.width, 1)
    made = {name: generator.normal(0, scale, shape).astype(np.float32) for name, shape in shapes.items()}
    classifier = ExitClassifier((1,), made)
    return agent_for(classifier, decoder), classifier


def test_layers_head_and_decision_are_one_graph_and_one_wait() -> None:
    config = CONFIGS["qwen2"]
    decoder = gpu_decoder(config, random_weights(config), 8)
    agent, classifier = with_classifier(decoder, 0.3)
    cache, machine = KVCache(decoder), decoder.machine
    cache.append(TOKENS[:3])
    before = machine.replays, machine.synchronisations
    cache.advance(2, 1)
    view = ExitView(cache, 2, 1, cache.pending(2, 2))
    decided = agent.should_exit(view)
    assert (machine.replays - before[0], machine.synchronisations - before[1]) == (1, 1)
    expected = classifier.exit_probability(view.state, view.pending, view.top, 0)
    assert view.top.exit_probability == pytest.approx(expected, abs=1e-5) and decided == (expected > 0.5)
    later = TopToken(view.top.token, view.top.log_odds, view.top.margin)  # read without a question
    assert agent.in_decoder is not None
    assert agent.in_decoder(cache.buffers, 2, view.pending, later, 0) == pytest.approx(expected, abs=1e-5)


def test_a_verification_is_one_graph_and_decides_as_one_token_after_another() -> None:
    config = CONFIGS["llama"]
    decoder = gpu_decoder(config, random_weights(config), 8)
    machine = decoder.machine
    source = TinySource()
    chooser = Chooser(Vocabulary(*source.vocabulary(None)))
    cache = KVCache(decoder)
    cache.append(TOKENS[:3])
    alone = []
    for _ in range(3):
        cache.advance(len(cache) - 1, 2)
        alone.append(cache.top_tokens([len(cache) - 1], 2)[0])
        cache.append([alone[-1].token])
    drafts = [top.token for top in alone]
    cache.truncate(3)
    cache = KVCache(decoder)
    cache.append([*TOKENS[:3], *drafts[:2], (drafts[2] + 1) % 80])
    cache.advance(1, 2, 2 - 1)
    decoder.synchronise()
    before = machine.replays, machine.synchronisations
    decoded = Verifier(Full(), chooser).verify(cache, 2, b"", cache.tokens[3:])
    assert (machine.replays - before[0], machine.synchronisations - before[1]) == (1, 1)
    assert [each.token for each in decoded] == drafts
    assert [each.log_odds for each in decoded] == pytest.approx([top.log_odds for top in alone], abs=1e-4)
    assert MAX_DRAFTS + 1 <= ROWS_AT_MOST, "so is one of as many drafts as there can be"


def test_in_bfloat16_states_stay_near() -> None:
    config = CONFIGS["gemma3"]
    weights = random_weights(config)
    decoder = gpu_decoder(config, weights, 8, dtype=torch.bfloat16)
    one, other = KVCache(decoder), KVCache(dequantised(decoder, weights))
    for cache in (one, other):
        cache.append(TOKENS[:3])
        cache.advance(2, 2)
    exact = other.state(2)
    assert np.abs(one.state(2) - exact).max() < 0.05 * np.abs(exact).max()


def test_what_is_not_there_is_refused() -> None:
    decoder = gpu_decoder(CONFIGS["opt"], random_weights(CONFIGS["opt"]), 8)
    other = gpu_decoder(CONFIGS["llama"], random_weights(CONFIGS["llama"]), 8)
    buffers = decoder.new_buffers(4)
    for wrong in (
        lambda: decoder.embed_into(buffers, 0, [90]),
        lambda: decoder.embed_into(buffers, 3, [1, 2]),
        lambda: decoder.embed_into(decoder.new_buffers(4000), 2047, [1, 2]),  # learned positions
        lambda: decoder.run_layers(1, 3, buffers, 0, 1),
        lambda: decoder.run_layers(1, 1, other.new_buffers(4), 0, 1),
        lambda: decoder.state(buffers, 4),
        lambda: decoder.top_token_among(buffers, 0, 1, np.array([90], np.int32)),
    ):
        with pytest.raises(ValueError):
            wrong()


def test_buffers_grow_and_keep_what_they_hold_while_a_span_waits() -> None:
    config = CONFIGS["llama"]
    decoder = gpu_decoder(config, random_weights(config), 8)
    kept, grown = decoder.new_buffers(8), decoder.new_buffers(8)
    for buffers in (kept, grown):
        decoder.embed_into(buffers, 0, TOKENS[:2])
        decoder.run_layers(1, 2, buffers, 0, 2)
        if buffers is grown:
            buffers.grow(300)
    assert np.array_equal(decoder.states(kept, 0, 2), decoder.states(grown, 0, 2))
    assert grown.capacity == 300 and grown.nbytes > kept.nbytes


@pytest.mark.parametrize("kind", ["kernels", "torch"])
def test_a_cache_that_the_card_has_no_room_for_stays_as_it_is(kind: str) -> None:
    config, asked = CONFIGS["llama"], list[int]()

    def make_room(size: int) -> None:
        asked.append(size)
        if len(asked) > 1:
            raise MemoryError("no room")

    if kind == "kernels":
        decoder = gpu_decoder(config, random_weights(config), 8)
        cache = KVCache(GpuDecoder(decoder.weights, decoder.machine, torch.float32, make_room=make_room))
    else:
        cache = KVCache(TorchFormat(torch.float32, "cpu", make_room).build(config, random_weights(config), Adapters()))
    cache.append(TOKENS[:3])
    with pytest.raises(MemoryError):
        cache.append([5] * 400)
    assert len(cache) == 3 and asked[0] == cache.buffers.nbytes
