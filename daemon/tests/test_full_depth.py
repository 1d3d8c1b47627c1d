"""Full depth of each bundle here is its base model: the same tokens in float32, and nearly the same as the kernel serves it, on lines
of code in ten languages."""

from __future__ import annotations

import pytest
import torch

from green_code.decoding.kv_cache import KVCache
from green_code.engine.loading import load_runtime
from green_code.folders import bundles_dir
from green_code.models.backend import Backend
from green_code.models.bundle import MANIFEST, load_bundle
from green_code.models.catalog import find_model
from green_code.models.conversion import adapted_weights
from green_code.models.sources import open_vocabulary
from green_code.models.torch_decoder import Decoder
from green_code.models.torch_format import as_tensors
from green_code.problems import Problem
from green_code_lab.evaluation.watch import texts
from green_code_lab.experiments.functions import functions
from green_code_lab.lite.objective import hidden_at

pytestmark = [pytest.mark.slow, pytest.mark.real_model, pytest.mark.timeout(1200)]
_AT_ONCE = 64  # positions of which the kernel is asked for the top token
_SAME = 0.96
"""Of the kernel's top tokens, at least: weights, states and keys of 8 bits move tokens that are nearly tied. The cards have the shares."""
BUNDLES = sorted(path.parent.name for path in bundles_dir().glob(f"*/{MANIFEST}"))


@torch.inference_mode()
def top_tokens(
    decoder: Decoder, tokens: torch.Tensor, among: torch.Tensor | None = None
) -> tuple[list[int], list[int]]:
    """(N,) the top token behind each position, and the top token among some, by its place there."""
    layers = decoder.config.layers
    logits = decoder.logits(hidden_at(decoder, tokens[None], (layers,))[layers])[0]
    return logits.argmax(-1).tolist(), (logits if among is None else logits[:, among]).argmax(-1).tolist()


def served_tokens(decoder: Backend, tokens: list[int]) -> list[int]:
    """(N,) the top token behind each position, as the kernel and its SVD head give it."""
    cache, layers, found = KVCache(decoder), decoder.config.layers, list[int]()
    cache.append(tokens)
    cache.advance(len(tokens) - 1, layers)
    for first in range(0, len(tokens), _AT_ONCE):
        some = range(first, min(first + _AT_ONCE, len(tokens)))
        found += [top.token for top in cache.top_tokens(some, layers)]
    return found


def code() -> list[tuple[str, str]]:
    """(language, text), in no corpus."""
    return [*texts(), *(("python", function.header + function.assertions) for function in functions())]


@pytest.mark.parametrize("name", BUNDLES)
def test_full_depth_is_the_base_models(name: str) -> None:
    """Where a bundle keeps only some tokens, the top token among them; the share of positions with another one is printed."""
    bundle = load_bundle(bundles_dir() / name)
    try:
        found = find_model(name)
    except Problem as problem:
        pytest.skip(str(problem))
    source, ids = found.open(), bundle.vocabulary
    vocabulary = open_vocabulary(source, ids)
    base = Decoder.load(source.config, as_tensors(dict(source.tensors(None))))
    float32, kernel = Decoder.load(*adapted_weights(found, bundle)), load_runtime(name).decoder
    kept = torch.tensor(ids) if ids else torch.arange(source.config.vocabulary)
    lines = positions = others = same = 0
    for language, text in code():
        start = [] if vocabulary.bos is None else [vocabulary.bos]
        tokens = [*start, *vocabulary.encode(text)]
        theirs, among = top_tokens(base, kept[torch.tensor(tokens)], kept)
        assert top_tokens(float32, torch.tensor(tokens))[0] == among, language
        same += sum(one == other for one, other in zip(served_tokens(kernel, tokens), among, strict=True))
        others += sum(kept[place] != token for place, token in zip(among, theirs, strict=True))
        lines, positions = lines + len(text.splitlines()), positions + len(tokens)
    print(
        f"{name}, {positions:,} positions of {lines} lines: all top tokens among the kept ones are the base model's in float32,"
    )
    print(
        f"  {same / positions:.2%} as the kernel computes; {others / positions:.2%} of the base model's own are not kept"
    )
    assert lines >= 400
    assert same >= _SAME * positions
