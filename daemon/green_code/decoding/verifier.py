"""Verification of drafts: the next token at each position, decided over all drafts in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from green_code.decoding.draft import Source
from green_code.decoding.exit_policies import ExitView, Policy
from green_code.decoding.healing import Chooser
from green_code.decoding.kv_cache import KVCache
from green_code.models.backend import ExitQuestion, TopToken, probability_of


@dataclass(frozen=True, slots=True)
class Decoded:
    """A token decoded at `depth` behind `position`, whose state the cache holds; its log-odds there (see `Chooser.choose`), and who
    drafted it."""

    token: int
    depth: int
    log_odds: float
    position: int
    draft: Source | None = None

    @property
    def probability(self) -> float:
        return probability_of(self.log_odds)


class Verifier:
    """
    Args:
        policy: who decides the tokens: `Full`, the last layer (lossless), or exits (lossy).

    Attributes:
        passes: how many batches it has decoded.
    """

    def __init__(self, policy: Policy, chooser: Chooser) -> None:
        self.policy, self.chooser, self.passes = policy, chooser, 0

    def verify(self, cache: KVCache, start: int, required: bytes, drafts: Sequence[int]) -> list[Decoded]:
        """Decode behind position `start` and behind each draft, which follow it in the cache, up to the first rejected draft.

        Positions at which the policy has not exited advance together from exit to exit; those that are deeper already keep their
        states.

        Args:
            required: bytes that the first tokens must spell. drafts: tokens.
        """
        self.passes += 1
        layers, spelled = cache.decoder.config.layers, [required]
        for draft in drafts:
            spelled.append(self.chooser.left(spelled[-1], draft))
        decoded: list[Decoded | None] = [None] * (len(cache) - start)
        for depth in (*self.policy.exits, layers):
            advancing = [i for i, each in enumerate(decoded) if each is None and cache.depth(start + i) <= depth]
            if not advancing:
                continue
            # Positions between these that have exited go along.
            cache.advance(start + advancing[-1], depth, start + advancing[0])
            pendings = [cache.pending(start + i, layers) if depth < layers else 0 for i in advancing]
            read_top = _batched_top_tokens(cache, [start + i for i in advancing], depth, pendings)
            paid = 0  # pending work that an earlier position of the batch will have filled
            for row, (i, pending) in enumerate(zip(advancing, pendings, strict=True)):
                view = ExitView(cache, start + i, depth, pending - paid, partial(read_top, row))
                if depth < layers:
                    cache.work.decisions += self.policy.classifier_runs
                    if not self.policy.should_exit(view):
                        paid = pending - 1  # all but the last layer over this position
                        continue
                top = self.chooser.choose(view, spelled[i])
                decoded[i] = Decoded(top.token, depth, top.log_odds, start + i)
                if i < len(drafts) and top.token != drafts[i]:
                    del decoded[i + 1 :]
                    break
        return [each for each in decoded if each is not None]


def _batched_top_tokens(
    cache: KVCache, positions: Sequence[int], depth: int, pendings: Sequence[int]
) -> Callable[[int, ExitQuestion | None], TopToken]:
    """Top token by index into `positions`; the first call runs the head over all of them, and answers its question of all."""
    tops: list[TopToken] = []

    def read_top(row: int, question: ExitQuestion | None) -> TopToken:
        if not tops:
            asked = question and replace(question, pending=tuple(pendings))
            tops.extend(cache.top_tokens(positions, depth, asked))
        return tops[row]

    return read_top
