"""The kernel against the torch decoder over the same rounded weights, at every level that this processor runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from green_code.decoding.exit_network import EXIT, ExitNetwork, features
from green_code.decoding.staircase import Staircase
from green_code.kernels.binding import BLOCK, PIECE, Kernel
from green_code.kernels.decoder import KernelDecoder
from green_code.kernels.packing import pack, why_not
from green_code.kernels.quantise import GROUP, RECORD_BYTES, dequantise, quantise
from green_code.models.decoder import Block, Decoder, _mask
from green_code.models.families import ModelConfig, Rope
from green_code.models.reading import Lens, Reading
from green_code.models.screen import principal_directions
from green_code.models.serving import Top, top_of

GEMMA = ModelConfig(
    family="gemma3_text", layers=6, width=192, heads=3, kv_heads=1, head_width=64, mlp_width=384, vocabulary=131,
    norm_eps=1e-6, max_positions=4096, attention_scale=0.2, tied_head=True, windows=(7, 7, None, 7, 7, None),
    ropes=(Rope(1e4), Rope(1e4), Rope(1e6), Rope(1e4), Rope(1e4), Rope(1e6)),
)  # fmt: skip
LLAMA = ModelConfig(
    family="llama", layers=3, width=128, heads=4, kv_heads=2, head_width=32, mlp_width=192, vocabulary=77,
    norm_eps=1e-5, max_positions=4096, attention_scale=32**-0.5, tied_head=False, windows=(None,) * 3,
    ropes=(Rope(5e5),) * 3,
)  # fmt: skip
# More heads share their keys than are computed side by side.
MANY_HEADS = replace(LLAMA, heads=9, kv_heads=1, head_width=64, windows=(5, None, 20))
CONFIGS = {"gemma": GEMMA, "llama": LLAMA, "many heads": MANY_HEADS}
ROWS = 150  # more than two chunks of the kernel


def random_weights(config: ModelConfig) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, like in Decoder(config).state_dict().items():
        drawn = torch.randn(like.shape, generator=generator)
        weights[name] = 1 + 0.2 * drawn if like.dim() == 1 else drawn * like.shape[1] ** -0.5
    return weights


def as_packed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that the kernel computes with, in float32."""
    return {
        name: w
        if w.dim() == 1
        else torch.from_numpy(dequantise(quantise(w.numpy()), w.shape[1])[: len(w)].copy())
        for name, w in weights.items()
    }


def buffers(decoder: KernelDecoder, capacity: int = 256) -> tuple[Tensor, Tensor]:
    c, widths = decoder.config, decoder.cache_widths
    keys, values = (torch.zeros(c.layers, c.kv_heads, capacity, w, dtype=torch.uint8) for w in widths)
    return keys, values


def made(kernel: Kernel, config: ModelConfig) -> KernelDecoder:
    return KernelDecoder(kernel, config, *pack(config, random_weights(config), Reading()))


def run(decoder: KernelDecoder, x: Tensor, cuts: Mapping[int, int] | None = None) -> tuple[Tensor, ...]:
    """All layers over `x`, in parts: `cuts` maps a position to cut at to a layer to cut at."""
    x, (keys, values) = x.clone(), buffers(decoder)
    layers = decoder.config.layers
    edges = [0, *(cuts or {}), len(x)]
    for start, end in itertools.pairwise(edges):
        middle = (cuts or {}).get(start, layers)
        decoder.run_layers(1, middle, x, start, end, keys, values)
        if middle < layers:
            decoder.run_layers(middle + 1, layers, x, start, end, keys, values)
    return x, keys, values


def looked(decoder: KernelDecoder, x: Tensor) -> list[Top]:
    """What the head says of last layer's states (N, C)."""
    return decoder.look(x, 0, len(x), decoder.config.layers)


def states(config: ModelConfig) -> Tensor:
    return torch.randn(ROWS, config.width, generator=torch.Generator().manual_seed(1))


