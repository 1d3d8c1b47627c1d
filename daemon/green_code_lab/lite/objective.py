"""The loss of one LITE step (arXiv 2310.18581): one head over several depths of one forward pass.

The decoder, its losses and the teacher run in bfloat16 where the device has hardware for it; weights and optimiser
stay float32.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from green_code.models.device import bfloat16_pays
from green_code.models.torch_decoder import Decoder
from green_code_lab.lite.head_loss import FusedHead, head_loss

_WORTH_COMPILING = 20_000_000  # parameters of the layers; compiling takes half a minute


class Objective(nn.Module):
    """The decoder that is trained, and its teacher if that is another; a module, so that accelerate can distribute it."""

    def __init__(self, decoder: Decoder, teacher: Decoder | None, distillation: float, fuse: bool) -> None:
        super().__init__()
        self.decoder = decoder
        self._teacher = [teacher]  # in a list, so that its parameters are not the module's
        self._distillation = distillation
        self._fused = FusedHead(fuse)
        weight = (decoder.embed if decoder.config.tied_head else decoder.head).weight.detach()
        self._head = weight.bfloat16() if bfloat16_pays(weight.device) else weight
        if fuse:
            # Layers share code: windows × trained or not × shapes of training and scoring; torch's limit is 8.
            torch._dynamo.config.recompile_limit = 64
        for model in (decoder, teacher):
            for block in model.layers if model is not None and fuse else ():
                block.compile(dynamic=False)

    def forward(self, tokens: Tensor, depths: tuple[int, ...], weights: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and cross-entropy (nats per token) by depth, the last layer's at the end. tokens: (B, N+1)."""
        inputs, target = tokens[:, :-1], tokens[:, 1:].reshape(-1)
        states = hidden_at(self.decoder, inputs, depths)
        normed = torch.stack([self.decoder.norm(states[depth]).flatten(0, 1) for depth in depths])
        teacher_states = None
        if (teacher := self._teacher[0]) is not None:
            with torch.no_grad():
                last = hidden_at(teacher, inputs, depths[-1:])[depths[-1]]
                teacher_states = teacher.norm(last).flatten(0, 1).to(self._head.dtype)
        states_of_head = normed.to(self._head.dtype)
        return head_loss(states_of_head, self._head, target, weights, self._distillation, teacher_states, self._fused)


def hidden_at(decoder: Decoder, tokens: Tensor, depths: tuple[int, ...]) -> dict[int, Tensor]:
    """Hidden states (B, N, C) after each of `depths` layers, in one forward pass without cache."""
    x = decoder.embed_tokens(tokens)
    states = {}
    for layer in range(1, max(depths) + 1):
        x = decoder.run_layer(layer, x)
        if layer in depths:
            states[layer] = x
    return states


def fusing_pays(decoder: Decoder) -> bool:
    """Whether torch can compile here, and the model is large enough for it to pay."""
    return sum(p.numel() for p in decoder.layers.parameters()) > _WORTH_COMPILING and _compiler_works()


@functools.cache
def _compiler_works() -> bool:
    try:
        torch.compile(torch.square, dynamic=False)(torch.ones(8))
    except Exception:  # no compiler, no Triton, an unsupported platform: many types
        return False
    return True
