"""Top tokens: of the whole head, of a preview in 4 bits and of the SVD head, with and without lenses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from green_code.decoding.kv_cache import KVCache
from green_code.kernels.binding import Kernel
from green_code.kernels.decoder import KernelDecoder
from green_code.kernels.packing import head_weight, pack
from green_code.kernels.padding import Padding
from green_code.kernels.quantise import GROUP, dequantise, quantise
from green_code.models.adapters import Adapters, LinearAdapter
from green_code.models.backend import CANDIDATES, LOGIT_RANGE
from green_code.models.config import ModelConfig
from green_code.models.torch_decoder import Decoder, top_tokens_of
from tests.kernels.references import (
    CONFIGS,
    GEMMA,
    PREVIEWED,
    ROWS,
    all_directions,
    decoder_for,
    final_tops,
    holding,
    quantised,
    random_weights,
    states,
    with_svd_head,
)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_top_token_is_that_of_the_whole_head(name: str, kernels: dict[str, Kernel]) -> None:
    config = CONFIGS[name]
    for level, kernel in kernels.items():
        decoder, x = decoder_for(kernel, config), states(config)
        for found, wanted in zip(
            final_tops(decoder, x), top_tokens_of(torch.from_numpy(decoder.logits(x))), strict=True
        ):
            assert found.token == wanted.token, level
            assert found.log_odds == pytest.approx(wanted.log_odds, abs=1e-3)
            assert found.margin == pytest.approx(wanted.margin, abs=1e-4)


@pytest.mark.parametrize("name", [name for name, config in CONFIGS.items() if config.width % 64 == 0])
def test_the_svd_heads_top_token_is_that_of_exact_logits(name: str, kernels: dict[str, Kernel]) -> None:
    config = CONFIGS[name]
    x = states(config)
    weights = {name: torch.from_numpy(weight).bfloat16().float() for name, weight in random_weights(config).items()}
    weights |= {name: torch.from_numpy(random_weights(config)[name]) for name in weights if name.startswith("norm")}
    logits = Decoder.load(config, weights).logits(torch.from_numpy(x))
    for level, kernel in kernels.items():
        decoder = with_svd_head(kernel, config)
        tops, buffers, drawing = final_tops(decoder, x), holding(decoder, x), np.random.default_rng(5)
        assert sum(
            top.token == wanted.token for top, wanted in zip(tops, top_tokens_of(logits), strict=True)
        ) > 0.99 * len(x), level
        for top, row in zip(tops, logits, strict=True):
            assert row[top.token] == pytest.approx(float(row.max()), abs=0.02)
        for rows in (slice(70, 71), slice(20, 25)):
            alone = decoder.top_tokens(buffers, range(rows.start, rows.stop), config.layers)
            assert tops[rows] == alone, "bit-identical, whatever rows are beside it"
        for row in range(len(x)):
            some = drawing.permutation(config.vocabulary)[: 1 + row % 5].astype(np.int32)
            best = decoder.top_token_among(buffers, row, config.layers, some)
            among = logits[row, some]
            assert best.token in some and logits[row, best.token] == pytest.approx(float(among.max()), abs=1e-4)
            assert best.probability == pytest.approx(float(among.softmax(0).max()), abs=1e-3)
        for each in (decoder, decoder_for(kernel, config)):
            equal = each.top_token_among(each.new_buffers(1), 0, 1, np.array([7, 3, 5], np.int32))
            if config.row.norm == "rms":  # where the normed zeros are zero
                assert (equal.token, equal.probability, equal.margin) == (7, pytest.approx(1 / 3), 0)
            for wrong in ([config.vocabulary], [-1], []):
                with pytest.raises(ValueError, match="tokens"):
                    each.top_token_among(buffers, 3, config.layers, np.array(wrong, np.int32))
            with pytest.raises(ValueError, match="int32"):
                each.top_token_among(buffers, 3, config.layers, np.array([1]))
            for position in (-1, buffers.capacity):
                with pytest.raises(ValueError, match="positions"):
                    each.top_token_among(buffers, position, config.layers, some)


def exact_and_preview(config: ModelConfig, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, V) by the head's rows in bfloat16, and by the head in 4 bits for inputs in int8; float32."""
    weights, capped = random_weights(config), config.logit_softcap or np.inf
    head = weights[head_weight(config)]
    normed = Decoder.load(config, {k: torch.from_numpy(w) for k, w in weights.items()}).norm(torch.from_numpy(x))
    padded = Padding(config).pad(head_weight(config), head)
    narrow = dequantise(quantise(padded, 4), padded.shape[1], 4)[: len(head), : config.width]
    logits = (normed @ torch.from_numpy(head).bfloat16().float().T).numpy()
    preview = (quantised(normed, GROUP) @ torch.from_numpy(narrow).T).numpy()
    return capped * np.tanh(logits / capped) if config.logit_softcap else logits, preview


