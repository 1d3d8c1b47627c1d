"""The loss of one LITE step (arXiv 2310.18581): one head over several depths of one forward pass.

The decoder, its losses and the teacher run in bfloat16 where the device has hardware for it; trained weights and the optimiser
stay float32. What is frozen is kept in the type that computes.
"""

from __future__ import annotations

import functools
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from green_code.models.config import ModelConfig
from green_code.models.shapes import weight_shapes
from green_code.models.torch_decoder import Decoder
from green_code_lab.lite.head_loss import FusedHead, head_loss
from green_code_lab.lite.low_rank import add_low_rank, without_low_rank
from green_code_lab.lite.recipe import Recipe

_WORTH_COMPILING = 20_000_000  # parameters of the layers; compiling takes half a minute
_SCORED_ROWS = 512  # positions whose logits are held at once


class Objective(nn.Module):
    """The decoder that is trained, with the teacher's layers if those are others: one module, so that it can be distributed.

    Args:
        teacher: of the untouched weights; its embeddings, norm and head are the decoder's. None: the decoder without its
            low-rank differences if the recipe's teacher is the untouched model, else the last layer.
    """

    def __init__(self, decoder: Decoder, teacher: Decoder | None, recipe: Recipe, recompute: bool, fuse: bool) -> None:
        super().__init__()
        self.decoder, self.teacher = decoder, teacher
        self._recipe, self._recompute = recipe, recompute
        self._fused = FusedHead(fuse)
        if fuse:
            # Layers share code: windows × trained or not × shapes of training and scoring; torch's limit is 8.
            torch._dynamo.config.recompile_limit = 64
        for model in (decoder, teacher):
            for block in model.layers if model is not None and fuse else ():
                block.compile(dynamic=False)

    def forward(self, tokens: Tensor, depths: tuple[int, ...], weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """Loss, and cross-entropy (nats per token) by depth, the last layer's at the end. tokens: (B, N+1).

        Without weights, the sums of `exit_sums` and their number: all that runs the decoder is a call of this module, which
        gathers its weights where they are sharded.
        """
        if weights is None:
            sums = exit_sums(self.decoder, tokens, depths)
            return sums, sums.new_tensor(tokens[:, 1:].numel())
        inputs, target = tokens[:, :-1], tokens[:, 1:].reshape(-1)
        head = (self.decoder.embed if self.decoder.config.tied_head else self.decoder.head).weight.detach()
        teacher_states = self._teacher_states(inputs, depths[-1], head.dtype)
        states = hidden_at(self.decoder, inputs, depths, self._recompute)
        normed = torch.stack([self.decoder.norm(states[depth]).flatten(0, 1) for depth in depths]).to(head.dtype)
        return head_loss(normed, head, target, weights, self._recipe.distillation, teacher_states, self._fused)

    @torch.no_grad()
    def _teacher_states(self, inputs: Tensor, depth: int, dtype: torch.dtype) -> Tensor | None:
        """(N, C) normed states of the untouched model at `depth`; None where the last layer teaches."""
        if self._recipe.teacher == "last":
            return None
        if self.teacher is not None:
            last = hidden_at(self.teacher, inputs, (depth,))[depth]
        else:
            with without_low_rank(self.decoder):
                last = hidden_at(self.decoder, inputs, (depth,))[depth]
        return self.decoder.norm(last).flatten(0, 1).to(dtype)  # type: ignore[no-any-return]


def skeleton(config: ModelConfig, recipe: Recipe, frozen: torch.dtype, recompute: bool, fuse: bool) -> Objective:
    """The module that trains by a recipe, on the meta device. `frozen`: type of what is not trained; the rest is float32."""
    with torch.device("meta"):
        decoder = Decoder(config).eval().requires_grad_(False)
        if recipe.rank is not None:
            add_low_rank(decoder, recipe.rank)
        teacher = None
        if recipe.teacher == "untouched" and recipe.rank is None:
            teacher = Decoder(config).eval().requires_grad_(False).to(frozen)
    for name, parameter in decoder.named_parameters():
        trained = name.endswith((".down", ".up")) if recipe.rank is not None else name.startswith("layers.")
        parameter.requires_grad_(trained)
        if not trained:
            parameter.data = parameter.data.to(frozen)
    if teacher is not None:
        for shared, module in decoder.named_children():
            if shared != "layers":
                setattr(teacher, shared, module)
    return Objective(decoder, teacher, recipe, recompute, fuse)


def hidden_at(decoder: Decoder, tokens: Tensor, depths: tuple[int, ...], recompute: bool = False) -> dict[int, Tensor]:
    """Hidden states (B, N, C) after each of `depths` layers, in one forward pass without cache.

    `recompute`: of each layer, only the input is kept for the gradient (Chen et al., arXiv 1604.06174).
    """
    x, states = decoder.embed_tokens(tokens), {}
    for layer in range(1, max(depths) + 1):
        if recompute and torch.is_grad_enabled():
            x = checkpoint(decoder.run_layer, layer, x, use_reentrant=False, preserve_rng_state=False)  # type: ignore[no-untyped-call, assignment, unused-ignore]
        else:
            x = decoder.run_layer(layer, x)
        if layer in depths:
            states[layer] = x
    return states


def exit_sums(decoder: Decoder, tokens: Tensor, depths: tuple[int, ...]) -> Tensor:
    """(3, X) float64 sums over positions at X depths, the last layer's at the end, through lenses if there are any: right next
    tokens, top tokens equal to the last layer's, cross-entropies in nats. tokens: (B, N+1)."""
    states = {depth: state.flatten(0, 1) for depth, state in hidden_at(decoder, tokens[:, :-1], depths).items()}
    target, sums = tokens[:, 1:].flatten(), torch.zeros(3, len(depths), dtype=torch.float64, device=tokens.device)
    for at in range(0, len(target), _SCORED_ROWS):
        part = slice(at, at + _SCORED_ROWS)
        final = decoder.logits(states[depths[-1]][part]).argmax(-1)
        for i, depth in enumerate(depths):
            logits = decoder.logits(decoder.apply_lens(states[depth][part], depth)).float()
            top, wanted = logits.argmax(-1), target[part]
            loss = F.cross_entropy(logits, wanted, reduction="sum")
            sums[:, i] += torch.stack(((top == wanted).sum(), (top == final).sum(), loss)).double()
    return sums


def fusing_pays(config: ModelConfig) -> bool:
    """Whether torch can compile here, and the model is large enough for it to pay."""
    shapes = weight_shapes(config).items()
    return sum(prod(s) for name, s in shapes if name.startswith("layers.")) > _WORTH_COMPILING and _compiler_works()


@functools.cache
def _compiler_works() -> bool:
    try:
        torch.compile(torch.square, dynamic=False)(torch.ones(8))
    except Exception:  # no compiler, no Triton, an unsupported platform: many types
        return False
    return True
