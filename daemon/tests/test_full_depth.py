"""Full depth of each bundle here is its base model: the same tokens in float32, on code in ten languages."""

from __future__ import annotations

import pytest
import torch

from green_code.folders import bundles_dir
from green_code.models.bundle import MANIFEST, load_bundle
from green_code.models.catalog import find_model
from green_code.models.conversion import adapted_weights
from green_code.models.sources import open_vocabulary
from green_code.models.torch_decoder import Decoder
from green_code.models.torch_format import as_tensors
from green_code.problems import Problem
from green_code_lab.evaluation.watch import texts
from green_code_lab.lite.objective import hidden_at

pytestmark = [pytest.mark.slow, pytest.mark.real_model, pytest.mark.timeout(1200)]
BUNDLES = sorted(path.parent.name for path in bundles_dir().glob(f"*/{MANIFEST}"))


@torch.inference_mode()
def top_tokens(
    decoder: Decoder, tokens: torch.Tensor, among: torch.Tensor | None = None
) -> tuple[list[int], list[int]]:
    """(N,) the top token behind each position, and the top token among some, by its place there."""
    layers = decoder.config.layers
    logits = decoder.logits(hidden_at(decoder, tokens[None], (layers,))[layers])[0]
    return logits.argmax(-1).tolist(), (logits if among is None else logits[:, among]).argmax(-1).tolist()


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
    served = Decoder.load(*adapted_weights(found, bundle))
    kept = torch.tensor(ids) if ids else torch.arange(source.config.vocabulary)
    others = positions = 0
    for language, text in texts():
        start = [] if vocabulary.bos is None else [vocabulary.bos]
        tokens = torch.tensor([*start, *vocabulary.encode(text)])
        theirs, among = top_tokens(base, kept[tokens], kept)
        assert top_tokens(served, tokens)[0] == among, language
        others += sum(kept[place] != token for place, token in zip(among, theirs, strict=True))
        positions += len(tokens)
    print(f"{name}: {others} of {positions} positions ({others / positions:.1%}) have a top token that is not kept")
    assert positions > 2_000
