"""The head's screen, against what it must not lose."""

from __future__ import annotations

import torch

from green_code.models.svd_head import principal_directions, svd_head_of


def low_rank(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A head (200, 32), and 500 states that lie in `rank` directions."""
    generator = torch.Generator().manual_seed(rank)
    head = torch.randn(200, 32, generator=generator)
    states = torch.randn(500, rank, generator=generator) @ torch.randn(rank, 32, generator=generator)
    return head, states


def foretold(head: torch.Tensor, states: torch.Tensor, rank: int) -> torch.Tensor:
    svd_head = svd_head_of(head, principal_directions(head, (states.T @ states).double(), rank))
    return states @ svd_head.down.T @ svd_head.preview.T


def test_states_of_few_directions_lose_nothing() -> None:
    head, states = low_rank(5)
    wanted = states @ head.T
    assert (foretold(head, states, 5) - wanted).norm() / wanted.norm() < 2e-3  # directions are float16


def test_all_directions_lose_nothing_of_any_state() -> None:
    head, states = low_rank(32)
    other = torch.randn(50, 32)
    svd_head = svd_head_of(head, principal_directions(head, (states.T @ states).double(), 32))
    wanted = other @ head.T
    assert (other @ svd_head.down.T @ svd_head.preview.T - wanted).norm() / wanted.norm() < 2e-3


def test_no_approximation_of_that_rank_is_better() -> None:
    """Eckart and Young: the truncated singular value decomposition of all logits is the best there is."""
    head, states = low_rank(32)
    wanted = states @ head.T
    u, s, v = torch.linalg.svd(wanted, full_matrices=False)
    best = (u[:, :8] * s[:8]) @ v[:8]
    assert (foretold(head, states, 8) - wanted).norm() <= 1.001 * (best - wanted).norm()