def in_groups(x: Tensor, group: int) -> Tensor:
    """`x`, rounded to 127 steps to either side in groups of its last dimension."""
    blocks = x.unflatten(-1, (-1, group))
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    return ((blocks / scale.where(scale > 0, 1)).round() * scale).flatten(-2)


class RoundedBlock(Block):
    """Attention as the kernel rounds it: keys and queries in pieces, a value as a whole, and weights, with the values'
    scales in them, in blocks of positions."""

    def _attend(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor] | None,
        start: int,
        cache: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        assert cache is None and len(x) == 1
        queries, keys, values = (part[0] for part in self.project(x, rotary))
        queries, keys = in_groups(queries, PIECE), in_groups(keys, PIECE)
        shared = self.heads // self.kv_heads
        keys, values = keys.repeat_interleave(shared, 0), values.repeat_interleave(shared, 0)
        scores = (queries @ keys.transpose(1, 2) * self.scale).masked_fill(
            ~_mask(0, len(x[0]), 0, self.window, x.device), -torch.inf
        )
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        steps = values.abs().amax(-1, keepdim=True) / 127
        scaled = torch.nn.functional.pad(weights * steps.transpose(1, 2), (0, -len(x[0]) % BLOCK))
        rounded = in_groups(scaled, BLOCK)[..., : len(x[0])]
        out = rounded @ (values / steps).round() / weights.sum(-1, keepdim=True)
        return self.attention_out(out.transpose(0, 1).flatten(1)[None])  # type: ignore[no-any-return]


def rounding(decoder: Decoder) -> Decoder:
    """The torch decoder, rounding as the kernel does: products' inputs in groups to 8 bits, and attention."""
    for block in decoder.layers:
        block.__class__ = RoundedBlock
    for module in decoder.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, inputs: in_groups(inputs[0], GROUP))
    return decoder


@pytest.mark.parametrize("name", CONFIGS)
def test_layers_and_head_are_those_of_the_torch_decoder(name: str, kernels: dict[str, Kernel]) -> None:
    """Layer by layer, each from the reference's own states, so that a rounding that fell otherwise does not spread."""
    config = CONFIGS[name]
    reference, x = rounding(Decoder.load(config, as_packed(random_weights(config)))), states(config)
    for level, kernel in kernels.items():
        decoder = made(kernel, config)
        keys, values = buffers(decoder)
        expected = x
        for layer in range(1, config.layers + 1):
            found = expected.clone()
            expected = reference.run_layer(layer, expected[None])[0]
            decoder.run_layers(layer, layer, found, 0, len(found), keys, values)
            error = (found - expected).norm(dim=1) / expected.norm(dim=1)
            assert error.median() < 1e-5, (level, layer)
            # Now and then a value lies between two steps, and another order of sums takes the other one.
            assert error.max() < 1e-2, (level, layer)
        wanted = reference.logits(expected)
        logits = decoder.logits(expected)
        assert logits.shape == wanted.shape
        assert (logits - wanted).norm() / wanted.norm() < 0.01, level  # 8 bits here too
        decoder.embed_into(embedded := torch.empty(2, config.width), 0, [3, 5])
        rounded = {name: w.bfloat16().float() for name, w in random_weights(config).items()}
        assert torch.equal(embedded, Decoder.load(config, rounded).embed_tokens(torch.tensor([3, 5])))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    "cuts",
    [
        {1: 2, 2: 1, 3: 2},
        {64: 1, 65: 2},
        {5: 2, 70: 3, 100: 1, 149: 2},
        {16: 2, 31: 1, 33: 1, 36: 2},
        {4: 1, 9: 2, 15: 1, 22: 2, 30: 1, 39: 2},
    ],
)
def test_a_row_is_the_same_to_the_bit_however_work_is_cut(
    name: str, cuts: Mapping[int, int], kernels: dict[str, Kernel]
) -> None:
    config = CONFIGS[name]
    for kernel in kernels.values():
        decoder = made(kernel, config)
        whole, parts = run(decoder, states(config)), run(decoder, states(config), cuts)
        for one, other in zip(whole, parts, strict=True):
            assert torch.equal(one, other), kernel.level
        logits = decoder.logits(whole[0])
        assert all(torch.equal(logits[i], decoder.logits(whole[0][i])) for i in (0, 63, 64, 149))


