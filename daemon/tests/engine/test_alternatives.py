"""Alternatives on request: distinct texts that begin differently, decoded like the first, and paid for; and who drafted a token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sessions import EXACT, PRICES, changed, complete, healed, tiny_runtime, with_exits

from green_code.engine.loading import Runtime
from green_code.link.messages import CompletionParams, Decoding

PREFIXES = (
    "total = first + second\nvalue = first + second\nx = first",
    "def add(a, b):\n    c = a +",
    "for i in",
    "x = (",
    "abc = self.val",
)
MODES: dict[Decoding, str] = {"full": "full", "exact": "fixed:4", "fast": "confidence:0.05"}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with tiny_runtime(tmp_path_factory.mktemp("tiny")) as runtime:
        yield with_exits(runtime)


def asked(prefix: str, decoding: Decoding, alternatives: int) -> CompletionParams:
    return changed(
        EXACT, prefix=prefix, decoding=decoding, policy=MODES[decoding], alternatives=alternatives, max_tokens=8
    )


@pytest.mark.parametrize("decoding", MODES)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_alternatives_begin_otherwise_and_change_nothing_else(
    runtime: Runtime, prefix: str, decoding: Decoding
) -> None:
    alone = complete(runtime.new_session(), asked(prefix, decoding, 0))
    result = complete(runtime.new_session(), asked(prefix, decoding, 2))
    for name in ("text", "token_texts", "exits", "drafts", "passes", "reason", "confidence"):
        assert result[name] == alone[name]  # type: ignore[literal-required]
    texts = [result["text"], *result["alternatives"]]
    assert len(set(texts)) == len(texts) <= 3 and all(text.strip() for text in result["alternatives"])
    assert alone["alternatives"] == []
    if result["alternatives"]:
        assert result["energy_joules"] > alone["energy_joules"]
        assert result["energy_full_joules"] > alone["energy_full_joules"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_alternatives_of_exact_are_those_of_full_depth_which_saves_nothing(runtime: Runtime, prefix: str) -> None:
    full = complete(runtime.new_session(), asked(prefix, "full", 2))
    assert complete(runtime.new_session(), asked(prefix, "exact", 2))["alternatives"] == full["alternatives"]
    assert full["saving"] == pytest.approx(0)
    session = runtime.new_session()
    result = complete(session, asked(prefix, "full", 2))
    assert result["energy_joules"] == pytest.approx(PRICES.of(session.work))


@pytest.mark.parametrize("decoding", MODES)
def test_after_alternatives_a_session_gives_what_a_new_one_does(runtime: Runtime, decoding: Decoding) -> None:
    session = runtime.new_session()
    for prefix in PREFIXES[:2]:
        first = complete(session, asked(prefix, decoding, 2))
        for following in (prefix, prefix + first["text"][:2], prefix + (first["alternatives"] or [""])[0]):
            result = complete(session, asked(following, "exact", 0))
            assert result["token_texts"] == complete(runtime.new_session(), asked(following, "full", 0))["token_texts"]


def test_an_interruption_among_alternatives_books_no_loss(runtime: Runtime) -> None:
    params, ended = asked(PREFIXES[0], "full", 2), 0
    for polls in range(4, 200, 7):
        session = runtime.new_session()
        result = complete(session, params, interrupted_after=polls)
        if result["reason"] != "superseded":
            break
        assert result["alternatives"] == [] and result["saving"] == pytest.approx(0, abs=1e-9)
        again = complete(session, params)
        assert again["text"] == complete(runtime.new_session(), params)["text"]
        ended += 1
    assert ended


def test_who_drafted_a_token_and_in_how_many_passes(runtime: Runtime) -> None:
    full = complete(runtime.new_session(), asked(EXACT["prefix"], "full", 0))
    assert full["drafts"] == [""] * full["tokens"] and full["passes"] >= full["tokens"]
    session, params = runtime.new_session(), changed(EXACT, policy="fixed:4")
    complete(session, params)
    prompt, _ = healed(session, params)
    assert prompt
    session._cache.truncate(len(prompt) - 1)  # so that nothing is resumed, and the text is known
    again = complete(session, params)
    assert len(again["drafts"]) == again["tokens"]
    drafted = [draft for draft in again["drafts"] if draft]
    assert "prompt_lookup" in drafted and set(drafted) <= {"prompt_lookup", "exit"}
    assert again["passes"] < full["passes"] or again["passes"] < again["tokens"]
    assert again["passes"] + len(drafted) >= again["tokens"]
