"""Layers computed position by position and head by head, where states of shallower positions are handed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from green_code.models.decoder import Decoder, inverse_frequencies
from green_code.models.families import Rope


def turned(x: Tensor, rope: Rope | None, position: int) -> Tensor:
    """(heads, D) with the halves of each head as real and imaginary parts, turned by position × frequency."""
    if rope is None:
        return x
    low, high = x.chunk(2, dim=-1)
    angles = position * inverse_frequencies(rope, x.shape[-1])
    pairs = torch.complex(low, high) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat((pairs.real, pairs.imag), dim=-1)


@torch.no_grad()
def by_hand(
    decoder: Decoder, ids: Sequence[int], left: Sequence[int], entries: Mapping[int, Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Position by position and head by head: states (N, C) at the depths `left`, keys and values (L, N, K, D).

    `entries`: by layer, from 1, what keys and values are of states that are handed on to it, (2·K·D, C); else the layer's own.
    """
    c = decoder.config
    keys: list[list[Tensor]] = [[] for _ in range(c.layers)]
    values: list[list[Tensor]] = [[] for _ in range(c.layers)]
    states = []
    for position, (token, depth) in enumerate(zip(ids, left, strict=True)):
        x = decoder.embed_tokens(torch.tensor([token]), position)[0]
        for layer, block in enumerate(decoder.layers):
            parts = block.qkv(block.attention_norm(x)).view(-1, c.head_width)
            q, k, v = parts.split([c.heads, c.kv_heads, c.kv_heads])
            if layer >= depth and entries and layer + 1 in entries:
                own = entries[layer + 1] @ block.attention_norm(x)
                if block.qkv.bias is not None:
                    own = own + block.qkv.bias[-len(own) :]
                k, v = own.view(-1, c.head_width).chunk(2)
            keys[layer].append(turned(block.k_norm(k), c.ropes[layer], position))
            values[layer].append(v)
            if layer >= depth:
                continue  # x stays as it is: it is handed on
            q = turned(block.q_norm(q), c.ropes[layer], position)
            seen = slice(max(0, position + 1 - (c.windows[layer] or len(ids))), None)
            k, v = torch.stack(keys[layer][seen]), torch.stack(values[layer][seen])  # (S, K, D)
            heads = []
            for head in range(c.heads):
                of = head * c.kv_heads // c.heads
                heads.append((k[:, of] @ q[head] * c.attention_scale).softmax(0) @ v[:, of])
            x = x + block.attention_out_norm(block.attention_out(torch.cat(heads)))
            inner = block.mlp_in(block.mlp_norm(x))
            if c.row.gated:
                gate, up = inner.chunk(2)
                inner = block.activation(gate) * up
            else:
                inner = block.activation(inner)
            x = x + block.mlp_out_norm(block.mlp_out(inner))
        states.append(x)
    return torch.stack(states), *(torch.stack([torch.stack(own) for own in all_]) for all_ in (keys, values))  # type: ignore[return-value]