@pytest.mark.parametrize("name", PREVIEWED)
def test_a_preview_in_four_bits_finds_candidates_whose_logits_are_exact(name: str, kernels: dict[str, Kernel]) -> None:
    config = PREVIEWED[name]
    x = states(config) * np.geomspace(0.1, 30, ROWS, dtype=np.float32)[:, None]
    logits, preview = exact_and_preview(config, x)
    likely = preview.argsort(-1)[:, ::-1]
    for level, kernel in kernels.items():
        decoder = decoder_for(kernel, config)
        assert not decoder.has_svd_head and "head int4" in decoder.description
        np.testing.assert_allclose(decoder.logits(x), logits, atol=2e-4, err_msg=level)
        tops, buffers = final_tops(decoder, x), holding(decoder, x)
        for row, top in enumerate(tops):
            # Many tokens are within the range, so between three quarters of CANDIDATES and all of them are taken.
            most = logits[row, likely[row, :CANDIDATES]].max()
            surely = logits[row, likely[row, : CANDIDATES * 3 // 4]]
            assert surely.max() - 1e-4 <= logits[row, top.token] <= most + 1e-4, level
            others = [
                np.exp(part - logits[row, top.token]).sum() - 1
                for part in (surely, logits[row, likely[row, :CANDIDATES]])
            ]
            assert -np.log(others[1]) - 0.01 <= top.log_odds <= -np.log(max(others[0], 1e-9)) + 0.01
            assert 0 <= top.margin <= LOGIT_RANGE
        best = logits.argmax(-1)
        assert np.mean([top.token == each for top, each in zip(tops, best, strict=True)]) > 0.97
        assert tops[20:25] == decoder.top_tokens(buffers, range(20, 25), config.layers)
        some = np.arange(0, config.vocabulary, 7, dtype=np.int32)
        among = decoder.top_token_among(buffers, 3, config.layers, some)
        assert logits[3, among.token] == pytest.approx(logits[3, some].max(), abs=2e-4)
        head = decoder_for(kernel, config)._packed.nbytes["preview"]
        assert decoder.weight_bytes >= head + 2 * CANDIDATES * config.width


def test_a_lens_is_applied_at_its_exit(kernels: dict[str, Kernel]) -> None:
    torch.manual_seed(11)
    weights, given = random_weights(GEMMA), states(GEMMA)
    x = torch.from_numpy(given)
    matrix = torch.randn(GEMMA.width, GEMMA.width) / GEMMA.width**0.5
    lens = LinearAdapter(matrix.numpy(), (0.5 + torch.rand(GEMMA.width)).numpy())
    unit = x / (x.pow(2).mean(-1, keepdim=True) + GEMMA.norm_eps).sqrt()
    wanted = unit + (unit * torch.from_numpy(lens.gain)) @ matrix.T
    torch_decoder = Decoder.load(GEMMA, weights)
    torch_decoder.set_lenses({2: lens})
    torch.testing.assert_close(torch_decoder.apply_lens(x, 2), wanted)
    assert torch.equal(torch_decoder.apply_lens(x, 1), x) and "lens_2" not in torch_decoder.state_dict()
    for level, kernel in kernels.items():
        decoder = KernelDecoder(kernel, GEMMA, *pack(GEMMA, weights.items(), Adapters(None, {2: lens})))
        lensed = decoder.apply_lens(given, 2)
        assert ((torch.from_numpy(lensed) - wanted).norm() / wanted.norm()) < 0.01, level
        for rows in (slice(70, 71), slice(20, 25)):
            alone = decoder.apply_lens(given[rows], 2)
            assert np.array_equal(alone, lensed[rows]), "bit-identical, whatever rows are beside it"
        assert np.array_equal(decoder.apply_lens(given, 1), given)


@pytest.mark.parametrize("depths", [(3, 1), (1, 3)])
def test_lenses_and_svd_head_are_kept_apart(depths: tuple[int, int], kernels: dict[str, Kernel]) -> None:
    """In whatever order they are given."""
    torch.manual_seed(12)
    weights, x = random_weights(GEMMA), states(GEMMA)
    width = GEMMA.width
    lenses = {
        depth: LinearAdapter(
            *(part.numpy() for part in (torch.randn(width, width) / width**0.5, 0.5 + torch.rand(width)))
        )
        for depth in depths
    }
    reference = Decoder.load(GEMMA, weights)
    reference.set_lenses(lenses)
    for level, kernel in kernels.items():
        both = 2 * GEMMA.kv_heads * GEMMA.head_width
        projections = {GEMMA.layers: LinearAdapter(np.zeros((both, width), np.float32), np.ones(width, np.float32))}
        decoder = KernelDecoder(
            kernel, GEMMA, *pack(GEMMA, weights.items(), Adapters(all_directions(GEMMA), lenses, projections))
        )
        for depth in depths:
            lensed, wanted = decoder.apply_lens(x, depth), reference.apply_lens(torch.from_numpy(x), depth).numpy()
            assert np.linalg.norm(lensed - wanted) / np.linalg.norm(wanted) < 0.01, level
            plain, behind = holding(decoder, x), holding(decoder, lensed)
            assert decoder.top_tokens(plain, range(7, 80), depth) == final_tops(decoder, lensed[7:80])
            some = np.arange(0, GEMMA.vocabulary, 9, dtype=np.int32)
            for row in range(9):
                assert decoder.top_token_among(plain, row, depth, some) == decoder.top_token_among(
                    behind, row, GEMMA.layers, some
                )
        assert final_tops(decoder, x) == final_tops(with_svd_head(kernel, GEMMA), x)
        assert decoder.build != decoder_for(kernel, GEMMA).build, "its costs must be measured anew"


def test_positions_need_not_be_adjacent(kernels: dict[str, Kernel]) -> None:
    for level, kernel in kernels.items():
        decoder = with_svd_head(kernel, GEMMA)
        cache = KVCache(decoder)
        cache.append([i % GEMMA.vocabulary for i in range(ROWS)])
        cache.advance(ROWS - 1, 4)
        every = final_tops(decoder, cache.states(0, ROWS))
        assert cache.top_tokens(range(70, 140), 4) == every[70:140], level
        assert cache.top_tokens((3, 70, 71), 4) == [every[i] for i in (3, 70, 71)], level


def test_of_equal_logits_the_first_token_is_taken(kernels: dict[str, Kernel]) -> None:
    for kernel in kernels.values():
        for decoder in (decoder_for(kernel, GEMMA), with_svd_head(kernel, GEMMA)):
            (top,) = final_tops(decoder, np.zeros((1, GEMMA.width), np.float32))
            assert (top.token, top.margin) == (0, 0.0)
            (top,) = final_tops(decoder, np.full((1, GEMMA.width), np.nan, np.float32))
            assert 0 <= top.token < GEMMA.vocabulary