@pytest.mark.parametrize("name", CONFIGS)
def test_what_lies_where_nobody_looks_is_nothing(name: str, kernels: dict[str, Kernel]) -> None:
    """After a truncation there may be anything: numbers, or scales that are none."""
    for kernel in kernels.values():
        decoder = made(kernel, CONFIGS[name])
        clean, littered = buffers(decoder), buffers(decoder)
        for buffer in littered:
            buffer.fill_(0xFF)  # the greatest bytes, and NaN
        found = []
        for keys, values in (clean, littered):
            x = states(CONFIGS[name])
            for start, stop in ((0, 1), (1, 34), (34, 36), (36, ROWS)):
                decoder.run_layers(1, decoder.config.layers, x, start, stop, keys, values)
            found.append(x)
        assert torch.equal(*found), kernel.level


def with_screen(kernel: Kernel, config: ModelConfig) -> KernelDecoder:
    """Of all directions, so that nothing is lost but to rounding."""
    weights = random_weights(config)
    everything = principal_directions(weights["embed.weight"], torch.eye(config.width).double(), config.width)
    return KernelDecoder(kernel, config, *pack(config, weights, Reading(everything)))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_top_is_that_of_the_whole_head(name: str, kernels: dict[str, Kernel]) -> None:
    config = CONFIGS[name]
    for level, kernel in kernels.items():
        decoder, x = made(kernel, config), states(config)
        for found, wanted in zip(looked(decoder, x), top_of(decoder.logits(x)), strict=True):
            assert found.token == wanted.token, level
            assert found.odds == pytest.approx(wanted.odds, abs=1e-3)
            assert found.margin == pytest.approx(wanted.margin, abs=1e-4)


@pytest.mark.parametrize("name", [name for name, config in CONFIGS.items() if config.tied_head])
def test_behind_a_screen_the_top_is_that_of_the_heads_own_rows(name: str, kernels: dict[str, Kernel]) -> None:
    config = CONFIGS[name]
    weights, x = random_weights(config), states(config)
    normed = torch.nn.functional.rms_norm(x, (config.width,), weights["norm.weight"].float(), config.norm_eps)
    logits = normed @ weights["embed.weight"].bfloat16().float().T
    for level, kernel in kernels.items():
        decoder = with_screen(kernel, config)
        tops = looked(decoder, x)
        assert sum(
            top.token == wanted.token for top, wanted in zip(tops, top_of(logits), strict=True)
        ) > 0.99 * len(x), level
        for top, row in zip(tops, logits, strict=True):
            assert row[top.token] == pytest.approx(float(row.max()), abs=0.02)
        for rows in (slice(70, 71), slice(20, 25)):
            assert tops[rows] == decoder.look(
                x, rows.start, rows.stop, config.layers
            )  # to the bit, whatever comes with it
        for row in range(len(x)):
            some = torch.randperm(config.vocabulary)[: 1 + row % 5].int()
            best = decoder.best(x, row, config.layers, some)
            assert best in some and logits[row, best] == pytest.approx(
                float(logits[row, some].max()), abs=1e-4
            )
        for each in (decoder, made(kernel, config)):
            assert each.best(torch.zeros(1, config.width), 0, 1, torch.tensor([7, 3, 5]).int()) == 7
            for wrong in ([config.vocabulary], [-1], []):
                with pytest.raises(ValueError, match="tokens"):
                    each.best(x, 3, config.layers, torch.tensor(wrong).int())
            with pytest.raises(ValueError, match="int32"):
                each.best(x, 3, config.layers, torch.tensor([1]))
            for position in (-1, len(x)):
                with pytest.raises(ValueError, match="positions"):
                    each.best(x, position, config.layers, some)


