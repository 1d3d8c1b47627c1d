"""The SVD head's preview, against the logits of the whole head."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from green_code.models.svd_head import principal_directions, svd_head_of


def low_rank(rank: int) -> tuple[np.ndarray, np.ndarray]:
    """A head (200, 32), and 500 states that lie in `rank` directions."""
    generator = np.random.default_rng(rank)
    head = generator.standard_normal((200, 32))
    states = generator.standard_normal((500, rank)) @ generator.standard_normal((rank, 32))
    return head.astype(np.float32), states.astype(np.float32)


def preview(head: np.ndarray, states: np.ndarray, other: np.ndarray, rank: int) -> np.ndarray:
    """Of other states, by the directions of `states`. The head is read in pieces of unequal length."""

    def chunks() -> Iterator[np.ndarray]:
        return iter((head[:70], head[70:]))

    svd_head = svd_head_of(chunks, principal_directions(chunks, states.T @ states, rank))
    return np.asarray(other @ svd_head.down.T @ (head @ svd_head.up).T)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other))


def test_the_preview_of_low_rank_states_is_exact() -> None:
    head, states = low_rank(5)
    logits = states @ head.T
    assert distance(preview(head, states, states, 5), logits) < 2e-3 * np.linalg.norm(logits)  # directions are float16


def test_the_preview_with_all_directions_is_exact_for_any_state() -> None:
    head, states = low_rank(32)
    other = np.random.default_rng(0).standard_normal((50, 32))
    logits = other @ head.T
    assert distance(preview(head, states, other, 32), logits) < 2e-3 * np.linalg.norm(logits)


def test_no_approximation_of_the_same_rank_is_better() -> None:
    """Eckart and Young: the best one is the truncated singular value decomposition of all logits."""
    head, states = low_rank(32)
    logits = states @ head.T
    u, s, v = np.linalg.svd(logits, full_matrices=False)
    best = (u[:, :8] * s[:8]) @ v[:8]
    assert distance(preview(head, states, states, 8), logits) <= 1.001 * distance(best, logits)
