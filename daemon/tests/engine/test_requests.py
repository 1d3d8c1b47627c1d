"""What a job holds of its document, however large that is."""

from __future__ import annotations

import asyncio
from typing import Any

from green_code.engine.requests import Job
from green_code.link.messages import CompletionParams
from tests.engine.fake_runtime import completion_params

PROMPT_TOKENS = 512
MOST = 16 * (PROMPT_TOKENS + 1000)


def held(prefix: str, **changes: Any) -> CompletionParams:
    async def params() -> CompletionParams:
        return Job(None, completion_params(prefix, **{"max_prompt_tokens": PROMPT_TOKENS, **changes})).params

    return asyncio.run(params())


def test_text_is_cut_before_it_is_tokenised() -> None:
    large = "x" * (8 << 20)
    snippets = [{"path": "a.py", "text": large}, {"path": "b.py", "text": "y = 1"}]
    params = held(large + "end", suffix="begin" + large, snippets=snippets)
    assert params["prefix"].endswith("end") and MOST // 2 <= len(params["prefix"]) <= MOST
    assert params["suffix"].startswith("begin") and len(params["suffix"]) <= MOST
    assert params["snippets"] == snippets[1:]
    assert len(held(large, max_prompt_tokens=1 << 20)["prefix"]) < 1 << 20


def test_a_usual_text_stays_whole_and_typing_does_not_move_the_cut() -> None:
    assert held("x" * MOST)["prefix"] == "x" * MOST
    text, cuts = "".join(f"line {n}\n" for n in range(20_000)), set()
    for end in range(len(text) - MOST // 2 + 2, len(text)):
        prefix = held(text[:end])["prefix"]
        assert text[:end].endswith(prefix)
        cuts.add(end - len(prefix))
        if end > len(text) - MOST // 2 + 400:
            break
    assert len(cuts) <= 2
