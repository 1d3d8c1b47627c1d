"""The kernel's weight format: chosen where the kernel can serve, kept in the cache; otherwise torch's."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from green_code.decoding.kv_cache import KVCache
from green_code.decoding.propagation import PropagatingKVCache
from green_code.kernels import packing
from green_code.kernels.binding import LEVEL_VARIABLE, Kernel
from green_code.kernels.weight_format import KernelFormat, weight_formats
from green_code.models.adapters import Adapters, LinearAdapter
from green_code.models.backend import Backend
from green_code.models.catalog import TINY, find_model
from green_code.models.torch_format import TorchFormat
from green_code.models.weights import open_model
from green_code.problems import Problem
from tests.kernels.references import holding


@pytest.fixture
def best(kernels: dict[str, Kernel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KernelFormat:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))
    return KernelFormat(next(iter(kernels.values())))


def test_saved_weights_are_those_of_memory(best: KernelFormat) -> None:
    found = find_model(TINY)
    first, second = (open_model(found, None, (best, TorchFormat(torch.float32))).decoder for _ in range(2))
    weights = dict(found.open().tensors(None))
    built = _logits(best.build(first.config, weights, Adapters()))
    assert np.array_equal(_logits(first), built) and np.array_equal(_logits(second), built)


def test_a_conversion_reports_its_progress(best: KernelFormat) -> None:
    """From 0 to 1, never back, and while matrices are quantised as well as while they are read."""
    shares: list[float] = []
    open_model(find_model(TINY), None, (best,), lambda _, share: shares.append(share or 0.0))
    assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares)
    assert all(later - earlier < 0.2 for earlier, later in itertools.pairwise(shares))


def test_kept_lenses_and_kv_projections_are_those_given(best: KernelFormat, tmp_path: Path) -> None:
    """In any format; a group with one large value would not survive a second compression."""
    found = find_model(TINY).open()
    weights, width = dict(found.tensors(None)), found.config.width
    generator = np.random.default_rng(0)
    normal = generator.standard_normal
    matrix = normal((width, width), np.float32) / np.float32(width**0.5)
    matrix[:, 0] *= 20
    both = 2 * found.config.kv_heads * found.config.head_width
    projection = LinearAdapter(normal((both, width), np.float32), generator.random(width, np.float32))
    adapters = Adapters(None, {2: LinearAdapter(matrix, generator.random(width, np.float32))}, {6: projection})
    for one in (best, TorchFormat(torch.float32), TorchFormat(torch.bfloat16)):
        one.save(found.config, weights.items(), adapters, tmp_path)
        opened, built = one.open(found.config, tmp_path), one.build(found.config, weights, adapters)
        plain = one.build(found.config, weights, Adapters())
        assert np.array_equal(_logits(opened, 2), _logits(built, 2))
        assert not np.array_equal(_logits(opened, 2), _logits(plain, 2))
        kept, given, own = (_propagated_kv(decoder) for decoder in (opened, built, plain))
        assert np.array_equal(kept, given) and not np.array_equal(kept, own)


@pytest.mark.parametrize("pages", ["large", "mapped"])
def test_with_an_svd_head_the_head_is_that_of_the_file(
    best: KernelFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: str
) -> None:
    if pages == "mapped":
        monkeypatch.setattr(packing, "in_large_pages", lambda array, rows: array[:rows])
    found = find_model(TINY).open()
    weights, width = dict(found.tensors(None)), found.config.width
    directions = np.linalg.qr(np.random.default_rng(0).standard_normal((width, width))).Q[:64]
    adapters = Adapters(directions)
    best.save(found.config, weights.items(), adapters, tmp_path)
    opened, built = best.open(found.config, tmp_path), best.build(found.config, weights, adapters)
    assert "SVD head 64" in opened.build
    x = np.random.default_rng(0).standard_normal((5, width), np.float32)
    some, positions = np.array([2, 0, 9], np.int32), range(len(x))
    one, other = holding(opened, x), holding(built, x)
    assert np.array_equal(opened.logits(x), built.logits(x))
    assert opened.top_token_among(one, 0, 6, some) == built.top_token_among(other, 0, 6, some)
    assert opened.top_tokens(one, positions, 6) == built.top_tokens(other, positions, 6)
    for decoder, buffers in ((opened, one), (built, other)):
        tops = decoder.top_tokens(buffers, positions, 6)
        assert [each.token for each in tops] == decoder.logits(x).argmax(-1).tolist()
    assert np.array_equal(_propagated_kv(opened), _propagated_kv(built))


def _logits(decoder: Backend, depth: int = 6) -> np.ndarray:
    """Of a few tokens that have been through two layers, as the head reads them at `depth`."""
    cache = KVCache(decoder)
    cache.append([3, 5, 7, 11])
    cache.advance(3, 2)
    return decoder.all_logits(cache.buffers, 0, 4, depth)


def _propagated_kv(decoder: Backend) -> np.ndarray:
    """Propagated keys and values of the last layer."""
    cache = PropagatingKVCache(decoder, 4)
    cache.append([3, 5, 7, 11])
    cache.propagate_before(3)
    cache.advance(3, decoder.config.layers)
    buffers: Any = cache.buffers
    return np.concatenate(
        [torch.as_tensor(part[-1, :, :3]).flatten().float().numpy() for part in (buffers.keys, buffers.values)]
    )


def test_without_a_kernel_torch_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEVEL_VARIABLE, "off")
    assert [one.name for one in weight_formats()] in (["torch.bfloat16"], ["torch.float32"])


def test_an_unknown_level_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEVEL_VARIABLE, "abacus")
    with pytest.raises(Problem, match=r"off.*GREEN_CODE_KERNEL"):
        next(iter(weight_formats()))
