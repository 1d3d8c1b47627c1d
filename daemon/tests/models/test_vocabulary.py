"""Vocabularies: decoding gives the encoded text back, also with a pruned vocabulary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Vocabulary, keeps_text, text_of, without_prefix

VOCABULARY = Vocabulary(*TinySource().vocabulary(None))
code_like = st.text(st.sampled_from("def return(self):\n\t =▁<>0x_'\"é日😀\r"), max_size=60)


@given(st.one_of(st.text(max_size=80), code_like))
def test_decoding_gives_the_encoded_text(text: str) -> None:
    assert VOCABULARY.decode(VOCABULARY.encode(text)) == text


@given(st.lists(code_like.map(lambda t: t.replace("\n", "")), min_size=2, max_size=4))
def test_lines_are_encoded_one_by_one(lines: list[str]) -> None:
    """An edit on the last line changes no token of the lines before."""
    before = "\n".join(lines[:-1]) + "\n"
    kept = VOCABULARY.encode(before + "x")[:-1]
    assert VOCABULARY.encode(before + "x" + lines[-1])[: len(kept)] == kept


def test_digests_of_other_vocabularies_differ() -> None:
    other = Vocabulary(*TinySource().vocabulary(range(len(VOCABULARY) - 1, -1, -1)))
    assert VOCABULARY.digest == Vocabulary(*TinySource().vocabulary(None)).digest != other.digest


def test_names_of_special_tokens_are_plain_text() -> None:
    ids = VOCABULARY.encode("<bos><eos>")
    assert VOCABULARY.bos not in ids
    assert not VOCABULARY.eos & set(ids)


@pytest.mark.parametrize("how", ["Prepend", "Metaspace"])
def test_the_space_that_a_tokenizer_puts_before_a_text_is_removed(how: str) -> None:
    """Llama 2's tokenizer and its relatives put one."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"adefnrtu(:)=1"]
    tokenizer = Tokenizer(
        models.BPE({piece: i for i, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    )
    if how == "Prepend":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    assert not keeps_text(Vocabulary(tokenizer, 1, [2]))
    vocabulary = Vocabulary(without_prefix(tokenizer), 1, [2])
    assert keeps_text(vocabulary)
    assert vocabulary.token_bytes[vocabulary.encode("def")[0]] == b"d"


@pytest.mark.parametrize("start", [b"re", b"r", b"    ", b"\xe6", b"retu"])
def test_compatible_tokens_are_those_whose_bytes_agree(start: bytes) -> None:
    compatible = VOCABULARY.tokens_compatible_with(start)
    expected = [i for i, b in enumerate(VOCABULARY.token_bytes) if b and (b.startswith(start) or start.startswith(b))]
    assert sorted(compatible) == expected
    assert [i for i in range(len(VOCABULARY.token_bytes)) if VOCABULARY.is_compatible(i, start)] == expected


@pytest.mark.parametrize(
    ("data", "text"),
    [("é".encode()[:1], ""), (b"a\xe6\x97", "a"), (b"\xff\xffabcd", "\ufffd\ufffdabcd"), ("日".encode(), "日")],
)
def test_an_incomplete_last_character_is_left_out(data: bytes, text: str) -> None:
    assert text_of(data) == text