def test_an_exit_is_seen_through_its_lens(kernels: dict[str, Kernel]) -> None:
    torch.manual_seed(11)
    weights, x = random_weights(GEMMA), states(GEMMA)
    matrix = torch.randn(GEMMA.width, GEMMA.width) / GEMMA.width**0.5
    lens = Lens(matrix, 0.5 + torch.rand(GEMMA.width))
    unit = x / (x.pow(2).mean(-1, keepdim=True) + GEMMA.norm_eps).sqrt()
    wanted = unit + (unit * lens.gain) @ matrix.T
    torch_decoder = Decoder.load(GEMMA, weights)
    torch_decoder.wear({2: lens})
    torch.testing.assert_close(torch_decoder.seen(x, 2), wanted)
    assert torch.equal(torch_decoder.seen(x, 1), x) and "lens_2" not in torch_decoder.state_dict()
    for level, kernel in kernels.items():
        decoder = KernelDecoder(kernel, GEMMA, *pack(GEMMA, weights, Reading(None, {2: lens})))
        seen = decoder.seen(x, 2)
        assert ((seen - wanted).norm() / wanted.norm()) < 0.01, level
        for rows in (slice(70, 71), slice(20, 25)):
            assert torch.equal(decoder.seen(x[rows], 2), seen[rows])  # to the bit, whatever comes with it
        assert torch.equal(decoder.seen(x, 1), x)


def test_entries_are_made_by_what_was_learned_for_them(kernels: dict[str, Kernel]) -> None:
    """As by a decoder whose own projections of keys and values are these; a layer that has no entry, by its own."""
    torch.manual_seed(13)
    weights, x = random_weights(GEMMA), states(GEMMA)
    both, queries = 2 * GEMMA.kv_heads * GEMMA.head_width, GEMMA.heads * GEMMA.head_width
    entry = Lens(torch.randn(both, GEMMA.width) / GEMMA.width**0.5, 0.5 + torch.rand(GEMMA.width))
    qkv = weights["layers.1.qkv.weight"].clone()
    qkv[queries:] += entry.matrix * entry.gain
    same = {**weights, "layers.1.qkv.weight": qkv}
    for level, kernel in kernels.items():
        learned = KernelDecoder(kernel, GEMMA, *pack(GEMMA, weights, Reading(entries={2: entry})))
        reference = KernelDecoder(kernel, GEMMA, *pack(GEMMA, same, Reading()))
        found, wanted = buffers(learned), buffers(reference)
        for decoder, cache in ((learned, found), (reference, wanted)):
            decoder.propagate(2, 3, x.clone(), 5, ROWS, *cache, settled=True)
        for one, other in zip(found, wanted, strict=True):
            assert torch.equal(one, other), level
        plain = KernelDecoder(kernel, GEMMA, *pack(GEMMA, weights, Reading()))
        found, wanted = buffers(learned), buffers(plain)
        for decoder, cache in ((learned, found), (plain, wanted)):
            decoder.propagate(2, 3, x.clone(), 5, ROWS, *cache, settled=False)
        for one, other in zip(found, wanted, strict=True):
            assert torch.equal(one, other), "nor are those that rise and go for keys and values alone"
        through = x.clone(), x.clone()
        for decoder, of in zip((learned, plain), through, strict=True):
            decoder.run_layers(1, GEMMA.layers, of, 0, ROWS, *buffers(decoder))
        assert torch.equal(*through), "positions that rise are none of its business"
        assert learned.weight_bytes == plain.weight_bytes, "no token reads them"


