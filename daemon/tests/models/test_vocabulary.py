"""Vocabularies: decoding gives the encoded text back, also with a pruned vocabulary."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Vocabulary, compact, lossless, start_token, text_of
from green_code.problems import Problem

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
    vocabulary = Vocabulary(lossless(tokenizer), 1, [2])
    assert vocabulary.decode(vocabulary.encode("a\n  a\n")) == "a\n  a\n"
    assert vocabulary.token_bytes[vocabulary.encode("def")[0]] == b"d"


def byte_level(special: Sequence[str] = (), text: Sequence[str] = (), words: str | None = None) -> Tokenizer:
    """A byte-level tokenizer with Qwen's normaliser, and tokens of its own: special ones, and others. None: GPT-2's words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["re", "Ġ" * 2, "Ġ" * 4, "ret", "Ċ" * 2, "Ãī", "ĊĠĠ"]
    tokenizer = Tokenizer(
        models.BPE(
            {piece: i for i, piece in enumerate([*alphabet, *pieces])},
            [("r", "e"), ("Ġ", "Ġ"), ("ĠĠ", "ĠĠ"), ("re", "t"), ("Ċ", "Ċ"), ("Ã", "ī"), ("Ċ", "ĠĠ")],
        )
    )
    tokenizer.normalizer = normalizers.NFC()
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=words is None)
    split = [] if words is None else [pre_tokenizers.Split(Regex(words), behavior="isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, to_bytes])
    tokenizer.add_special_tokens(list(special))
    tokenizer.add_tokens([AddedToken(t, lstrip=True, rstrip=True, single_word=True, normalized=False) for t in text])
    return tokenizer


QWEN = ["<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|repo_name|>", "<|file_sep|>"]
QWEN_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LIKE_QWEN = Vocabulary(lossless(byte_level(["<|endoftext|>"], [*QWEN, "<tool_call>", "   "], QWEN_WORDS)), None, [])
LIKE_GPT2 = Vocabulary(lossless(byte_level(["<|endoftext|>"])), None, [])


@pytest.mark.parametrize("vocabulary", [LIKE_QWEN, LIKE_GPT2])
@given(text=st.one_of(st.text(max_size=80), code_like, st.text(st.sampled_from("<tool_call> e\u0301\u0323\u212b\n"))))
def test_byte_level_decoding_gives_the_encoded_text(vocabulary: Vocabulary, text: str) -> None:
    """Also where the checkpoint's own normaliser would compose accents, and beside tokens that swallow blanks."""
    assert vocabulary.decode(vocabulary.encode(text)) == text


@pytest.mark.parametrize("vocabulary", [LIKE_QWEN, LIKE_GPT2])
@given(lines=st.lists(code_like.map(lambda t: t.replace("\n", "")), min_size=2, max_size=4), more=code_like)
def test_byte_level_lines_are_encoded_one_by_one(vocabulary: Vocabulary, lines: list[str], more: str) -> None:
    before = "\n".join(lines) + "x"
    kept = vocabulary.encode(before)
    assert vocabulary.encode(before + "\n" + more)[: len(kept)] == kept


@given(
    st.lists(st.sampled_from(["def f(x):", "return x", "    y = 1", "\tz", "        # …", "s = 'it''s'", "x +=  2;"]))
)
def test_lines_are_encoded_as_the_tokenizer_encodes_the_whole_text(lines: list[str]) -> None:
    """Where GPT-2's expression cuts words, a line break and the indentation behind it are one."""
    text = "\n".join(lines)
    assert LIKE_GPT2.encode(text) == LIKE_GPT2._tokenizer.encode(text, add_special_tokens=False).ids
    assert LIKE_QWEN.encode(text) == LIKE_QWEN._tokenizer.encode(text, add_special_tokens=False).ids


def test_text_never_becomes_a_special_token_which_decodes_to_nothing_and_ends_a_completion() -> None:
    special = [LIKE_QWEN._tokenizer.token_to_id(name) for name in ["<|endoftext|>", *QWEN]]
    text = "".join(QWEN) + "<|endoftext|><tool_call>"
    assert not set(special) & set(LIKE_QWEN.encode(text))
    assert LIKE_QWEN.decode(LIKE_QWEN.encode(text)) == text
    assert LIKE_QWEN.decode(special) == ""
    assert set(special) <= LIKE_QWEN.eos


@pytest.mark.parametrize(
    "normaliser", [normalizers.Lowercase(), normalizers.NFKC(), normalizers.Strip(), normalizers.NFD()]
)
def test_a_tokenizer_that_changes_text_is_refused(normaliser: normalizers.Normalizer) -> None:
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normaliser])
    with pytest.raises(Problem, match="not supported"):
        lossless(tokenizer)


@pytest.mark.parametrize("pieces", [["ab", "abc"], ["a ", "a b"]])
def test_the_compact_file_is_the_same_tokenizer(pieces: list[str]) -> None:
    """Also where a piece has a space, which merges as text cannot say."""
    tokenizer = Tokenizer(
        models.BPE({piece: i for i, piece in enumerate([*"abc ", *pieces])}, [(p[:-1], p[-1]) for p in pieces])
    )
    read = Tokenizer.from_str(compact(tokenizer))
    assert read.to_str() == tokenizer.to_str()
    assert read.encode("".join(pieces)).ids == [4, 5]


def test_a_tokenizer_without_all_bytes_is_refused() -> None:
    with pytest.raises(Problem, match="single bytes"):
        lossless(Tokenizer(models.BPE({"a": 0, "b": 1}, [])))


def test_the_start_token_is_the_one_that_the_tokenizer_puts() -> None:
    tokenizer = byte_level(["<s>", "</s>"])
    start, end = tokenizer.token_to_id("<s>"), tokenizer.token_to_id("</s>")
    assert start_token(tokenizer) is None
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    assert start_token(tokenizer) is None
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", start), ("</s>", end)]
    )
    assert start_token(tokenizer) == start


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


def test_the_lines_whose_tokens_are_held_have_few_bytes() -> None:
    vocabulary = Vocabulary(*TinySource().vocabulary(None))
    for n in range(12):
        vocabulary.encode(f"{n}" + "😀" * 50_000)  # four tokens each
    held = vocabulary._encode_line
    assert 0 < held.held_bytes <= 8 << 20


_ENCODE = """
import random, sys
import psutil
from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Vocabulary
vocabulary, numbers = Vocabulary(*TinySource().vocabulary(None)), random.Random(0)
words = ("value", " = ", "return ", "(", ")", "self.", "for x in ", ", ", "if ")
before = psutil.Process().memory_info().rss
for _ in range(12_000):
    vocabulary.encode("".join(numbers.choice(words) for _ in range(numbers.randrange(20, 40))))
print(psutil.Process().memory_info().rss - before - vocabulary._encode_line.held_bytes)
"""


def test_nothing_else_holds_lines_and_their_tokens() -> None:
    """In a process of its own, whose memory only encoding changes."""
    done = subprocess.run([sys.executable, "-c", _ENCODE], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 4 << 20
