"""The fused loss equals torch's own losses and autograd."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from green_code_lab.lite.head_loss import FusedHead, head_loss

WEIGHTS = torch.tensor([0.7, 0.2, 1.5])


@pytest.mark.parametrize("distillation", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rows", [3, 256, 700])
@pytest.mark.parametrize("other_teacher", [False, True])
def test_value_and_gradient(distillation: float, rows: int, other_teacher: bool) -> None:
    torch.manual_seed(0)
    states = torch.randn(3, rows, 16, requires_grad=True)
    weight, target = torch.randn(50, 16), torch.randint(0, 50, (rows,))
    teacher_states = torch.randn(rows, 16) if other_teacher else None

    def reference(x: Tensor) -> Tensor:
        logits = x @ weight.T
        teacher = (logits[-1] if teacher_states is None else teacher_states @ weight.T).softmax(-1).detach()
        total = torch.zeros(())
        for exit in range(3):
            share = 0.0 if teacher_states is None and exit == 2 else distillation
            cross_entropy = F.cross_entropy(logits[exit], target)
            divergence = F.kl_div(logits[exit].log_softmax(-1), teacher, reduction="batchmean")
            total = total + WEIGHTS[exit] * ((1 - share) * cross_entropy + share * divergence)
        return total

    expected = reference(states)
    (expected_slope,) = torch.autograd.grad(expected, states)
    total, losses = head_loss(states, weight, target, WEIGHTS, distillation, teacher_states, FusedHead(fuse=False))
    (slope,) = torch.autograd.grad(total * 2, states)
    torch.testing.assert_close(total, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(slope, 2 * expected_slope, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(losses[1], F.cross_entropy((states @ weight.T)[1], target))
