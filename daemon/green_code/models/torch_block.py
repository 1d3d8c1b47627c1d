"""A decoder block in torch, as every family has it: attention and MLP with norms and residual connections."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from green_code.models.config import ModelConfig
from green_code.models.families import Activation


class RMSNorm(nn.Module):
    """x / rms(x) · gain, computed in float32 (Zhang and Sennrich, arXiv 1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], self.weight.float(), self.eps).type_as(x)


def norm_of(config: ModelConfig, width: int) -> nn.Module:
    """A norm of the family's kind over so many numbers."""
    if config.row.norm == "rms":
        return RMSNorm(width, config.norm_eps)
    return nn.LayerNorm(width, eps=config.norm_eps)


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": F.relu,
}


def softcapped(x: Tensor, cap: float | None) -> Tensor:
    """c · tanh(x / c): bounded by ±c (Gemma 2, arXiv 2408.00118)."""
    return x if cap is None else cap * torch.tanh(x / cap)


class Block(nn.Module):
    """Decoder block: attention and MLP, each with a pre-norm and a residual connection."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        row = config.row
        self.heads, self.kv_heads, self.head_width = config.heads, config.kv_heads, config.head_width
        self.window = config.windows[layer]
        self.scale, self.softcap = config.attention_scale, config.attention_softcap
        self.residual_scale = config.residual_scale
        self.gated = row.gated
        self.activation = _ACTIVATIONS[config.activation]
        query_width = self.heads * self.head_width
        self.attention_norm = norm_of(config, config.width)
        self.qkv = nn.Linear(config.width, query_width + 2 * self.kv_heads * self.head_width, bias=config.qkv_bias)
        self.q_norm = norm_of(config, self.head_width) if row.qk_norm else nn.Identity()
        self.k_norm = norm_of(config, self.head_width) if row.qk_norm else nn.Identity()
        self.attention_out = nn.Linear(query_width, config.width, bias=config.attention_out_bias)
        self.attention_out_norm = norm_of(config, config.width) if row.sandwich_norms else nn.Identity()
        self.mlp_norm = norm_of(config, config.width)
        self.mlp_in = nn.Linear(config.width, config.mlp_width * (2 if row.gated else 1), bias=config.mlp_bias)
        self.mlp_out = nn.Linear(config.mlp_width, config.width, bias=config.mlp_bias)
        self.mlp_out_norm = norm_of(config, config.width) if row.sandwich_norms else nn.Identity()

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor] | None,
        start: int = 0,
        cache: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Run the block over positions start … start+N−1.

        Args:
            x: (B, N, C) hidden states.
            rotary: cosines and sines, each (N, rotated width), of these positions; None: nothing is rotated.
            start: absolute index of the first position.
            cache: keys and values, each (B, K, S, D), valid before `start`; those of the new positions are written. Without
                it, the N positions attend only to one another (start must be 0).
        Returns:
            (B, N, C) hidden states.
        """
        x = x + self._scaled(self.attention_out_norm(self._attend(self.attention_norm(x), rotary, start, cache)))
        inner = self.mlp_in(self.mlp_norm(x))
        if self.gated:
            gate, up = inner.chunk(2, dim=-1)
            inner = self.activation(gate) * up
        else:
            inner = self.activation(inner)
        return x + self._scaled(self.mlp_out_norm(self.mlp_out(inner)))

    def _scaled(self, added: Tensor) -> Tensor:
        return added if self.residual_scale == 1.0 else added * self.residual_scale

    def project(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Normed states (B, N, C) → queries (B, H, N, D), keys and values, each (B, K, N, D), with rotary embedding."""
        batch, new, _ = x.shape
        sizes = [self.heads * self.head_width] + [self.kv_heads * self.head_width] * 2
        q, k, v = (
            part.view(batch, new, -1, self.head_width).transpose(1, 2) for part in self.qkv(x).split(sizes, dim=-1)
        )
        q, k = self.q_norm(q), self.k_norm(k)
        if rotary is not None:
            q, k = _rotate(q, *rotary), _rotate(k, *rotary)
        return q, k, v

    @property
    def key_value_weight(self) -> Tensor:
        """(2·K·D, C): the rows of `qkv` for keys and values."""
        return self.qkv.weight[self.heads * self.head_width :]

    def keys_values(
        self, x: Tensor, rotary: tuple[Tensor, Tensor] | None, projection: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Normed states (B, N, C) → keys and values, each (B, K, N, D).

        Args:
            projection: (2·K·D, C); by default the layer's own.
        """
        bias = None if self.qkv.bias is None else self.qkv.bias[self.heads * self.head_width :]
        made = F.linear(x, self.key_value_weight if projection is None else projection, bias)
        k, v = made.view(*x.shape[:2], 2 * self.kv_heads, self.head_width).transpose(1, 2).chunk(2, dim=1)
        k = self.k_norm(k)
        return k if rotary is None else _rotate(k, *rotary), v

    def _attend(
        self, x: Tensor, rotary: tuple[Tensor, Tensor] | None, start: int, cache: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        batch, new, _ = x.shape
        q, k, v = self.project(x, rotary)
        first = 0
        if cache is not None:
            keys, values = cache
            keys[:, :, start : start + new] = k
            values[:, :, start : start + new] = v
            if self.window is not None:
                first = max(0, start - self.window + 1)
            k, v = keys[:, :, first : start + new], values[:, :, first : start + new]
        mask = None if new == 1 else _mask(start, new, first, self.window, x.device)
        out = self.attention(q, k, v, mask)
        return self.attention_out(out.transpose(1, 2).reshape(batch, new, -1))  # type: ignore[no-any-return]

    def attention(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Queries (B, H, N, D), keys and values (B, K, S, D) → (B, H, N, D); `mask` (N, S): which keys each query attends to, None: all."""
        if self.softcap is None:
            return F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, scale=self.scale, enable_gqa=self.heads != self.kv_heads
            )
        k, v = (part.repeat_interleave(self.heads // self.kv_heads, dim=1) for part in (k, v))
        scores = softcapped(q @ k.transpose(-2, -1) * self.scale, self.softcap)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(-1, dtype=torch.float32).type_as(v) @ v


def _mask(start: int, new: int, first: int, window: int | None, device: torch.device) -> Tensor:
    """(N, S) boolean: to which of the positions first … start+N−1 each new position attends."""
    query = torch.arange(start, start + new, device=device)[:, None]
    key = torch.arange(first, start + new, device=device)[None, :]
    seen = key <= query
    return seen if window is None else seen & (key > query - window)


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary embedding of the first numbers of (…, N, D), in the half-split layout of the Hugging Face checkpoints."""
    x, rest = x[..., : cosine.shape[-1]], x[..., cosine.shape[-1] :]
    low, high = x.chunk(2, dim=-1)
    rotated = (x * cosine + torch.cat((-high, low), dim=-1) * sine).type_as(x)
    return torch.cat((rotated, rest), dim=-1) if rest.shape[-1] else rotated
