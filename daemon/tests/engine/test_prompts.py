"""Prompts of both forms: laid out as the models were trained, and such that the KV cache stays while somebody types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from green_code.decoding.stop_rules import Situation
from green_code.engine.prompts import SUFFIX_TOKENS, Prompt, PromptLayout, layout_of, prompt_of
from green_code.engine.requests import completion_params
from green_code.models.fim import Fim
from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Vocabulary
from green_code.sequences import common
from tests.models.references import byte_level_tokenizer

VOCABULARY = Vocabulary(*TinySource().vocabulary(None))
NAMES = {1000: "<P>", 1001: "<S>", 1002: "<M>", 1003: "<F>", 1004: "<R>", VOCABULARY.bos: "<bos>"}
QWEN = Fim(1000, 1001, 1002, file=1003, repository=1004)
VOCABULARY.token_bytes += [b""] * (1005 - len(VOCABULARY))
LAYOUT = PromptLayout("fim", QWEN)
SNIPPETS = [{"path": "b.py", "text": "B = 2"}, {"path": "c.py", "text": "C = 3"}]
LINES = [f"value_{i} = compute({i}, {i})" for i in range(60)]


def read(prefix: str, suffix: str, layout: PromptLayout = LAYOUT, **changes: Any) -> Prompt:
    params = completion_params(prefix, suffix=suffix, **{"max_prompt_tokens": 512, **changes})
    return prompt_of(params, Situation.at(prefix, suffix, True, 1, "python"), VOCABULARY, layout, 4096)


def spelled(tokens: list[int]) -> str:
    return "".join(NAMES.get(token) or VOCABULARY.decode([token]) for token in tokens)


@pytest.mark.parametrize(
    ("fim", "expected"),
    [
        # arXiv 2409.12186, figure 3 (Qwen2.5-Coder); arXiv 2402.19173, section 5.1 (StarCoder 2); Mellum's model card
        (QWEN, "<bos><R>repository\n<F>b.py\nB = 2\n<F>c.py\nC = 3\n<F>a.py\n<P>x = 1\n<S>()\nz = 3<M>y = "),
        (
            Fim(1000, 1001, 1002, file=1003, path_in_prefix=True),
            "<bos><F>b.py\nB = 2\n<F>c.py\nC = 3\n<F><P>a.py\nx = 1\n<S>()\nz = 3<M>y = ",
        ),
        (
            Fim(1000, 1001, 1002, suffix_first=True, file=1003),
            "<bos><F>b.py\nB = 2\n<F>c.py\nC = 3\n<F>a.py\n<S>()\nz = 3<P>x = 1\n<M>y = ",
        ),
        (Fim(1000, 1001, None, suffix_first=True), "<bos><S>()\nz = 3<P>x = 1\ny = "),
    ],
)  # fmt: skip
def test_a_prompt_is_as_the_model_was_trained(fim: Fim, expected: str) -> None:
    prompt = read("x = 1\ny = ", "()\nz = 3", PromptLayout("fim", fim), path="a.py", snippets=SNIPPETS)
    assert spelled(prompt.tokens) + prompt.required.decode() == expected
    assert spelled(prompt.text) + prompt.required.decode() == "<bos>x = 1\ny = "


def positions(line: str) -> Iterator[tuple[str, str]]:
    above, below = "\n".join(LINES[:30]) + "\n", "\n" + "\n".join(LINES[31:])
    yield from ((above + line[:i], below) for i in range(len(line) + 1))


def test_typing_within_a_line_only_appends() -> None:
    """But for the token that touches the cursor, which is taken back (token healing)."""
    before = read(*next(positions(LINES[30])))
    laid_out = len(before.tokens)
    assert before.tokens[-1] == QWEN.middle
    for place in positions(LINES[30]):
        prompt = read(*place)
        assert common(prompt.tokens, before.tokens) >= laid_out
        assert len(prompt.tokens) - common(prompt.tokens, before.tokens) <= 2
        before = prompt


def test_the_text_behind_the_cursor_is_cut_at_whole_lines_near_it() -> None:
    prefix, suffix = list(positions(LINES[30]))[8]
    prompt = read(prefix, suffix)
    seen = spelled(prompt.tokens).partition("<S>")[2].partition("<M>")[0]
    assert suffix.startswith(seen) and suffix[len(seen)] == "\n"
    assert SUFFIX_TOKENS // 2 < len(VOCABULARY.encode(seen)) <= SUFFIX_TOKENS
    assert read(prefix, suffix.replace("59", "other") + "\nmore = 1").tokens == prompt.tokens
    assert read(prefix, ")" + suffix).tokens == prompt.tokens  # the editor has closed a bracket that was typed
    assert read(prefix, " + 1" + suffix).tokens != prompt.tokens


@pytest.mark.parametrize("limit", [16, 64, 200])
@pytest.mark.parametrize("suffix", ["\n" + "\n".join(LINES), "x" * 5000, "\n" * 5000])
def test_a_prompt_keeps_its_limit(suffix: str, limit: int) -> None:
    """But for the start token and those that lay it out."""
    for prefix in ("\n".join(LINES), "x" * 3000):
        prompt = read(prefix, suffix, max_prompt_tokens=limit, snippets=SNIPPETS * 4, path="a/b.py")
        assert limit // 4 <= len(prompt.tokens) <= limit + 4
        assert prompt.earlier + prompt.text[1:] == VOCABULARY.encode(prefix)[: len(prompt.earlier + prompt.text) - 1]


def test_a_long_path_or_snippet_takes_no_more_than_its_share() -> None:
    long = {"path": "d.py", "text": "x" * 1_000_000}
    prompt = read("x = 1\ny = ", "\nz = 3", max_prompt_tokens=200, path="a/" * 30_000, snippets=[*SNIPPETS, long])
    assert len(prompt.tokens) <= 204
    seen = spelled(read("x = 1\ny = ", "\nz = 3", max_prompt_tokens=400, snippets=[*SNIPPETS, long]).tokens)
    assert "c.py" in seen and "d.py" not in seen


def test_a_prompt_of_the_prefix_alone_has_the_tokens_of_its_text() -> None:
    """Though GPT-2's tokens of a line's indentation have the line break before it."""
    vocabulary = Vocabulary(byte_level_tokenizer("starcoder").backend_tokenizer, None, [])
    prefix = "def add(first, second):\n    return first + second"
    whole = vocabulary.encode(prefix)
    assert b"\n  " in {vocabulary.token_bytes[token][:3] for token in whole}
    params = completion_params(prefix, suffix="\n\nmore = 1\n")
    situation = Situation.at(prefix, params["suffix"], True, 1, "python")
    prompt = prompt_of(params, situation, vocabulary, PromptLayout("prefix", vocabulary.fim), 4096)
    assert prompt.tokens == whole[:-1]


def test_a_line_that_is_not_read_whole_is_left_out() -> None:
    suffix = "\nz = 3\n" + " " * 100_000 + "+ 1"
    assert read("x = 1\ny = ", suffix).tokens == read("x = 1\ny = ", "\nz = 3").tokens


@pytest.mark.parametrize(
    ("suffix", "form"), [("", "prefix"), ("\n\n  \n", "prefix"), (")\n", "prefix"), ("\ny", "fim")]
)
def test_nothing_behind_the_cursor_is_nothing_to_fill_in(suffix: str, form: str) -> None:
    prompt = read("x = 1\ny = f(", suffix)
    assert prompt.form == form
    assert (QWEN.middle in prompt.tokens) == (form == "fim")


def test_the_form_is_what_was_measured_else_what_the_model_was_made_for() -> None:
    assert layout_of("Qwen2.5-Coder-0.5B", QWEN, None).form == "fim"
    assert layout_of("qwen2.5-coder-0.5b-instruct", QWEN, None).form == "prefix"
    assert layout_of("/models/gemma-2b-it.Q4_K_M.gguf", QWEN, None).form == "prefix"
    assert layout_of("qwen2.5-coder-0.5b-instruct", QWEN, "fim").form == "fim"
    assert layout_of("mellum-4b", None, "fim").form == "prefix"
    assert layout_of("starcoder2-3b", QWEN, "prefix").form == "prefix"
