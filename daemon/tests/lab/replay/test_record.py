"""Records and service on `tiny-random`: both give what the engine's own session gives."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from green_code.decoding.exit_classifier import unit_rms
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.stop_network import StopNetwork, token_features
from green_code.decoding.stopping import StopView
from green_code.engine.loading import Runtime
from green_code.engine.requests import completion_params
from green_code.engine.session import Session
from green_code.lsp.gate_features import NAMES
from green_code.lsp.prompt import PromptWindow
from green_code.models.bundle import DELTA, LENSES, write_manifest
from green_code.problems import Problem
from green_code.sequences import common
from green_code.settings import PROMPT_TOKENS, STOPS
from green_code_lab.agent.stops import token_inputs
from green_code_lab.replay import policies, record, service
from green_code_lab.replay.environment import Refuses, Replayer
from green_code_lab.replay.records import MAX_LINES, MAX_TOKENS, REASONS, Records, read_records
from green_code_lab.replay.service import Arm, serve_span
from green_code_lab.replay.spans import Span
from tests.decoding.networks import stop_network
from tests.engine.sessions import PRICES, healed, tiny_runtime

SPANS = [
    Span(
        "p",
        "python",
        "import os\n\n\ndef size(path):\n",
        "    total = os.stat(path)\n    return total",
        "\n\nsize(1)\n",
    ),
    Span("q", "java", "class A {\n", "  int b = c(0);", ""),
]
FLOOR = 1e-9  # the tiny model is sure of nothing


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with tiny_runtime(tmp_path_factory.mktemp("tiny")) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def records(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Records:
    path = tmp_path_factory.mktemp("records") / "00000.npz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "FLOOR", FLOOR)
        patch.setattr(record, "LINE_FLOOR", FLOOR)
        record.record_spans(runtime, SPANS, path, "tiny")
    return read_records(path.parent, "tiny")


def complete(runtime: Runtime, span: Span, cursor: int, **changes: Any) -> Any:
    prompt = PromptWindow().prompt(*span.document_at(cursor), PROMPT_TOKENS)
    params = completion_params(
        prompt.prefix, suffix=prompt.suffix, language=span.language, model=runtime.model, decoding="full",
        single_line=False, max_lines=MAX_LINES, max_tokens=MAX_TOKENS, max_prompt_tokens=PROMPT_TOKENS, **changes,
    )  # fmt: skip
    return runtime.new_session().complete(params, lambda: None, math.inf)


def test_texts_are_the_engines_up_to_the_floor(runtime: Runtime, records: Records) -> None:
    replayer, reasons = Replayer(records, runtime.vocabulary, PRICES, runtime.layers_total), set[str]()
    assert len(records) == sum(len(span.cursors) for span in SPANS)
    for i, (span, cursor) in enumerate(zip(records.span.tolist(), records.cursor.tolist(), strict=True)):
        result, reason = complete(runtime, SPANS[span], cursor), REASONS[records.reasons[i]]
        text = replayer.texts[i][: records.final_characters[i]]
        reasons.add(reason)
        tokens = records.tokens[records.starts[i] : records.starts[i + 1]].tolist()
        assert result["token_texts"][: len(tokens)] == [runtime.vocabulary.decode([token]) for token in tokens]
        if reason not in ("floor", "line_floor"):
            assert (result["text"], result["reason"]) in ((text, reason), ("", "empty"))
        assert records.prompt[i] == result["prompt_tokens"]
    assert "floor" in reasons


@pytest.mark.parametrize("stop", [1e-6, 1e-3])
def test_the_running_product_shows_what_the_engine_shows(runtime: Runtime, records: Records, stop: float) -> None:
    replayer = Replayer(records, runtime.vocabulary, PRICES, runtime.layers_total)
    shown, compared = policies.shown_by(replayer, policies.running_product(records), stop), list[str]()
    for i, (span, cursor) in enumerate(zip(records.span.tolist(), records.cursor.tolist(), strict=True)):
        if replayer.texts[i].isascii():  # else a token may be a part of a character
            compared.append(shown.texts[i])
            assert complete(runtime, SPANS[span], cursor, stop=stop)["text"] == shown.texts[i]
    assert any(compared)


@dataclass
class Told:
    """Refuses at one position and depth."""

    at: int | None
    depth: int
    depths: tuple[int, ...] = (2, 3)
    threshold: float = 1e-6

    @property
    def refusal(self) -> Any:
        return self

    def refuses(self, cache: KVCache, position: int, depth: int) -> bool:
        return (position, depth) == (self.at, self.depth)

    def right(self, cache: KVCache, view: StopView) -> float:
        return view.product


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_replay_from_records_costs_what_the_engine_spends(
    runtime: Runtime, records: Records, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """At full depth, where nothing is cancelled. The tiny model seldom spells again as the prompt is encoded, and may give parts of
    characters; both are left out, and so are
    decisions."""
    replayer, chance = (
        Replayer(records, runtime.vocabulary, replace(PRICES, decision=0.0), runtime.layers_total),
        random.Random(0),
    )
    shown = policies.shown_by(replayer, policies.running_product(records), Told.threshold)
    engine = service._FromEngine(runtime, SPANS[0], Arm("full", "full", "full", stop=Told.threshold))
    told, pairs, refused = list[int](), list[tuple[float, float]](), 0  # the depth, or 0
    replay = replayer.suggester(0, shown, Refuses((2, 3), lambda row, place, depth: depth == told[-1]))
    assert replay.open() == pytest.approx(engine.open())
    for cursor in range(len(SPANS[0].cursors)):
        row = replayer.first(0) + cursor
        told.append(chance.choice((2, 3)) if chance.random() < share else 0)
        spelled = int((records.characters[records.starts[row] : records.starts[row + 1]] == 0).sum())
        where = int(records.prompt[row]) - 1 + spelled if told[-1] else None
        monkeypatch.setattr(runtime, "stop", lambda params, where=where: Told(where, told[-1]))
        before = engine._session._cache.tokens.copy()
        mine, engines = replay.ask(cursor, [], math.inf), engine.ask(cursor, [], math.inf)
        shared = common(before, engine._session._cache.tokens)
        if shared >= records.prompt[row - 1 if cursor else row] and mine.text == engines.text and mine.text.isascii():
            pairs.append((mine.joules, engines.joules))
            refused += bool(told[-1] and not engines.text)
    mine_joules, engine_joules = map(sum, zip(*pairs, strict=True))
    assert mine_joules == pytest.approx(engine_joules, rel=0.1) and len(pairs) > 20
    assert sum(abs(own - engines) < 0.01 for own, engines in pairs) > len(pairs) / 2
    assert (refused > 5) == (share > 0)


@dataclass(frozen=True, eq=False)
class Seeing(StopNetwork):
    """Estimates what the rule does, and keeps what it was asked."""

    seen: list[tuple[float, ...]] = field(default_factory=list)

    def right(self, product: float, log_odds: float, tokens: int, characters: int, line: str) -> float:
        self.seen.append(token_features(product, log_odds, tokens, characters, line))
        return product


def test_the_agent_learns_from_what_it_sees_in_service(
    runtime: Runtime, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayer, network, compared = (
        Replayer(records, runtime.vocabulary, PRICES, runtime.layers_total),
        Seeing(stop_network().parameters),
        0,
    )
    monkeypatch.setattr(runtime, "stop_network", network)
    inputs, counted = token_inputs(replayer), policies.counted(records)
    for i, (span, cursor) in enumerate(zip(records.span.tolist(), records.cursor.tolist(), strict=True)):
        if replayer.texts[i].isascii():
            network.seen.clear()
            complete(runtime, SPANS[span], cursor, stop=1e-6)
            own = slice(int(records.starts[i]), int(records.starts[i + 1]))
            expected = inputs[own][counted[own]][: len(network.seen)]
            assert np.array(network.seen) == pytest.approx(expected, abs=2e-3)
            compared += len(expected)
    assert compared > 30


def test_low_states_are_those_of_a_plain_forward_pass(runtime: Runtime, records: Records) -> None:
    """At a quarter and half of six layers, behind the prompt, where no token only spells again what is there."""
    compared = 0
    for i, (span, cursor) in enumerate(zip(records.span.tolist(), records.cursor.tolist(), strict=True)):
        start, end = records.starts[i : i + 2].tolist()
        if start < end and records.characters[start] == 0:
            continue
        prompt = PromptWindow().prompt(*SPANS[span].document_at(cursor), PROMPT_TOKENS)
        params = completion_params(
            prompt.prefix, suffix=prompt.suffix, language=SPANS[span].language, max_prompt_tokens=PROMPT_TOKENS
        )
        cache = KVCache(runtime.decoder)
        cache.append(healed(runtime.new_session(), params)[0])
        for depth, recorded in zip((2, 3), records.low_states[i], strict=True):
            cache.advance(len(cache) - 1, depth)
            assert recorded == pytest.approx(unit_rms(cache.state(len(cache) - 1)), abs=5e-3)
        compared += 1
    assert compared > 5


def test_a_file_of_records_is_made_once_and_other_weights_are_refused(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, other, path = replace(SPANS[1], text="  i"), replace(SPANS[1], text="  a"), tmp_path / "00000.npz"
    record.record_spans(runtime, [short], path, "own")
    with monkeypatch.context() as patch:
        patch.setattr(record, "_Recorder", None)
        record.record_spans(runtime, [short], path, "own")
    assert read_records(tmp_path, "own").spans == [short]
    with pytest.raises(Problem, match="another model or bundle"):
        read_records(tmp_path, "others")
    record.record_spans(runtime, [other], path, "others")
    assert read_records(tmp_path, "others").spans == [other]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Problem, match="damaged"):
        read_records(tmp_path, "others")
    record.record_spans(runtime, [other], path, "others")
    assert read_records(tmp_path, "others").spans == [other]


def test_lenses_change_no_record_and_a_delta_does(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path))
    folder, keys = tmp_path / runtime.model, [record.weights_key(runtime.model)]
    folder.mkdir()
    for part in (LENSES, DELTA):
        (folder / part).write_bytes(b"x")
        write_manifest(folder, {"exits": [2], "base": {"model": runtime.model, "sha256": "0" * 64}})
        keys.append(record.weights_key(runtime.model))
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    "arm", [Arm("full", "full"), Arm("anew", "full", resumes=False), Arm("exact", "exact", stop=1e-6)]
)
def test_a_span_is_served_and_its_joules_are_the_sessions(
    runtime: Runtime, arm: Arm, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = list[Session]()
    for kind in (service.Session, service._NotResuming):
        monkeypatch.setattr(
            service, kind.__name__, lambda runtime, kind=kind: sessions.append(kind(runtime)) or sessions[-1]
        )
    done = serve_span(runtime, SPANS[0], arm, seed=0)
    [session] = sessions
    assert done.requests > 0 < done.opening
    assert done.opening + done.joules == pytest.approx(PRICES.of(session.work))
    assert done.joules == pytest.approx(sum(done.by_fate.values())) and done.accepted <= done.keys
    again = serve_span(runtime, SPANS[0], arm, seed=0)
    assert vars(again) == vars(done), "a replay does not depend on what else the machine does"


def test_the_bundles_gate_stands_before_the_engine(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path))
    (tmp_path / runtime.model).mkdir()
    gate = {"schema": 2, "features": NAMES, "weights": [0.0] * len(NAMES), "bias": -9.0, "bounds": dict(STOPS)}
    (tmp_path / runtime.model / "gate.json").write_text(json.dumps(gate))
    asked = list[int]()
    ask = service._FromEngine.ask

    def counted(self: Any, cursor: int, place: list[float], limit: float) -> Any:
        assert len(place) == len(NAMES)
        asked.append(cursor)
        return ask(self, cursor, place, limit)

    monkeypatch.setattr(service._FromEngine, "ask", counted)
    done = serve_span(runtime, SPANS[0], Arm("gated", "exact", stop="balanced", gated=True), seed=0)
    assert len(asked) == done.requests <= 3 and done.gated >= done.keys - 3