@pytest.mark.parametrize("depths", [(3, 1), (1, 3)])
def test_lenses_and_screen_lie_side_by_side(depths: tuple[int, int], kernels: dict[str, Kernel]) -> None:
    """Each is found again, whatever the order in which they are given."""
    torch.manual_seed(12)
    weights, x = random_weights(GEMMA), states(GEMMA)
    width = GEMMA.width
    lenses = {
        depth: Lens(torch.randn(width, width) / width**0.5, 0.5 + torch.rand(width)) for depth in depths
    }
    everything = principal_directions(weights["embed.weight"], torch.eye(width).double(), width)
    reference = Decoder.load(GEMMA, weights)
    reference.wear(lenses)
    for level, kernel in kernels.items():
        both = 2 * GEMMA.kv_heads * GEMMA.head_width
        entries = {GEMMA.layers: Lens(torch.zeros(both, width), torch.ones(width))}
        decoder = KernelDecoder(kernel, GEMMA, *pack(GEMMA, weights, Reading(everything, lenses, entries)))
        for depth in depths:
            seen, wanted = decoder.seen(x, depth), reference.seen(x, depth)
            assert ((seen - wanted).norm() / wanted.norm()) < 0.01, level
            assert decoder.look(x, 7, 80, depth) == looked(decoder, seen[7:80])
            some = torch.arange(0, GEMMA.vocabulary, 9).int()
            for row in range(9):
                assert decoder.best(x, row, depth, some) == decoder.best(seen, row, GEMMA.layers, some)
        assert looked(decoder, x) == looked(with_screen(kernel, GEMMA), x)
        assert decoder.build != made(kernel, GEMMA).build, "what its work costs is measured anew"


def test_positions_are_looked_at_where_they_lie_whatever_lies_between(kernels: dict[str, Kernel]) -> None:
    for level, kernel in kernels.items():
        decoder = with_screen(kernel, GEMMA)
        stairs = Staircase(decoder)
        stairs.append([i % GEMMA.vocabulary for i in range(ROWS)])
        stairs.advance(ROWS - 1, 4)
        every = looked(decoder, stairs.states(0, ROWS))
        assert stairs.look(range(70, 140), 4) == every[70:140], level
        assert stairs.look((3, 70, 71), 4) == [every[i] for i in (3, 70, 71)], level


def test_a_head_that_prefers_nothing_gives_its_first_token(kernels: dict[str, Kernel]) -> None:
    for kernel in kernels.values():
        for decoder in (made(kernel, GEMMA), with_screen(kernel, GEMMA)):
            (top,) = looked(decoder, torch.zeros(1, GEMMA.width))
            assert (top.token, top.margin) == (0, 0.0)
            (top,) = looked(decoder, torch.full((1, GEMMA.width), float("nan")))
            assert 0 <= top.token < GEMMA.vocabulary


def test_the_exit_network_in_one_call_is_the_exit_network(kernels: dict[str, Kernel]) -> None:
    torch.manual_seed(7)
    network = ExitNetwork(GEMMA.width, (2, 4)).requires_grad_(False)
    for kernel in kernels.values():
        judge = made(kernel, GEMMA).judge_of(network.for_service())
        assert judge is not None
        for scale in (0.01, 1.0, 300.0):
            for state in states(GEMMA)[:4] * scale:
                for debt, top, index in (
                    (0, Top(1, -3.0, 0.1), 0),
                    (17, Top(1, 20.0, 8.0), 1),
                    (1, Top(1, -20.0, 0.0), 1),
                    (40_000, Top(1, 0.3, 2.0), 0),
                ):
                    seen = features(state, *map(torch.tensor, (debt, top.odds, top.margin)))
                    expected = network(seen, torch.tensor(index)).softmax(-1)[EXIT].item()
                    assert judge(state, debt, top, index) == pytest.approx(expected, abs=2e-6)
        with pytest.raises(ValueError, match="index 2"):
            judge(states(GEMMA)[0], 0, Top(0, 0.0, 0.0), 2)
        with pytest.raises(ValueError, match="float32 vector"):
            judge(states(GEMMA)[0].double(), 0, Top(0, 0.0, 0.0), 0)


