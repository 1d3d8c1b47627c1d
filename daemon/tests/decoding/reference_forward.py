"""A forward pass position by position and head by head, as an independent reference for propagated KV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from green_code.models.config import Rope, inverse_frequencies
from green_code.models.torch_decoder import Decoder


def rotated(x: Tensor, rope: Rope | None, position: int) -> Tensor:
    """(heads, D) with the halves of each head as real and imaginary parts, rotated by position × frequency."""
    if rope is None:
        return x
    low, high = x.chunk(2, dim=-1)
    angles = position * torch.from_numpy(inverse_frequencies(rope, x.shape[-1]))
    pairs = torch.complex(low, high) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat((pairs.real, pairs.imag), dim=-1)


@torch.no_grad()
def reference_forward(
    decoder: Decoder, ids: Sequence[int], depths: Sequence[int], kv_projections: Mapping[int, Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run each position up to its depth; the layers above take the state that it has there for their keys and values.

    Args:
        kv_projections: by layer, from 1, the matrix (2·K·D, C) that makes keys and values of positions below the layer;
            a layer without one uses its own.
    Returns:
        States (N, C) at the given depths; keys and values, each (L, N, K, D).
    """
    c = decoder.config
    keys: list[list[Tensor]] = [[] for _ in range(c.layers)]
    values: list[list[Tensor]] = [[] for _ in range(c.layers)]
    states = []
    for position, (token, depth) in enumerate(zip(ids, depths, strict=True)):
        x = decoder.embed_tokens(torch.tensor([token]), position)[0]
        for layer, block in enumerate(decoder.layers):
            parts = block.qkv(block.attention_norm(x)).view(-1, c.head_width)
            q, k, v = parts.split([c.heads, c.kv_heads, c.kv_heads])
            if layer >= depth and kv_projections and layer + 1 in kv_projections:
                projected = kv_projections[layer + 1] @ block.attention_norm(x)
                if block.qkv.bias is not None:
                    projected = projected + block.qkv.bias[-len(projected) :]
                k, v = projected.view(-1, c.head_width).chunk(2)
            keys[layer].append(rotated(block.k_norm(k), c.ropes[layer], position))
            values[layer].append(v)
            if layer >= depth:
                continue  # the state is propagated: it stays as it is
            q = rotated(block.q_norm(q), c.ropes[layer], position)
            visible = slice(max(0, position + 1 - (c.windows[layer] or len(ids))), None)
            k, v = torch.stack(keys[layer][visible]), torch.stack(values[layer][visible])  # (S, K, D)
            heads = []
            for head in range(c.heads):
                kv_head = head * c.kv_heads // c.heads
                heads.append((k[:, kv_head] @ q[head] * c.attention_scale).softmax(0) @ v[:, kv_head])
            x = x + block.attention_out_norm(block.attention_out(torch.cat(heads)))
            inner = block.mlp_in(block.mlp_norm(x))
            if c.row.gated:
                gate, up = inner.chunk(2)
                inner = block.activation(gate) * up
            else:
                inner = block.activation(inner)
            x = x + block.mlp_out_norm(block.mlp_out(inner))
        states.append(x)
    stacked_keys, stacked_values = (torch.stack([torch.stack(layer) for layer in layers]) for layers in (keys, values))
    return torch.stack(states), stacked_keys, stacked_values
