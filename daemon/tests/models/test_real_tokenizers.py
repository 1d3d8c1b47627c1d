"""The tokenizers of published models that are on this computer: no text is lost, and lines are encoded as the whole text is."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.models.catalog import find_model
from green_code.models.sources import open_vocabulary
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem

pytestmark = pytest.mark.real_model
MODELS = ["gemma-3-270m", "qwen2.5-coder-0.5b-instruct", "smollm2-135m"]


@functools.cache
def vocabulary(model: str) -> Vocabulary:
    try:
        return open_vocabulary(find_model(model).open(), None)
    except Problem as problem:
        pytest.skip(str(problem))


@pytest.mark.parametrize("model", MODELS)
@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), max_size=60))
def test_decoding_gives_the_encoded_text(model: str, text: str) -> None:
    assert vocabulary(model).decode(vocabulary(model).encode(text)) == text


@pytest.mark.parametrize("model", MODELS)
def test_lines_are_encoded_as_the_tokenizer_encodes_the_whole_text(model: str) -> None:
    text, own = Path(__file__).read_text("utf-8"), vocabulary(model)
    assert own.encode(text) == own._tokenizer.encode(text, add_special_tokens=False).ids
