"""Fill-in-the-middle in a session: what holds of prompts of the form `prefix` holds of `fim` as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from sessions import EXACT, changed, complete, filling_in, tiny_runtime, undrafted
from test_resuming import SOURCE, typed_session

from green_code.decoding.kv_cache import KVCache
from green_code.decoding.propagation import PropagatingKVCache
from green_code.decoding.verifier import Decoded, Verifier
from green_code.engine.loading import Runtime


@pytest.fixture(scope="module", params=[False, True], ids=["prefix first", "suffix first"])
def runtime(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with tiny_runtime(tmp_path_factory.mktemp("tiny")) as runtime:
        yield filling_in(runtime, suffix_first=request.param)


@pytest.mark.parametrize("decoding", ["full", "exact"])
def test_a_session_gives_what_a_new_one_would(runtime: Runtime, decoding: str) -> None:
    """And drafts none of the tokens that lay the prompt out."""
    session, forms, drafted = runtime.new_session(), set[str](), 0
    for i, request in enumerate(typed_session(1, decoding)):
        params = changed(request.params, suffix="") if i % 6 == 5 else request.params
        result = complete(session, params, request.interrupted_after)
        if result["reason"] == "superseded":
            continue
        expected = undrafted(runtime, params)
        assert [result[key] for key in ("text", "token_texts", "reason")] == [
            expected[key] for key in ("text", "token_texts", "reason")
        ]
        forms.add(result["prompt"])
        drafted += sum(map(bool, result["drafts"]))
        if decoding == "exact":
            assert session.lookup is not None
            assert not {*session.lookup.document.tokens} & runtime.vocabulary.eos
    assert forms == {"fim", "prefix"} and (drafted > 0) == (decoding == "exact")


def test_a_fast_session_decodes_nothing_that_is_propagated(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    verify, propagated = Verifier.verify, 0

    def checked(self: Verifier, cache: KVCache, start: int, required: bytes, drafts: Sequence[int]) -> list[Decoded]:
        nonlocal propagated
        assert isinstance(cache, PropagatingKVCache)
        assert not any(cache.is_propagated(i) for i in range(start, len(cache)))
        propagated += cache.is_propagated(0)
        return verify(self, cache, start, required, drafts)

    monkeypatch.setattr(Verifier, "verify", checked)
    session = runtime.new_session()
    for request in typed_session(1, "fast", requests=40):
        complete(session, request.params, request.interrupted_after)
    assert propagated


def test_full_depth_saves_nothing_and_a_keystroke_runs_what_is_new(runtime: Runtime) -> None:
    session, start = runtime.new_session(), SOURCE.index("total = self.total")
    below = "\n" + SOURCE.partition("self.total + value\n")[2]
    for i in range(1, 12):
        params = changed(EXACT, decoding="full", policy="full", prefix=SOURCE[: start + i], suffix=below)
        result = complete(session, params)
        assert (result["prompt"], result["saving"]) == ("fim", pytest.approx(0, abs=1e-9))
        assert i == 1 or result["prompt_tokens"] - result["prompt_reused"] <= 3


def test_lines_of_other_files_come_first_and_stay(runtime: Runtime) -> None:
    snippets = [{"path": "other.py", "text": "def read(path):\n    return path"}]
    session, params = runtime.new_session(), changed(EXACT, policy="full", snippets=snippets, path="a.py")
    first, typed = complete(session, params), complete(session, changed(params, prefix=params["prefix"] + " + "))
    assert first["prompt_tokens"] > complete(runtime.new_session(), changed(params, snippets=[]))["prompt_tokens"] + 20
    assert typed["prompt_tokens"] - typed["prompt_reused"] <= 3
