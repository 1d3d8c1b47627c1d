"""An exit head against a map that no lens can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from green_code.models.adapters import LinearAdapter
from green_code_lab.heads import exit_heads
from green_code_lab.heads.exit_heads import ExitHead, train_exit_head
from green_code_lab.heads.lenses import lens_of

EPS, WIDTH = 1e-6, 16


def test_it_begins_as_the_lens_and_learns_what_is_not_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exit_heads, "_PASSES", 40)
    monkeypatch.setattr(exit_heads, "_RATE", 1e-2)
    generator = torch.Generator().manual_seed(0)
    states = torch.nn.functional.rms_norm(torch.randn(4_000, WIDTH, generator=generator), (WIDTH,), eps=EPS)
    last = torch.nn.functional.rms_norm(states.abs() - 0.8, (WIDTH,), eps=EPS)
    rows = torch.randn(60, WIDTH, generator=generator)
    lens = LinearAdapter(np.eye(WIDTH, dtype=np.float32) / 4, np.ones(WIDTH, np.float32))
    fresh = ExitHead(lens, 8, EPS)
    torch.testing.assert_close(fresh(states), lens_of(lens, EPS)(states))

    head = train_exit_head(
        states[:3_500].half().numpy(), last[:3_500].half().numpy(), rows, lens, 32, EPS, 1, torch.device("cpu"), lambda _: None
    )  # fmt: skip
    held_out = slice(3_500, None)

    def agreement(x: torch.Tensor) -> float:
        return float(((x @ rows.T).argmax(-1) == (last[held_out] @ rows.T).argmax(-1)).float().mean())

    assert agreement(head(states[held_out])) > 2 * agreement(lens_of(lens, EPS)(states[held_out]))
