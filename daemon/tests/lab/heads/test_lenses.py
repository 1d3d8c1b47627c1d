"""Lenses against a map that is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from green_code_lab.heads import lenses
from green_code_lab.heads.lenses import least_squares, lens_of, train_lens

EPS = 1e-6


def unit(x: Tensor) -> Tensor:
    return x / x.pow(2).mean(-1, keepdim=True).add(EPS).sqrt()


def rotated(count: int, width: int) -> tuple[Tensor, Tensor]:
    """States of an exit, which are the last layer's, rotated; and the last layer's."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(width, width, generator=generator)
    last = unit(torch.randn(count, width, generator=generator))
    return last @ torch.matrix_exp(0.1 * (noise - noise.T)), last


@pytest.mark.parametrize("begins_near", [True, False])
def test_a_lens_inverts_a_known_linear_map(begins_near: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By least squares alone, and by training alone."""
    monkeypatch.setattr(lenses, "_PASSES", 0 if begins_near else 40)
    monkeypatch.setattr(lenses, "_RATE", 5e-3)
    if not begins_near:
        monkeypatch.setattr(lenses, "least_squares", lambda states, *_: torch.zeros(2 * states.shape[1:]))
    states, last = rotated(6_000, 32)
    head = torch.randn(200, 32, generator=torch.Generator().manual_seed(1))
    trained, held_out = slice(0, 5_000), slice(5_000, None)
    lens = train_lens(
        states[trained].half().numpy(), last[trained].half().numpy(), head, EPS, 1, torch.device("cpu"), lambda _: None
    )  # fmt: skip

    def agreement(x: Tensor) -> float:
        return float(((x @ head.T).argmax(-1) == (last[held_out] @ head.T).argmax(-1)).float().mean())

    plain = states[held_out]
    assert agreement(plain) < 0.6
    assert agreement(lens_of(lens, EPS)(plain)) > 0.9
    assert lens_of(None, EPS)(plain) is plain


def test_least_squares_is_that_of_a_solver() -> None:
    states, last = (part.numpy() for part in rotated(500, 8))
    gain = torch.rand(8) + 0.5
    scaled = torch.from_numpy(states) * gain
    wanted = torch.linalg.lstsq(scaled, torch.from_numpy(last - states)).solution.T
    torch.testing.assert_close(least_squares(states, last, gain), wanted, rtol=1e-2, atol=1e-2)
