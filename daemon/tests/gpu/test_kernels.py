"""Each kernel against torch in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import triton.language as tl
from torch import Tensor

from green_code.decoding.exit_classifier import EXIT, ExitClassifier, parameter_shapes
from green_code.gpu import control as words
from green_code.gpu.kernels_attention import attend
from green_code.gpu.kernels_head import BINS, count_candidates, decide_rows, score_candidates, top_rows
from green_code.gpu.kernels_linear import linear
from green_code.gpu.packing import coded
from green_code.gpu.weights import DeviceMatrix
from green_code.models.backend import CANDIDATES, LOGIT_RANGE, TopToken
from green_code.models.torch_decoder import top_tokens_of
from green_code_lab.benchmark.gpu_check.stand_in import StandIn

NONE = torch.zeros(1)


@pytest.fixture(scope="module", autouse=True)
def machine() -> StandIn:
    return StandIn()


def control(rows: int, **others: Any) -> Tensor:
    made = torch.zeros(words.WORDS, dtype=torch.int64)
    made[words.ROWS.value] = rows
    for name, value in others.items():
        at = getattr(words, name.upper()).value
        value = torch.as_tensor(value)
        made[at : at + value.numel()] = value
    return made


def matrix(weight: np.ndarray, bits: int) -> DeviceMatrix:
    codes, *rest = [torch.from_numpy(part) for part in coded(weight, bits)]
    codes = codes.view(torch.bfloat16) if bits == 16 else codes
    scales = [part.view(torch.bfloat16) for part in rest] or [codes]
    return DeviceMatrix(len(weight), -(-weight.shape[1] // 64) * 64, bits, codes, scales[0], scales[-1])


def product(m: DeviceMatrix, x: Tensor, rows: int, gated: bool = False, **options: Any) -> Tensor:
    outputs = m.outputs // (1 + gated)
    out = torch.full((16, outputs), 7.0)
    told = options.pop("told", control(rows))
    bias = options.pop("bias", None)
    constants = {"ACTIVATION": "", "TARGET": "out", "CAPPED": False, **options}
    linear[(-(-outputs // 64), 1)](
        told, x, m.codes, m.scales, m.minima, NONE if bias is None else bias, out, NONE, NONE, outputs, m.inputs, outputs, 1.0, 1.0,
        BITS=m.bits, GATED=gated, BIAS=bias is not None, BLOCK_M=16, BLOCK_N=64, **constants,
    )  # fmt: skip
    return out


@pytest.mark.parametrize("bits", [4, 8, 16, 32])
@pytest.mark.parametrize("rows", [1, 5])
def test_products_of_every_width_of_weights(bits: int, rows: int) -> None:
    torch.manual_seed(0)
    m = matrix(np.random.default_rng(0).normal(0, 0.1, (70, 100)).astype(np.float32), bits)
    x = torch.zeros(16, 128)
    x[:, :100] = torch.randn(16, 100)
    out = product(m, x, rows)
    torch.testing.assert_close(out[:rows], x[:rows] @ m.values(slice(None)).T, atol=1e-4, rtol=1e-4)
    assert (out[rows:] == 7).all(), "later rows are not written"


def test_a_row_depends_on_no_other_row() -> None:
    torch.manual_seed(0)
    m, x = matrix(np.random.default_rng(0).normal(0, 0.1, (64, 64)).astype(np.float32), 8), torch.randn(16, 64)
    together = product(m, x, 16)
    alone = torch.zeros(16, 64)
    alone[0] = x[0]
    assert torch.equal(product(m, alone, 1)[0], together[0])


@pytest.mark.parametrize(
    ("activation", "function"),
    [("silu", F.silu), ("relu", F.relu), ("gelu", F.gelu), ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"))],
)
def test_gate_bias_and_activation(activation: str, function: Any) -> None:
    torch.manual_seed(0)
    m, x, bias = (
        matrix(np.random.default_rng(0).normal(0, 0.5, (140, 64)).astype(np.float32), 8),
        torch.randn(16, 64),
        torch.randn(140),
    )
    whole = x[:2] @ m.values(slice(None)).T + bias
    gate, up = whole.chunk(2, 1)
    found = product(m, x, 2, gated=True, bias=bias, ACTIVATION=activation)[:2]
    torch.testing.assert_close(found, function(gate) * up, atol=1e-4, rtol=1e-4)
    plain = product(m, x, 2, bias=bias, ACTIVATION=activation)[:2]
    torch.testing.assert_close(plain, function(whole), atol=1e-4, rtol=1e-4)


def attention(
    start: int, rows: int, splits: int, keys: Tensor, values: Tensor, queries: Tensor, window: int | None = None
) -> Tensor:
    kv_heads, capacity, width = keys.shape
    heads, group = queries.shape[1], 16
    told = control(rows, keys=keys.data_ptr(), values=values.data_ptr(), capacity=capacity, start=start)
    out, arrived = torch.zeros(16, heads * width), torch.zeros(16, kv_heads, dtype=torch.int32)
    parts = (16, kv_heads, splits, group)
    attend[(16, kv_heads, splits)](
        told, queries, torch.zeros(*parts, 32), torch.zeros(parts), torch.zeros(parts), arrived, out, 0, heads, kv_heads, width, heads * width,
        window or 0, 0.3, 1.0, WINDOWED=window is not None, CAPPED=False, SPLITS=splits, SPLIT=256, DTYPE=tl.float32, BLOCK_G=group, BLOCK_D=32,
    )  # fmt: skip
    assert not arrived.any(), "the counters are left as they were"
    return out[:rows].view(rows, heads, width)


@pytest.mark.parametrize("window", [None, 40, 300])
def test_flash_decoding_over_splits_and_windows(window: int | None) -> None:
    torch.manual_seed(0)
    keys, values, queries = torch.randn(2, 600, 24), torch.randn(2, 600, 24), torch.randn(16, 6, 24)
    start, rows = 508, 6  # the rows end in two splits
    found = attention(start, rows, 4, keys, values, queries, window)
    stop = start + rows
    seen = torch.arange(stop)[None] <= torch.arange(start, stop)[:, None]
    if window is not None:
        seen &= torch.arange(stop)[None] > torch.arange(start, stop)[:, None] - window
    expected = F.scaled_dot_product_attention(
        queries[:rows].transpose(0, 1),
        keys[:, :stop].repeat_interleave(3, 0),
        values[:, :stop].repeat_interleave(3, 0),
        seen,
        scale=0.3,
    ).transpose(0, 1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_attention_is_the_same_in_any_batch_and_bucket() -> None:
    torch.manual_seed(0)
    keys, values, queries = torch.randn(1, 300, 24), torch.randn(1, 300, 24), torch.randn(16, 2, 24)
    batch = attention(255, 4, 2, keys, values, queries)
    for row in (0, 3):  # they lie on both sides of a split's end
        alone = queries.clone()
        alone[0] = queries[row]
        assert torch.equal(attention(255 + row, 1, 4, keys, values, alone)[0], batch[row])
    assert torch.equal(attention(255, 1, 1, keys, values, queries)[0], batch[0]), "one split needs no sum"


def tops(preview: Tensor, normed: Tensor | None = None, head: Tensor | None = None) -> list[TopToken]:
    rows, tokens = preview.shape
    blocks = -(-tokens // 64)
    maxima = F.pad(preview, (0, blocks * 64 - tokens), value=-1e30).view(rows, blocks, 64).amax(-1)
    counts, grid = torch.zeros(rows, BINS.value, dtype=torch.int32), (rows, -(-tokens // 1024))
    scores, results, told = torch.zeros(rows, grid[1], 4), torch.zeros(rows, 4), control(rows)
    exact, block = head is not None, 1 << (blocks - 1).bit_length()
    some = NONE if normed is None else normed
    count_candidates[grid](told, preview, maxima, counts, tokens, blocks, BLOCK_B=block)
    score_candidates[grid](
        told, preview, maxima, counts, some, NONE if head is None else head, scores, tokens, blocks, some.shape[-1], some.shape[-1], 1.0, 1.0,
        EXACT=exact, CAPPED=False, BLOCK_B=block, BLOCK_C=64,
    )  # fmt: skip
    top_rows[(rows,)](told, scores, counts, results, grid[1], BLOCK=1 << (grid[1] - 1).bit_length())
    assert not counts.any(), "the counts are zero again"
    return [TopToken(int(t), odds, margin) for t, odds, margin, _ in results.tolist()]


def assert_tops(found: Sequence[TopToken], expected: Sequence[TopToken], odds: float = 1e-4) -> None:
    assert [top.token for top in found] == [top.token for top in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.margin == pytest.approx(other.margin, abs=1e-4)
        assert one.log_odds == pytest.approx(other.log_odds, abs=odds)


def test_top_tokens_of_sharp_flat_and_equal_logits() -> None:
    torch.manual_seed(0)
    sharp = torch.randn(1500) * 4
    sharp[1200] = 40.0
    middling = torch.randn(1500) * 6
    equal = torch.zeros(1500)
    equal[[7, 1100]] = 20.0
    found, expected = tops(torch.stack((sharp, middling, equal))), top_tokens_of(torch.stack((sharp, middling, equal)))
    assert_tops(found, expected)
    assert found[2].token == 7, "the first of equals"


def test_no_more_candidates_count_than_there_may_be() -> None:
    torch.manual_seed(0)
    flat = torch.randn(1, 3000)
    within = int((flat > flat.max() - LOGIT_RANGE).sum())
    assert within > CANDIDATES
    assert_tops(tops(flat), top_tokens_of(flat), odds=0.3)  # the last bin of the range counts wholly or not at all


def test_candidates_of_a_preview_get_the_logits_of_the_heads_rows() -> None:
    torch.manual_seed(0)
    normed, head = torch.randn(2, 48), torch.randn(1200, 48)
    exact = normed @ head.T
    found = tops(exact + torch.randn_like(exact) * 0.3, normed, head)
    for one, other in zip(found, top_tokens_of(exact), strict=True):
        assert one.token == other.token and one.margin == pytest.approx(other.margin, abs=1e-4)
        assert one.log_odds == pytest.approx(other.log_odds, abs=0.05)


def test_decisions_equal_the_classifiers_and_pay_for_what_they_leave() -> None:
    generator, width = np.random.default_rng(0), 40
    made = {
        name: generator.normal(0, 0.4, shape).astype(np.float32) for name, shape in parameter_shapes(width, 2).items()
    }
    classifier = ExitClassifier((1, 2), made)
    p, hidden = classifier.parameters_for_decoder(), 64
    states = generator.normal(0, 3, (5, width)).astype(np.float32)
    read = [TopToken(5, *row) for row in generator.normal(0, 3, (5, 2)).astype(np.float32).tolist()]
    pendings, bound = [30, 55, 90, 120, 140], 0.5
    unit = states / np.sqrt(np.square(states).mean(-1, keepdims=True) + 1e-6)
    products = torch.zeros(16, hidden)
    products[:5] = torch.from_numpy(unit @ p.inner[:, :width].T)
    results = torch.zeros(16, 4)
    results[:5, 1:3] = torch.tensor([(top.log_odds, top.margin) for top in read])
    told = control(5, exit=1, pending=pendings, bound=int(np.float32(bound).view(np.int32)))
    decide_rows[(1,)](
        told, products, torch.from_numpy(np.ascontiguousarray(p.inner[:, width:].T)), torch.from_numpy(p.biases),
        torch.from_numpy(p.action[EXIT] - p.action[0]), results, float(p.action_bias[1] - p.action_bias[0]), p.pending_unit, p.log_odds_within,
        HIDDEN=hidden,
    )  # fmt: skip
    paid, expected = 0, []
    for state, pending, top in zip(states, pendings, read, strict=True):
        expected.append(classifier.exit_probability(state, pending - paid, top, 1))
        paid = paid if expected[-1] > bound else pending - 1
    assert min(expected) < bound < max(expected), "some go on, some exit"
    assert results[:5, 3].tolist() == pytest.approx(expected, abs=1e-5)
