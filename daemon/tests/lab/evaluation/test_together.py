"""Rows of one batch are completed as each alone is: the same text, tokens, depths, work and joules."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.engine.requests import completion_params
from green_code.problems import Problem
from green_code_lab.evaluation.parallel import cold
from green_code_lab.evaluation.together import complete_together
from tests.engine.sessions import tiny_runtime, with_exits
from tests.examples import examples


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with tiny_runtime(tmp_path_factory.mktemp("tiny")) as found:
        yield with_exits(found, prefill_exit=4)


def without_times(result: Any) -> dict[str, Any]:
    return {key: value for key, value in result.items() if not key.endswith("_seconds")}


requests = st.builds(
    lambda prefix, decoding, tokens, stop, policy: completion_params(
        prefix, decoding=decoding, max_tokens=tokens, single_line=False, max_lines=8, stop=stop, policy=policy
    ),
    prefix=st.text("abc(=+) \n", min_size=1, max_size=60),
    decoding=st.sampled_from(["full", "exact", "fast"]),
    tokens=st.integers(1, 9),
    stop=st.sampled_from([0.0, 0.0, 0.02]),
    policy=st.sampled_from(["agent", "confidence:0.1"]),
)


@examples(15)
@given(rows=st.lists(requests, min_size=1, max_size=6), most=st.integers(1, 4))
def test_each_row_of_a_batch_is_as_alone(runtime: Any, rows: list[Any], most: int) -> None:
    alone = [without_times(result) for result in cold(runtime)({**row} for row in rows)]
    together = [without_times(result) for result in complete_together(runtime, [{**row} for row in rows], most)]
    assert together == alone


def test_a_row_that_fails_ends_the_batch_and_hangs_nobody(runtime: Any) -> None:
    rows = [completion_params("a = 1\n", max_tokens=4) for _ in range(3)]
    bad = {**rows[1], "policy": "fixed:999"}
    with pytest.raises(Problem):
        list(complete_together(runtime, [rows[0], bad, rows[2]], 2))
