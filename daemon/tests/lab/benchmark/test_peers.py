"""What is kept of the cache changes nothing of what is written, and every engine writes as much as it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from green_code.decoding import stops
from green_code.engine.runtime import Runtime
from green_code.models.catalog import TINY, find_model
from green_code.models.weights import adapted_weights
from green_code.sequences import common
from green_code_lab.benchmark.checkpoints import write_transformers
from green_code_lab.benchmark.peer import Peer, Prompt
from green_code_lab.benchmark.peers import green_code, hugging_face
from green_code_lab.benchmark.prompts import Case, cases
from green_code_lab.benchmark.run import choose_rows

ASSISTANCE = {
    "greedy": {},
    "look-up": {"prompt_lookup_num_tokens": 4},
    "early-exit": {"assistant_early_exit": 2},
}


@pytest.fixture(scope="module")
def case(runtime: Runtime) -> Case:
    return next(cases(choose_rows([], 0), runtime.vocabulary, 60, 200))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peers") / "export"
    write_transformers(*adapted_weights(find_model(TINY), None), path)
    return path


def check(peer: Peer, prompts: tuple[Prompt, ...]) -> list[list[int | str]]:
    """Each prompt one after the other, and then each from the beginning: the same tokens."""
    peer.use_threads(1)
    peer.forget()
    warm = [list(peer.complete(prompt, 12)) for prompt in prompts]
    cold = []
    for prompt in prompts:
        peer.forget()
        cold.append(list(peer.complete(prompt, 12)))
    assert warm == cold and {len(tokens) for tokens in cold} == {12}
    return cold


@pytest.mark.parametrize("name", ASSISTANCE)
def test_transformers(folder: Path, case: Case, name: str) -> None:
    peer = hugging_face.open_peer(folder=str(folder), dtype="float32", assistance=ASSISTANCE[name])
    greedy = hugging_face.open_peer(folder=str(folder), dtype="float32", assistance={})
    prompts = (case.short, case.grown, case.short, case.long)
    assert check(peer, prompts) == check(greedy, prompts)
    assert "float32" in peer.describe()


def test_green_code(case: Case, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stops, "RULES", stops.RULES)
    peer = green_code.open_peer(model=TINY, decoding="full", threshold=1.0)
    told = check(peer, (case.short, case.grown, case.short, case.long))
    assert all(isinstance(token, str) for tokens in told for token in tokens)


def test_rules_are_run_and_end_nothing(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> None:
    seen: list[str] = []

    def rule(text: str, at: stops.Situation) -> int:
        seen.append(text)
        return 0

    monkeypatch.setattr(stops, "RULES", (("always", rule),))
    peer = green_code.open_peer(model=TINY, decoding="full", threshold=1.0)
    assert len(peer.complete(Prompt((), "def f():\n"), 5)) == 5
    assert len(seen) == 5


def test_common_beginning() -> None:
    assert [
        common(*pair) for pair in (([], [1]), ([1, 2], [1, 2]), ([1, 2, 3], [1, 5, 3]), ([1], [1, 2]))
    ] == [0, 2, 1, 1]
