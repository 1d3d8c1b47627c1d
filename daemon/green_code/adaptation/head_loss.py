"""Cross-entropy and distillation of many exits through one frozen head, without ever holding all logits.

For N tokens and V words the logits of one exit are N·V numbers; a few exits of them are most of a training step on
a CPU. As the head does not learn, its gradient ends at the hidden states, so the loss and that gradient are computed
together, a few hundred rows at a time, while the block of logits is still in cache.

    exit:        L = (1−d)·CE(target) + d·KL(p_teacher ‖ p_exit),   ∂L/∂logits = p_exit − (1−d)·onehot − d·p_teacher
    last layer:  L = CE(target) where it is the teacher itself; as an exit where another model teaches

Held by: tests/adaptation/test_head_loss.py, against torch's own losses and autograd.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ROWS = 256


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        target: Tensor,
        distillation: float,
        teacher_states: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        exits, rows, _ = states.shape
        taught = exits if teacher_states is not None else exits - 1  # how many have a teacher: the first ones
        gradient = torch.empty_like(states)
        losses = torch.zeros(exits, 2, device=states.device)  # cross-entropy, divergence; summed over rows
        for at in range(0, rows, _ROWS):
            part = slice(at, min(at + _ROWS, rows))
            wanted = target[part, None]
            lesson = states[exits - 1, part] if teacher_states is None else teacher_states[part]
            teacher_log = (lesson @ weight.T).float().log_softmax(-1)  # (rows, V)
            teacher = teacher_log.exp()
            entropy = torch.dot(teacher.view(-1), teacher_log.view(-1))
            for exit in range(exits):
                if exit < taught:
                    log_p = (states[exit, part] @ weight.T).float().log_softmax(-1)
                    losses[exit, 0] -= log_p.gather(-1, wanted).sum()
                    losses[exit, 1] += entropy - torch.dot(teacher.view(-1), log_p.view(-1))
                    slope, share = log_p.exp_().sub_(teacher, alpha=distillation), 1 - distillation
                else:
                    losses[exit, 0] -= teacher_log.gather(-1, wanted).sum()
                    slope, share = teacher.clone(), 1.0
                slope.scatter_add_(-1, wanted, slope.new_full(wanted.shape, -share))
                gradient[exit, part] = slope.to(weight.dtype) @ weight
        ctx.save_for_backward(gradient)
        losses /= rows
        total = (
            losses[taught:, 0].sum()
            + (1 - distillation) * losses[:taught, 0].sum()
            + distillation * losses[:taught, 1].sum()
        )
        ctx.rows = rows
        ctx.mark_non_differentiable(losses)
        return total, losses[:, 0]

    @staticmethod
    def backward(ctx: Any, slope: Tensor, _: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * (slope / ctx.rows), None, None, None, None


def head_loss(
    states: Tensor, weight: Tensor, target: Tensor, distillation: float, teacher_states: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Summed loss of all exits, and each one's own cross-entropy.

    Args:
        states: (X+1, N, C) normalised hidden states of X exits, the last layer's at the end.
        weight: (V, C) head, not trained; its dtype is the one that is multiplied in.
        target: (N,) next tokens. distillation: share d of an exit's loss that is the divergence.
        teacher_states: (N, C) normalised states of another model's last layer, which then teaches every exit, the
            last layer included; None: the last layer teaches the others.
    Returns:
        Scalar, differentiable with regard to `states`; (X+1,) cross-entropies in nats, for reports.
    """
    total, losses = _HeadLoss.apply(states, weight, target, distillation, teacher_states)  # type: ignore[no-untyped-call]
    return total, losses