def test_parameters_of_another_network_are_refused(kernels: dict[str, Kernel]) -> None:
    decoder = made(next(iter(kernels.values())), GEMMA)
    good = ExitNetwork(GEMMA.width, (2, 4)).for_service()
    wrong = (
        replace(good, inner=good.inner[:, :-1]),
        replace(good, biases=good.biases[:, :-1]),
        replace(good, action=good.action[:1]),
    )
    for parameters in wrong:
        with pytest.raises(ValueError, match="exit network"):
            decoder.judge_of(parameters)
    odd = 48  # units, which are no multiple of what the kernel takes at once
    fewer = replace(good, inner=good.inner[:odd], biases=good.biases[:, :odd], action=good.action[:, :odd])
    assert decoder.judge_of(fewer) is None


def test_propagated_keys_and_values_are_what_a_layer_makes_of_the_states(kernels: dict[str, Kernel]) -> None:
    for config, (level, kernel) in itertools.product(CONFIGS.values(), kernels.items()):
        decoder, x = made(kernel, config), states(config)
        keys, values = buffers(decoder)
        given = x.clone()
        decoder.propagate(2, config.layers, given, 5, ROWS, keys, values, settled=False)
        assert torch.equal(given, x), level
        assert not keys[0].any() and not values[0].any()
        for layer in range(2, config.layers + 1):
            through, (own_keys, own_values) = x.clone(), buffers(decoder)
            decoder.run_layers(layer, layer, through, 5, ROWS, own_keys, own_values)
            assert torch.equal(keys[layer - 1], own_keys[layer - 1]), level
            assert torch.equal(values[layer - 1], own_values[layer - 1]), level


def test_a_prompt_whose_last_layer_is_not_run_over_all_is_the_same_to_the_bit(
    kernels: dict[str, Kernel],
) -> None:
    """Keys, values and states of who is asked at once or later, with learned entries in the bundle or without."""
    weights = random_weights(GEMMA)
    shape = 2 * GEMMA.kv_heads * GEMMA.head_width, GEMMA.width
    learned = Reading(entries={GEMMA.layers: Lens(torch.randn(shape), torch.ones(GEMMA.width))})
    for level, kernel in kernels.items():
        decoder = KernelDecoder(kernel, GEMMA, *pack(GEMMA, weights, learned))
        whole, stairs = Staircase(decoder), Staircase(decoder)
        for each in (whole, stairs):
            each.append([i % GEMMA.vocabulary for i in range(ROWS)])
        whole.advance(ROWS - 1, GEMMA.layers)
        stairs.advance(ROWS - 1, GEMMA.layers, ROWS - 3)
        stairs.advance(ROWS - 1, GEMMA.layers, 70)
        assert torch.equal(stairs._keys, whole._keys), level
        assert torch.equal(stairs._values, whole._values), level
        assert torch.equal(stairs.states(70, ROWS), whole.states(70, ROWS)), level
        assert stairs.entries == ROWS - 3


