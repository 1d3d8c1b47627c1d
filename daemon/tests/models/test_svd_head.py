"""The SVD head's preview, against the logits of the whole head."""

from __future__ import annotations

import torch

from green_code.models.svd_head import principal_directions, svd_head_of


def low_rank(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A head (200, 32), and 500 states that lie in `rank` directions."""
    generator = torch.Generator().manual_seed(rank)
    head = torch.randn(200, 32, generator=generator)
    states = torch.randn(500, rank, generator=generator) @ torch.randn(rank, 32, generator=generator)
    return head, states


def preview(head: torch.Tensor, states: torch.Tensor, rank: int) -> torch.Tensor:
    svd_head = svd_head_of(head, principal_directions(head, (states.T @ states).double(), rank))
    return states @ svd_head.down.T @ svd_head.preview.T


def test_the_preview_of_low_rank_states_is_exact() -> None:
    head, states = low_rank(5)
    logits = states @ head.T
    assert (preview(head, states, 5) - logits).norm() / logits.norm() < 2e-3  # directions are float16


def test_the_preview_with_all_directions_is_exact_for_any_state() -> None:
    head, states = low_rank(32)
    other = torch.randn(50, 32)
    svd_head = svd_head_of(head, principal_directions(head, (states.T @ states).double(), 32))
    logits = other @ head.T
    assert (other @ svd_head.down.T @ svd_head.preview.T - logits).norm() / logits.norm() < 2e-3


def test_no_approximation_of_the_same_rank_is_better() -> None:
    """Eckart and Young: the best one is the truncated singular value decomposition of all logits."""
    head, states = low_rank(32)
    logits = states @ head.T
    u, s, v = torch.linalg.svd(logits, full_matrices=False)
    best = (u[:, :8] * s[:8]) @ v[:8]
    assert (preview(head, states, 8) - logits).norm() <= 1.001 * (best - logits).norm()
