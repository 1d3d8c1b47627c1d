"""Tokenizers built from a GGUF file's metadata, against transformers' own and the tokenizer that the metadata was written from."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers.models.gpt2.tokenization_gpt2 import GPT2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

from green_code.models.gguf_tokenizer import _PRE_TOKENIZERS, GgufVocabulary
from green_code.models.vocabulary import Vocabulary
from tests.models.gguf_files import byte_level_fields, sentencepiece_fields
from tests.models.references import FIM

_CODE = [
    "def add(first, second):\n    return first + second  # it's 12345\n\n\nclass Größe:\n\tx = 'naïve'\r\n",
    "for (int i = 0; i < 100; i++) {\n\tsum += values[i] * 3.14159;\n}\n    \n\n        return {};\n",
]
_SPECIAL = ("<|endoftext|>", *FIM["qwen"])


@functools.cache
def trained() -> Tokenizer:
    """Merges across blanks, digits and line breaks, so that it shows how words are cut."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        _CODE * 3,
        trainers.BpeTrainer(
            vocab_size=500, initial_alphabet=alphabet, special_tokens=list(_SPECIAL), show_progress=False
        ),
    )
    return tokenizer


def read(fields: dict[str, Any]) -> GgufVocabulary:
    """Of metadata as `GgufFile` gives it."""
    return GgufVocabulary.read(
        {
            f"tokenizer.ggml.{name}": np.array(value) if name in ("token_type", "scores") else value
            for name, (value, *_) in fields.items()
        }
    )


@functools.cache
def byte_level(words: str) -> Vocabulary:
    return Vocabulary(*read(byte_level_fields(trained(), words, _SPECIAL, eos=0)).build(None))


SENTENCEPIECE = Vocabulary(*read(sentencepiece_fields()).build(None))
VOCABULARIES = {name: byte_level(name) for name in _PRE_TOKENIZERS} | {"sentencepiece": SENTENCEPIECE}
texts = st.one_of(st.text(max_size=60), st.text(st.sampled_from("aZ0 1\n\t\r.('é日ß😀▁<|>\u0301"), max_size=60))


@pytest.mark.parametrize("name", VOCABULARIES)
@given(text=texts)
def test_decoding_gives_the_encoded_text(name: str, text: str) -> None:
    assert VOCABULARIES[name].decode(VOCABULARIES[name].encode(text)) == text


@pytest.mark.parametrize(("words", "own"), [("qwen2", Qwen2Tokenizer), ("gpt-2", GPT2Tokenizer)])
def test_words_are_cut_as_transformers_does(words: str, own: Any) -> None:
    vocabulary, merges = trained().get_vocab(), byte_level_fields(trained(), words, ())["merges"][0]
    reference = own(vocab=vocabulary, merges=[tuple(merge.split(" ")) for merge in merges]).backend_tokenizer
    for line in (line for text in _CODE for line in text.splitlines()):
        assert byte_level(words).encode(line) == reference.encode(line, add_special_tokens=False).ids, line


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("gpt-2", ["x", " =", " 12345", ";"]),
        ("starcoder", ["x", " =", " ", "1", "2", "3", "4", "5", ";"]),
        ("qwen2", ["x", " =", " ", "1", "2", "3", "4", "5", ";"]),
        ("llama-bpe", ["x", " =", " ", "123", "45", ";"]),
        ("deepseek-coder", ["x", " = ", "1", "2", "3", "4", "5", ";"]),
        ("tekken", ["x", " =", " ", "1", "2", "3", "4", "5", ";"]),
    ],
)
def test_digits_are_cut_as_the_family_does(name: str, parts: list[str]) -> None:
    cut = _PRE_TOKENIZERS[name].pre_tokenizer().pre_tokenize_str("x = 12345;")
    assert [text.replace("Ġ", " ") for text, _ in cut] == parts


@pytest.mark.parametrize(
    ("changed", "start"),
    [
        ({"pre": "qwen2"}, None),
        ({"pre": "llama-bpe"}, 0),
        ({"pre": "qwen2", "add_bos_token": True}, 0),
        ({"pre": "llama-bpe", "add_bos_token": False}, None),
    ],
)
def test_a_start_token_is_put_where_the_file_or_its_kind_says(changed: dict[str, Any], start: int | None) -> None:
    fields = byte_level_fields(trained(), "qwen2", _SPECIAL, eos=0, bos=0)
    assert read(fields | {name: (value,) for name, value in changed.items()}).build(None)[1] == start
    assert read(sentencepiece_fields()).build(None)[1] == 1


def test_fill_in_the_middle_is_found_and_special_names_are_text() -> None:
    vocabulary = byte_level("qwen2")
    assert vocabulary.fim is not None
    ids = [vocabulary.fim.prefix, vocabulary.fim.suffix, vocabulary.fim.middle]
    assert ids == [trained().token_to_id(name) for name in FIM["qwen"]]
    assert not set(ids) & set(vocabulary.encode("".join(FIM["qwen"])))
    assert vocabulary.decode(vocabulary.encode("".join(FIM["qwen"]))) == "".join(FIM["qwen"])


def test_sentencepiece_merges_by_score() -> None:
    vocabulary = SENTENCEPIECE
    spelled = [vocabulary.decode([token]) for token in vocabulary.encode("    return x\n")]
    assert spelled == ["  ", " ", " return", " x", "\n"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "bert"}, "'bert'; known are: gpt2, llama"),
        ({"pre": "unheard-of"}, "'unheard-of'; known are: deepseek-coder"),
        ({"merges": ["a b c"]}, "merges"),
        ({"merges": None}, "merges is missing"),
        ({"tokens": None}, "tokens is missing"),
        ({"tokens": ["a", "a"]}, "twice"),
        ({"token_type": [1]}, "do not fit"),
        ({"eos_token_id": 10**6}, "eos_token_id is 1000000"),
    ],
)
def test_what_is_wrong_is_said(changed: dict[str, Any], said: str) -> None:
    fields = byte_level_fields(trained(), "qwen2", _SPECIAL, eos=0) | {
        name: (value,) for name, value in changed.items()
    }
    with pytest.raises(ValueError, match=said):
        read({name: value for name, value in fields.items() if value[0] is not None})
