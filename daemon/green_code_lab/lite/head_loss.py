"""Cross-entropy and distillation of many exits through one frozen head, without holding all logits.

For N tokens and V words the logits of one exit are N·V numbers. As the head is frozen, its gradient ends at the hidden
states, so the loss and that gradient are computed together, some rows of all exits at a time:

    L = Σᵢ wᵢ·((1−dᵢ)·CE(target) + dᵢ·KL(p_teacher ‖ pᵢ)),   ∂L/∂logitsᵢ = wᵢ·(pᵢ − (1−dᵢ)·onehot − dᵢ·p_teacher)

The teacher is the last layer of the same step (whose own d is then 0), or another model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ROWS = 128


def _teacher_distribution(logits: Tensor) -> Tensor:
    """Turn the teacher's logits (rows, V) into its distribution, in place; returns Σ p·log p."""
    log_p = logits.float().log_softmax(-1)
    p = log_p.exp()
    logits.copy_(p)
    return torch.dot(p.view(-1), log_p.view(-1))


def _exit_loss(
    logits: Tensor, teacher: Tensor, entropy: Tensor, target: Tensor, share: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy and divergence of an exit, summed over rows; logits become the gradient, in place.

    The gradient lacks the target's own term. logits, teacher: (rows, V). target: (rows, 1). share: d, a scalar.
    """
    log_p = logits.float().log_softmax(-1)
    p = teacher.float()
    cross_entropy = -log_p.gather(-1, target).sum()
    divergence = entropy - torch.dot(p.view(-1), log_p.view(-1))
    logits.copy_(log_p.exp_().addcmul_(p, share, value=-1))
    return cross_entropy, divergence


class FusedHead:
    """The two passes over a block of logits, and the blocks' memory, which is allocated once.

    With `fuse`, torch compiles each pass into one loop (it needs a compiler).
    """

    def __init__(self, fuse: bool) -> None:
        compiled = torch.compile if fuse else lambda function, dynamic: function
        self.teacher_distribution = compiled(_teacher_distribution, dynamic=False)
        self.exit_loss = compiled(_exit_loss, dynamic=False)
        self._blocks: dict[str, Tensor] = {}

    def logits(self, name: str, states: Tensor, weight: Tensor) -> Tensor:
        """(rows, V) product of (rows, C) and the head, in the block of that name."""
        shape = (len(states), len(weight))
        block = self._blocks.get(name)
        if block is None or (block.shape, block.dtype, block.device) != (shape, states.dtype, states.device):
            block = self._blocks[name] = states.new_empty(shape)
        return torch.mm(states, weight.T, out=block)


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        target: Tensor,
        weights: Tensor,
        shares: Tensor,
        teacher_states: Tensor | None,
        fused: FusedHead,
    ) -> tuple[Tensor, Tensor]:
        exits, rows, width = states.shape
        teacher_input = states[-1] if teacher_states is None else teacher_states
        gradient = torch.empty_like(states)
        losses = torch.zeros(2, exits, device=states.device)  # cross-entropy, divergence
        for at in range(0, rows, _ROWS):
            part = slice(at, min(at + _ROWS, rows))
            expected = target[part, None]
            teacher = fused.logits("teacher", teacher_input[part], weight)
            entropy = fused.teacher_distribution(teacher)
            block = fused.logits("exits", states[:, part].reshape(-1, width), weight)
            for exit, logits in enumerate(block.view(exits, len(expected), -1)):
                losses[:, exit] += torch.stack(fused.exit_loss(logits, teacher, entropy, expected, shares[exit]))
            # By index: torch's scatter_add_ of bfloat16 costs as much as a product.
            own = (torch.arange(len(block), device=block.device), expected.flatten().repeat(exits))
            block[own] += (shares - 1).to(block.dtype).repeat_interleave(len(expected))
            gradient[:, part] = (block @ weight).view(exits, len(expected), width)
        losses /= rows
        ctx.save_for_backward(gradient.mul_((weights / rows)[:, None, None].to(gradient.dtype)))
        cross_entropies = losses[0].clone()
        ctx.mark_non_differentiable(cross_entropies)
        total = (weights * ((1 - shares) * losses[0] + shares * losses[1])).sum()
        return total, cross_entropies

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, None, None, None, None, None, None


def head_loss(
    states: Tensor,
    weight: Tensor,
    target: Tensor,
    weights: Tensor,
    distillation: float,
    teacher_states: Tensor | None,
    fused: FusedHead,
) -> tuple[Tensor, Tensor]:
    """Weighted loss of all exits, and each one's own cross-entropy.

    Args:
        states: (X+1, N, C) normed hidden states of X exits, then the last layer's.
        weight: (V, C) frozen head; its dtype is the one of the products.
        target: (N,) next tokens. weights: (X+1,) float32. distillation: d, the divergence's share of an exit's loss.
        teacher_states: (N, C) normed states of another model's last layer; None: the last layer teaches the exits.
    Returns:
        Scalar, differentiable with regard to `states`; (X+1,) cross-entropies in nats.
    """
    shares = torch.full((len(states),), distillation, device=states.device)
    if teacher_states is None:
        shares[-1] = 0.0
    total, losses = _HeadLoss.apply(states, weight, target, weights, shares, teacher_states, fused)  # type: ignore[no-untyped-call, unused-ignore]
    return total, losses
