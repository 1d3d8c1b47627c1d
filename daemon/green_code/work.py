"""What was computed (`Work`), and what a unit of it costs (`Prices`): the one account from the KV cache to the joules.

Must not know: who computes, or what the prices are of (joules in service, forward passes in training).
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass
class Work:
    """How much was computed.

    A layer reads its weights once for a batch of positions, so batches and positions are counted apart; the head likewise.
    """

    layer_batches: int = 0  # layers that ran, each over a batch of positions
    layer_positions: int = 0  # layer × position
    small_batch_positions: int = 0  # of these, the first `backend.SMALL_BATCH` positions of each batch
    head_batches: int = 0
    head_positions: int = 0
    decisions: int = 0  # runs of the exit classifier
    kv_only: int = 0  # layer × position of which only key and value were computed

    def __add__(self, other: Work) -> Work:
        return Work(**{name: count + getattr(other, name) for name, count in vars(self).items()})

    def __sub__(self, other: Work) -> Work:
        return Work(**{name: count - getattr(other, name) for name, count in vars(self).items()})

    def copy(self) -> Work:
        return replace(self)


@dataclass(frozen=True)
class Prices:
    """The price of each unit of work. A decision is the classifier and the exit's lens, beside the head that it reads."""

    layer_batch: float = 0.0
    small_batch_position: float = 0.0
    layer_position: float = 0.0
    head_batch: float = 0.0
    head_position: float = 0.0
    decision: float = 0.0
    kv_only: float = 0.0

    def of(self, work: Work) -> float:
        """The price of all of `work`."""
        return (
            self.layer_batch * work.layer_batches
            + self.small_batch_position * work.small_batch_positions
            + self.layer_position * (work.layer_positions - work.small_batch_positions)
            + self.head_batch * work.head_batches
            + self.head_position * work.head_positions
            + self.decision * work.decisions
            + self.kv_only * work.kv_only
        )


def prompt_layer_positions(layers: int, positions: int) -> int:
    """Layer × position of a prompt at full depth: the last layer runs over its last position alone."""
    return layers * positions - max(0, positions - 1)


def full_depth_work(layers: int, new_prompt_positions: int, passes: int, small_batch: int, resumed: int = 0) -> Work:
    """A request at full depth with the same cache: one forward pass over the prompt, then one for each token.

    Args:
        passes: the tokens, and the end of the text where the model gave it. small_batch: how many positions make a small batch.
        resumed: of the tokens, the first ones that the cache holds. Where no position of the prompt is new, they and the token
            behind them cost their head alone.
    """
    if passes == 0:
        return Work()
    heads = Work(head_batches=passes, head_positions=passes)
    if new_prompt_positions == 0:
        forward = max(0, passes - 1 - resumed)
        heads.head_batches = forward + 1
        return heads + Work(
            layer_batches=layers * forward, layer_positions=layers * forward, small_batch_positions=layers * forward
        )
    before_last = new_prompt_positions - 1
    return heads + Work(
        layer_batches=layers * passes,
        layer_positions=prompt_layer_positions(layers, new_prompt_positions) + layers * (passes - 1),
        small_batch_positions=layers * passes + (layers - 1) * min(small_batch - 1, before_last),
        kv_only=before_last,
    )
