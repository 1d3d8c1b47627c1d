"""Generation over a staircase: `fast`, where exits decide the tokens, and `exact`, where they only draft.

Both are streams of (token, depth) that know nothing of text; `generate` drives one and applies the stop rules.
Greedy throughout: the agent was trained on greedy states, and a completion should not change by chance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from green_code.decoding.exits import Policy, View
from green_code.decoding.healing import Chooser
from green_code.decoding.staircase import Staircase
from green_code.decoding.stops import Situation, check
from green_code.models.vocabulary import Vocabulary, text_of

MAX_DRAFTS = 6  # tokens drafted before they are verified in one batch; fewer after drafts were wrong


@dataclass
class Effort:
    """What was run beside layers.

    `heads` counts how often the head's weights were read, `head_rows` over how many positions; `decisions` runs of the
    exit network; `passes` the tokens that were finished, the end of the text included: full depth needs a pass each.
    """

    heads: int = 0
    head_rows: int = 0
    decisions: int = 0
    passes: int = 0

    def count_head(self, rows: int = 1) -> None:
        self.heads += 1
        self.head_rows += rows


@dataclass
class Generated:
    """A finished completion. `exits[i]` is the depth that decoded (exact: drafted) token i."""

    text: str = ""
    reason: str = "max_tokens"
    tokens: list[int] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    effort: Effort = field(default_factory=Effort)


def climb(stairs: Staircase, policy: Policy, effort: Effort) -> View:
    """Raise the last position from exit to exit until the policy stops, at full depth at the latest.

    Counts the heads that the policy looked at on its way, not the one of the view that is returned.
    """
    position, layers = len(stairs) - 1, stairs.decoder.config.layers
    for depth in policy.exits:
        view = View(
            depth, stairs.advance(position, depth), stairs.debt(position, layers), stairs.decoder.logits
        )
        stop = policy.stop(view)
        effort.decisions += policy.network_runs
        if stop:
            return view
        if "logits" in vars(view):
            effort.count_head()
    return View(layers, stairs.advance(position, layers), 0, stairs.decoder.logits)


def fast(
    stairs: Staircase, policy: Policy, chooser: Chooser, required: bytes, effort: Effort
) -> Iterator[tuple[int, int]]:
    """Each token comes from the exit at which the policy stops; with the policy `full`, from the last layer."""
    while True:
        view = climb(stairs, policy, effort)
        effort.count_head()
        token = chooser.choose(view.logits, required)
        required = chooser.left(required, token)
        yield token, view.depth
        stairs.append([token])


def exact(
    stairs: Staircase,
    policy: Policy,
    chooser: Chooser,
    required: bytes,
    effort: Effort,
    ends: Callable[[int], bool] = lambda _: False,
) -> Iterator[tuple[int, int]]:
    """The tokens of full depth: exits draft, one batch through the deeper layers verifies.

    Drafted positions keep the states that drafting computed, so verification starts at their exits. The longest
    agreeing run is kept, plus the token that verification itself gives next. Nothing is drafted beyond a token that
    `ends` the completion. In float32 the tokens are those of `fast` with the policy `full`; in bfloat16 a batch
    rounds otherwise than a single row, and the two may part where two tokens are all but equally likely.
    """
    layers, limit = stairs.decoder.config.layers, MAX_DRAFTS
    while True:
        start, need = len(stairs) - 1, required
        drafts: list[int] = []
        depths: list[int] = []
        while len(drafts) < limit and not (drafts and ends(drafts[-1])):
            view = climb(stairs, policy, effort)
            if view.depth == layers:
                break
            effort.count_head()
            token = chooser.choose(view.logits, need)
            need = chooser.left(need, token)
            drafts.append(token)
            depths.append(view.depth)
            stairs.append([token])
        if drafts and ends(drafts[-1]):
            stairs.truncate(len(stairs) - 1)  # what would follow the end needs no verification
        stairs.advance(len(stairs) - 1, layers)
        verified = stairs.decoder.logits(stairs.states(start, len(stairs)))
        effort.count_head(len(verified))
        for i, logits in enumerate(verified):
            token = chooser.choose(logits, required)
            required = chooser.left(required, token)
            if i < len(drafts) and token == drafts[i]:
                yield token, depths[i]
                limit = min(MAX_DRAFTS, limit + 1)
                continue
            limit = max(1, i) if i < len(drafts) else limit
            stairs.truncate(start + i + 1)
            yield token, layers
            stairs.append([token])
            break
        else:
            stairs.append(drafts[-1:])  # the end was drafted and verified; whoever goes on starts after it


@torch.inference_mode()
def generate(
    result: Generated,
    stairs: Staircase,
    vocabulary: Vocabulary,
    chooser: Chooser,
    policy: Policy,
    *,
    verify: bool,
    required: bytes,
    situation: Situation | None,
    max_tokens: int,
    deadline: float,
) -> None:
    """Complete the prompt that `stairs` holds, into `result`: what was done is in there even when interrupted.

    Args:
        verify: `exact` rather than `fast`. required: bytes that must come first (healing), not part of the text.
        situation: the cursor, for the stop rules; None: none but the end of the text.
        deadline: on `time.monotonic()`'s clock; later tokens are not begun.
    """
    data = bytearray()

    def ends(token: int) -> bool:
        one_line = situation is not None and situation.single_line
        return token in vocabulary.eos or (one_line and b"\n" in vocabulary.token_bytes[token])

    if verify:
        stream = exact(stairs, policy, chooser, required, result.effort, ends)
    else:
        stream = fast(stairs, policy, chooser, required, result.effort)
    for token, depth in stream:
        result.effort.passes += 1
        if token in vocabulary.eos:
            result.reason = "end_of_text"
            break
        result.tokens.append(token)
        result.exits.append(depth)
        data += vocabulary.token_bytes[token]
        result.text = text_of(bytes(data[len(required) :]))
        if situation is not None and (stop := check(result.text, situation)):
            result.reason, length = stop
            result.text = result.text[:length]
            break
        if len(result.tokens) >= max_tokens:
            break
        if time.monotonic() > deadline:
            result.reason = "budget"
            break
