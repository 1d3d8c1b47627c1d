"""What a connection remembers of its completions."""

from __future__ import annotations

import json
import tracemalloc

from green_code.energy.rows import Row, new_id, now_text
from green_code.engine.ledger_rows import ledger_row
from green_code.engine.peers import Peer

PARAMS = '{"language": "a language", "model": "a model", "decoding": "a decoding", "threshold": 0.515}'
RESULT = json.dumps(
    {"id": "a", "tokens": 1, "exits": [18], "layers_run": 18, "layers_total": 18, "prompt_tokens": 1, "prompt_layers_run": 18,
     "energy_joules": 1.0, "energy_full_joules": 1.0, "energy_source": "estimate", "cpu_seconds": 0.1, "wall_seconds": 0.1}
)  # fmt: skip
REQUESTS_A_SECOND, SECONDS = 10, 30
"""As fast as one types, and until a text that was accepted counts as retained."""


def completion() -> Row:
    """A row whose texts are its own, as those of a message that was just read."""
    return Row(
        id=new_id(), time=now_text(), language=str(b"python", "ascii"), model=str(b"gemma-3-270m", "ascii"), decoding=str(b"exact", "ascii"),
        threshold=str(0.5), tokens=10, exit_layers=130, layers_run=170, layers_total=18, prompt_tokens=500, prompt_layers_run=9000,
        energy_joules=float("1.5"), energy_full_joules=float("3.5"), energy_source="estimate", cpu_seconds=float("0.1"),
        wall_seconds=float("0.2"), reason="end_of_line",
    )  # fmt: skip


def test_a_text_that_was_accepted_half_a_minute_ago_is_still_known() -> None:
    peer, accepted = Peer(), completion()
    peer.add(accepted)
    for _ in range(REQUESTS_A_SECOND * SECONDS - 1):
        peer.add(completion())
    assert accepted.id in peer.rows
    peer.change(accepted, accepted.with_shown(40).with_accepted(None))
    assert peer.tally.totals()["accepted_characters"] == 40


def test_a_day_of_typing_takes_less_memory_than_one_prompt() -> None:
    peer = Peer()
    tracemalloc.start()
    try:
        for _ in range(5_000):
            peer.add(completion())
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 400_000, "of one of many windows"
    assert peer.tally.totals()["completions"] == 5_000


def test_rows_of_two_messages_share_their_names() -> None:
    def row() -> Row:
        params, result = json.loads(PARAMS), json.loads(RESULT)  # strings of their own, as in two messages
        return ledger_row(params, result, "end_of_line")

    one, other = row(), row()
    assert one.language is other.language and one.model is other.model and one.decoding is other.decoding
    assert one.threshold is other.threshold
