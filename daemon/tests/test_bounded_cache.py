"""The cache holds what was used last, and never more than its bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from green_code.bounded_cache import BoundedCache


@given(st.lists(st.integers(0, 40), max_size=200))
def test_results_are_the_functions_and_the_bytes_are_bounded(keys: list[int]) -> None:
    cache = BoundedCache[int, str](lambda key: "x" * key, lambda key, result: len(result), 100)
    for key in keys:
        assert cache(key) == "x" * key
        assert cache.held_bytes <= 100


def test_what_was_used_last_stays() -> None:
    calls: list[str] = []

    def twice(key: str) -> str:
        calls.append(key)
        return 2 * key

    cache = BoundedCache[str, str](twice, lambda key, result: 1, 2)
    for key in ("a", "b", "a", "c", "a", "b"):
        cache(key)
    assert calls == ["a", "b", "c", "b"]
