"""The default model: transformers' logits with the same weights, and exact decoding on real prompts, in float32."""

from __future__ import annotations

import itertools
import math
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from green_code.decoding.drafter import Drafter
from green_code.decoding.exit_policies import Fixed, Full, Policy
from green_code.decoding.healing import Chooser
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import PriceBook
from green_code.decoding.speculative import decode
from green_code.decoding.verifier import Verifier
from green_code.folders import bundles_dir
from green_code.models.bundle import Bundle, load_bundle
from green_code.models.catalog import DEFAULT, find_model
from green_code.models.torch_decoder import Decoder
from green_code.models.torch_format import TorchFormat
from green_code.models.weights import Model, open_model
from green_code.work import Prices

pytestmark = [pytest.mark.real_model, pytest.mark.timeout(1200)]
CONTEXT, NEW_TOKENS = 32, 6


@pytest.fixture(scope="module", autouse=True)
def all_cores() -> Iterator[None]:
    """A runtime that earlier tests loaded has set torch to one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(bundles_dir() / DEFAULT)


@pytest.fixture(scope="module")
def model(bundle: Bundle) -> Model:
    return open_model(find_model(DEFAULT), bundle, (TorchFormat(torch.float32),))


@pytest.fixture(scope="module")
def reference(model: Model) -> Gemma3ForCausalLM:
    """transformers' Gemma 3 with the same weights; ours are fused, and split for it."""
    config = model.decoder.config
    hugging_face = Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=config.vocabulary, hidden_size=config.width, intermediate_size=config.mlp_width, num_hidden_layers=config.layers,
            num_attention_heads=config.heads, num_key_value_heads=config.kv_heads, head_dim=config.head_width,
            sliding_window=512, query_pre_attn_scalar=256, max_position_embeddings=config.max_positions,
        )
    ).eval()  # fmt: skip
    assert isinstance(model.decoder, Decoder)
    ours, theirs = model.decoder.state_dict(), hugging_face.state_dict()
    row = config.row
    for name, parts in row.names.items():
        for layer in range(config.layers if "{}" in name else 1):
            if name == "head":
                continue
            fused = ours[f"{name.format(layer)}.weight"]
            keys = [f"{part.format(layer)}.weight" for part in parts]
            for key, weight in zip(keys, fused.split([theirs[key].shape[0] for key in keys]), strict=True):
                theirs[key].copy_(weight - (row.stored_gain_offset if "norm" in name else 0.0))
    return hugging_face


def prompts(model: Model) -> Iterator[list[int]]:
    """The middles of source files of this interpreter's standard library."""
    library = Path(sysconfig.get_path("stdlib"))
    folders = (".", "asyncio", "email", "importlib", "json", "unittest", "xml/dom")
    for path in itertools.chain.from_iterable(sorted((library / folder).glob("*.py")) for folder in folders):
        tokens = model.vocabulary.encode(path.read_text("utf-8", errors="ignore"))
        if len(tokens) > 400:
            start = len(tokens) // 2
            yield [model.vocabulary.bos or 0, *tokens[start : start + CONTEXT]]


def exact_tokens(model: Model, prompt: list[int], policy: Policy, count: int) -> list[int]:
    """Tokens of `exact`; the exits of a policy draft, whatever it costs."""
    cache, chooser, layers = KVCache(model.decoder), Chooser(model.vocabulary), model.decoder.config.layers
    cache.append(prompt)
    drafter = Drafter(PriceBook(Prices(layer_batch=1.0), layers, math.inf), None, policy, chooser)
    tokens = decode(cache, drafter, Verifier(Full(), chooser))
    with torch.inference_mode():
        return [each.token for each in itertools.islice(tokens, count)]


def test_logits_are_those_of_transformers(model: Model, reference: Gemma3ForCausalLM) -> None:
    """Also beyond the sliding window of 512."""
    long = [t for prompt in itertools.islice(prompts(model), 15) for t in prompt][:700]
    tokens = torch.tensor([long])
    with torch.no_grad():
        expected = reference(tokens).logits[0]
    cache = KVCache(model.decoder)
    cache.append(long)
    cache.advance(len(long) - 1, model.decoder.config.layers)
    got = model.decoder.all_logits(cache.buffers, 0, len(long), model.decoder.config.layers)
    torch.testing.assert_close(
        torch.from_numpy(got), expected, atol=5e-3, rtol=1e-3
    )  # logits up to 40, float32, 18 layers
    assert (got.argmax(-1) == expected.argmax(-1)).float().mean() > 0.998


def test_full_depth_gives_the_tokens_of_transformers(model: Model, reference: Gemma3ForCausalLM) -> None:
    for prompt in itertools.islice(prompts(model), 4):
        ids = torch.tensor([prompt])
        expected = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert exact_tokens(model, prompt, Full(), NEW_TOKENS) == expected[0, len(prompt) :].tolist()


@pytest.mark.parametrize("count", [16, pytest.param(200, marks=pytest.mark.slow)])
def test_exact_gives_the_tokens_of_full_depth(model: Model, bundle: Bundle, count: int) -> None:
    """Each of the bundle's exits drafts in turn: correct and wrong drafts both occur often."""
    different = []
    checked = 0
    for prompt, exit in zip(itertools.islice(prompts(model), count), itertools.cycle(bundle.exits)):
        full = exact_tokens(model, prompt, Full(), NEW_TOKENS)
        checked += 1
        if exact_tokens(model, prompt, Fixed((exit,)), NEW_TOKENS) != full:
            different.append((prompt, exit))
    assert checked == count
    assert not different


def test_the_vocabulary_covers_code_and_changes_no_text(model: Model) -> None:
    """Over the top level of the standard library; tokens of single bytes are rare."""
    library = Path(sysconfig.get_path("stdlib"))
    total = byte_tokens = 0
    for path in sorted(library.glob("*.py")):
        text = path.read_text("utf-8", errors="ignore")
        ids = model.vocabulary.encode(text)
        assert model.vocabulary.decode(ids) == text
        total += len(ids)
        byte_tokens += sum(
            len(model.vocabulary.token_bytes[i]) == 1 and model.vocabulary.token_bytes[i][0] > 127 for i in ids
        )
    assert byte_tokens / total < 0.002