def test_bounds_are_checked(kernels: dict[str, Kernel]) -> None:
    decoder = made(next(iter(kernels.values())), GEMMA)
    keys, values = buffers(decoder, 64)
    x = torch.zeros(8, GEMMA.width)
    of_layers, of_states = "layers {} … {}, positions {} … {} of 64", "positions {2} … {3} of 80"
    ranges = (
        ((0, 2, 0, 8), of_layers), ((1, 7, 0, 8), of_layers), ((3, 2, 0, 8), of_layers), ((1, 2, 57, 65), of_layers),
        ((1, 2, -1, 7), of_states), ((1, 2, 7, 6), of_states),
    )  # fmt: skip
    for (first, last, start, stop), message in ranges:
        named = message.format(first, last, start, stop - 1)
        with pytest.raises(ValueError, match=named):
            decoder.run_layers(first, last, torch.zeros(80, GEMMA.width), start, stop, keys, values)
        with pytest.raises(ValueError, match=named):
            decoder.propagate(first, last, torch.zeros(80, GEMMA.width), start, stop, keys, values, True)
    with pytest.raises(ValueError, match="positions 2 … 8 of 8"):
        decoder.run_layers(1, 2, x, 2, 9, keys, values)
    for wrong in (x.double(), torch.zeros(GEMMA.width, 8).T):
        with pytest.raises(ValueError, match="contiguous on the CPU"):
            decoder.run_layers(1, 2, wrong, 0, 8, keys, values)
        with pytest.raises(ValueError, match="contiguous on the CPU"):
            decoder.embed_into(wrong, 0, [1])
        with pytest.raises(ValueError, match="contiguous on the CPU"):
            decoder.look(wrong, 0, 1, 2)
    with pytest.raises(ValueError, match="contiguous"):
        decoder.run_layers(1, 2, x, 0, 8, keys.float(), values)
    with pytest.raises(ValueError, match="multiple of 32"):
        decoder.run_layers(1, 2, x, 0, 8, *buffers(decoder, 48))
    with pytest.raises(ValueError, match="another model"):
        decoder.run_layers(1, 2, x, 0, 8, values, keys)
    with pytest.raises(ValueError, match="another model"):
        decoder.run_layers(1, 2, torch.zeros(8, 64), 0, 8, keys, values)
    for start, tokens in ((7, [1, 2]), (-1, [1])):
        with pytest.raises(ValueError, match="positions"):
            decoder.embed_into(x, start, tokens)
    for start, stop in ((0, 9), (-1, 1), (5, 4)):
        with pytest.raises(ValueError, match="positions"):
            decoder.look(x, start, stop, 2)
    for token in (-1, GEMMA.vocabulary):
        with pytest.raises(ValueError, match="tokens must be"):
            decoder.embed_into(x, 0, [token])
    with pytest.raises(ValueError, match="float32"):
        decoder.logits(torch.zeros(8, 64))


def test_weights_are_checked_before_they_are_pointed_at(kernels: dict[str, Kernel]) -> None:
    kernel, weights = next(iter(kernels.values())), random_weights(GEMMA)
    gain = "layers.2.mlp_norm.weight"
    missing = {name: weight for name, weight in weights.items() if name != gain}
    for wrong in (missing, {**weights, gain: torch.ones(8)}, {**weights, "more": torch.ones(8)}):
        with pytest.raises(ValueError, match="not the weights"):
            pack(GEMMA, wrong, Reading())
    records, rest = pack(GEMMA, weights, Reading())
    for cut in (records[:-1], records[:, :-1], records[::2]):
        with pytest.raises(ValueError, match="records"):
            KernelDecoder(kernel, GEMMA, cut, rest)
    with pytest.raises(ValueError, match="gains"):
        KernelDecoder(kernel, GEMMA, records, {**rest, gain: torch.ones(8)})


def test_models_it_does_not_serve_are_told_apart() -> None:
    from dataclasses import replace

    assert why_not(GEMMA) is None and why_not(LLAMA) is None
    assert "family opt" in str(why_not(replace(GEMMA, family="opt")))
    assert "multiples" in str(why_not(replace(GEMMA, width=100)))
    assert "multiples" in str(why_not(replace(LLAMA, head_width=80)))  # though four of them are


def test_weights_are_rounded_to_a_255th_of_a_groups_range() -> None:
    weight = np.random.default_rng(0).standard_normal((67, 128)).astype(np.float32)
    weight[5] = 0
    packed = quantise(weight)
    back = dequantise(packed, 128)
    assert packed.shape == (2 * 2, RECORD_BYTES) and back.shape == (128, 128)
    most = np.abs(weight).reshape(67, 2, GROUP).max(2).repeat(GROUP, 1)
    # Half a step; a step is a group's largest over 127, and up to a 128th more by the scale's rounding up.
    assert (np.abs(back[:67] - weight) <= most / 254 * (1 + 2**-7) + 1e-7).all()
    assert not back[67:].any()
