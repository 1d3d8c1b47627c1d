"""One decoder in torch for every family of `families.py`.

It has no cache and knows no policy. A layer runs over consecutive positions, and the caller passes the keys and values of
earlier ones. So prefill, one step, deferred fill and verification are one call with different positions (decoding/kv_cache.py);
training is the same call without keys and values.

Tested against transformers: tests/models/test_decoder.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from green_code.models.adapters import LinearAdapter
from green_code.models.backend import (
    CANDIDATES,
    LOGIT_RANGE,
    MAX_LOG_ODDS,
    Buffers,
    ExitParameters,
    ExitProbability,
    ExitQuestion,
    TopToken,
    top_token_of,
)
from green_code.models.config import ModelConfig, Rope, inverse_frequencies
from green_code.models.device import gpu_uuid
from green_code.models.families import Activation

_THREADS = 1  # in service, where a second one buys latency with energy


class TorchBuffers:
    """States (S, C), keys and values (L, K, S, D), in the decoder's data type and on its device."""

    def __init__(self, config: ModelConfig, like: Tensor, capacity: int) -> None:
        self.capacity = capacity
        shape = config.layers, config.kv_heads, capacity, config.head_width
        self.states = like.new_zeros(capacity, config.width)
        self.keys, self.values = like.new_zeros(shape), like.new_zeros(shape)

    @property
    def nbytes(self) -> int:
        return self.states.nbytes + self.keys.nbytes + self.values.nbytes

    def grow(self, capacity: int) -> None:
        """See `models.backend.Buffers`."""
        more = max(0, capacity - self.capacity)
        self.states, self.keys, self.values = (
            F.pad(part, (0, 0, 0, more)) for part in (self.states, self.keys, self.values)
        )
        self.capacity += more


def top_tokens_of(logits: Tensor) -> list[TopToken]:
    """The top tokens of (N, V) logits."""
    found, tokens = logits.float().topk(min(CANDIDATES, logits.shape[-1]), -1)
    behind = found[:, :1] - found
    others = torch.where(behind < LOGIT_RANGE, (-behind).exp(), 0)[:, 1:].sum(-1)
    log_odds = (-others.log()).clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS)
    margins = behind[:, 1].clamp(max=LOGIT_RANGE) if behind.shape[1] > 1 else torch.full_like(log_odds, LOGIT_RANGE)
    return [TopToken(*each) for each in zip(tokens[:, 0].tolist(), log_odds.tolist(), margins.tolist(), strict=True)]


class RMSNorm(nn.Module):
    """x / rms(x) · gain, computed in float32 (Zhang and Sennrich, arXiv 1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], self.weight.float(), self.eps).type_as(x)


def _norm(config: ModelConfig, width: int) -> nn.Module:
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
        self.attention_norm = _norm(config, config.width)
        self.qkv = nn.Linear(config.width, query_width + 2 * self.kv_heads * self.head_width, bias=config.qkv_bias)
        self.q_norm = _norm(config, self.head_width) if row.qk_norm else nn.Identity()
        self.k_norm = _norm(config, self.head_width) if row.qk_norm else nn.Identity()
        self.attention_out = nn.Linear(query_width, config.width, bias=config.attention_out_bias)
        self.attention_out_norm = _norm(config, config.width) if row.sandwich_norms else nn.Identity()
        self.mlp_norm = _norm(config, config.width)
        self.mlp_in = nn.Linear(config.width, config.mlp_width * (2 if row.gated else 1), bias=config.mlp_bias)
        self.mlp_out = nn.Linear(config.mlp_width, config.width, bias=config.mlp_bias)
        self.mlp_out_norm = _norm(config, config.width) if row.sandwich_norms else nn.Identity()

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


class Decoder(nn.Module):
    """Embedding, L blocks, and the final norm and the head, which all exits share.

    Weights have the names of `families.Family.names`. The methods without a docstring are those of `Backend`.
    """

    has_svd_head = False
    rows_at_once = 512  # bounds the attention mask's memory

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocabulary, config.width)
        if config.row.positions == "learned":
            rows = config.max_positions + config.row.learned_position_offset
            self.positions = nn.Embedding(rows, config.width)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = _norm(config, config.width)
        if not config.tied_head:
            self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        self._rotary: dict[Rope, tuple[Tensor, Tensor]] = {}
        self._lens_depths = frozenset[int]()
        self._projected_layers = frozenset[int]()

    @property
    def dtype(self) -> torch.dtype:
        return self.norm.weight.dtype  # type: ignore[return-value]

    @property
    def device(self) -> torch.device:
        return self.embed.weight.device

    @property
    def gpu(self) -> str | None:
        """See `Backend`."""
        return gpu_uuid(self.device)

    @property
    def description(self) -> str:
        kind = "ROCm" if self.device.type == "cuda" and torch.version.hip is not None else self.device.type
        return f"torch, {str(self.dtype).removeprefix('torch.')}" + ("" if kind == "cpu" else f", {kind}")

    @property
    def build(self) -> str:
        threads = f"{_THREADS} thread"
        return f"torch {torch.__version__}, {self.dtype}, {threads}, lenses {sorted(self._lens_depths)}"

    def serve(self) -> None:
        """See `Backend`."""
        if torch.get_num_threads() != _THREADS:
            torch.set_num_threads(_THREADS)

    def layers_at_once(self, rows: int) -> int:
        return 1

    def close(self) -> None:
        """See `Backend`."""
        if self.device.type == "cuda":
            self.to("meta")
            with contextlib.suppress(RuntimeError):  # the card is lost
                torch.cuda.empty_cache()

    def new_buffers(self, capacity: int) -> TorchBuffers:
        """See `Backend`."""
        return TorchBuffers(self.config, self.norm.weight, capacity)  # type: ignore[arg-type]

    def embed_tokens(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Token ids (…, N) at positions start … → hidden states (…, N, C) at depth 0."""
        x = self.embed(tokens)
        if self.config.embedding_scale != 1.0:
            x = x * torch.tensor(self.config.embedding_scale, dtype=x.dtype, device=x.device)
        if self.config.row.positions == "learned":
            rows = torch.arange(start, start + tokens.shape[-1], device=tokens.device)
            x = x + self.positions(rows + self.config.row.learned_position_offset)
        return x  # type: ignore[no-any-return]

    @torch.inference_mode()
    def embed_into(self, buffers: Buffers, start: int, tokens: Sequence[int]) -> None:
        """See `Backend`."""
        ids = torch.tensor(list(tokens), device=self.device)
        _own(buffers).states[start : start + len(tokens)] = self.embed_tokens(ids, start)

    def run_layer(self, layer: int, x: Tensor, start: int = 0, cache: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Layer `layer` (from 1) over (B, N, C) at positions start …; see `Block.forward`."""
        return self.layers[layer - 1](x, self._rotary_of(layer, start, x), start, cache)  # type: ignore[no-any-return]

    @torch.inference_mode()
    def run_layers(self, first: int, last: int, buffers: Buffers, start: int, stop: int) -> None:
        """See `Backend`."""
        own = _own(buffers)
        x = own.states[None, start:stop]
        for layer in range(first, last + 1):
            cache = own.keys[layer - 1][None], own.values[layer - 1][None]
            x.copy_(self.run_layer(layer, x, start, cache))

    @torch.inference_mode()
    def project_kv(self, first: int, last: int, buffers: Buffers, start: int, stop: int, propagated: bool) -> None:
        """See `Backend`."""
        own = _own(buffers)
        x = own.states[None, start:stop]
        for layer in range(first, last + 1):
            projection = (
                self.get_buffer(f"kv_projection_{layer}") if propagated and layer in self._projected_layers else None
            )
            k, v = self.keys_values(layer, x, start, projection)
            own.keys[layer - 1, :, start:stop], own.values[layer - 1, :, start:stop] = k[0], v[0]

    def keys_values(
        self, layer: int, x: Tensor, start: int = 0, projection: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Keys and values, each (B, K, N, D), of layer `layer` for states (B, N, C) at positions start …; see `Block.keys_values`."""
        block = self.layers[layer - 1]
        return block.keys_values(block.attention_norm(x), self._rotary_of(layer, start, x), projection)  # type: ignore[operator,no-any-return]

    def logits(self, x: Tensor) -> Tensor:
        """The shared final norm and head: (…, C) at any depth → (…, V)."""
        return self._head(self.norm(x))

    def _head(self, normed: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits of all tokens, or of those in `rows`."""
        weight = self.embed.weight if self.config.tied_head else self.head.weight
        logits = F.linear(normed, weight if rows is None else weight[rows])
        scale = self.config.logit_scale
        return softcapped(logits if scale == 1.0 else logits * scale, self.config.logit_softcap)

    def set_lenses(self, lenses: Mapping[int, LinearAdapter]) -> None:
        """Replace the exits' lenses, which are no part of the weights."""
        for depth in self._lens_depths:
            delattr(self, f"lens_{depth}")
        self._lens_depths = frozenset(lenses)
        for depth, lens in lenses.items():
            matrix = torch.from_numpy(lens.matrix * lens.gain).to(self.device, self.dtype)
            self.register_buffer(f"lens_{depth}", matrix, persistent=False)

    def set_kv_projections(self, projections: Mapping[int, LinearAdapter]) -> None:
        """Replace the learned KV projections, which are no part of the weights."""
        for layer in self._projected_layers:
            delattr(self, f"kv_projection_{layer}")
        self._projected_layers = frozenset(projections)
        for layer, adapter in projections.items():
            added = torch.from_numpy(adapter.matrix * adapter.gain)
            self.register_buffer(f"kv_projection_{layer}", self.kv_projection(layer, added), persistent=False)

    def kv_projection(self, layer: int, added: Tensor) -> Tensor:
        """(2·K·D, C): a layer's own projection of keys and values with `added` A · g, in the decoder's dtype."""
        own: Tensor = self.layers[layer - 1].key_value_weight  # type: ignore[assignment]
        return (own.float() + added.to(own.device)).to(self.dtype)

    def apply_lens(self, x: Tensor, depth: int) -> Tensor:
        """States (…, C) at `depth` as the head reads them: through the exit's lens, where it has one."""
        if depth not in self._lens_depths:
            return x
        unit = F.rms_norm(x.float(), x.shape[-1:], eps=self.config.norm_eps).type_as(x)
        return unit + F.linear(unit, self.get_buffer(f"lens_{depth}"))

    @torch.inference_mode()
    def top_tokens(
        self, buffers: Buffers, positions: Sequence[int], depth: int, question: ExitQuestion | None = None
    ) -> list[TopToken]:
        """See `Backend`: by the whole head."""
        first, end = positions[0], positions[-1] + 1
        adjacent = end - first == len(positions)
        x = _own(buffers).states[slice(first, end) if adjacent else list(positions)]
        return top_tokens_of(self.logits(self.apply_lens(x, depth)))

    @torch.inference_mode()
    def top_token_among(self, buffers: Buffers, position: int, depth: int, tokens: np.ndarray) -> TopToken:
        """See `Backend`."""
        normed = self.norm(self.apply_lens(_own(buffers).states[position, None], depth))[0]
        rows = torch.from_numpy(tokens).to(self.device)
        return top_token_of(tokens, self._head(normed, rows).float().cpu().numpy())

    def exit_probability(self, parameters: ExitParameters) -> ExitProbability | None:
        """See `Backend`."""
        return None

    def synchronise(self) -> None:
        """See `Backend`."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def state(self, buffers: Buffers, position: int) -> np.ndarray:
        """See `Backend`."""
        state: np.ndarray = self.states(buffers, position, position + 1)[0]
        return state

    @torch.inference_mode()
    def states(self, buffers: Buffers, start: int, stop: int) -> np.ndarray:
        """See `Backend`."""
        return _array(_own(buffers).states[start:stop])

    @torch.inference_mode()
    def lensed_states(self, buffers: Buffers, start: int, stop: int, depth: int) -> np.ndarray:
        """See `Backend`."""
        return _array(self.apply_lens(_own(buffers).states[start:stop], depth))

    @torch.inference_mode()
    def all_logits(self, buffers: Buffers, start: int, stop: int, depth: int) -> np.ndarray:
        """See `Backend`."""
        return _array(self.logits(self.apply_lens(_own(buffers).states[start:stop], depth)))

    def _rotary_of(self, layer: int, start: int, like: Tensor) -> tuple[Tensor, Tensor] | None:
        """Cosines and sines of positions start … for a layer, as `Block.forward` takes them."""
        rope = self.config.ropes[layer - 1]
        return None if rope is None else self._cosines_sines(rope, start, like)

    def _cosines_sines(self, rope: Rope, start: int, like: Tensor) -> tuple[Tensor, Tensor]:
        end = start + like.shape[1]
        table = self._rotary.get(rope)
        if table is None or table[0].shape[0] < end or table[0].device != like.device:
            rows = max(1024, 1 << (end - 1).bit_length())
            angles = torch.outer(
                torch.arange(rows).float(),
                torch.from_numpy(inverse_frequencies(rope, self.config.rotary_width or self.config.head_width)),
            )
            angles = torch.cat((angles, angles), dim=-1).to(like.device)  # (rows, rotated width)
            table = self._rotary[rope] = (angles.cos(), angles.sin())
        return table[0][start:end].to(like.dtype), table[1][start:end].to(like.dtype)

    @classmethod
    def load(cls, config: ModelConfig, weights: Mapping[str, np.ndarray] | Mapping[str, Tensor]) -> Decoder:
        """A decoder with these weights, which are not copied.

        Raises:
            RuntimeError: a weight is missing, unknown, or has the wrong shape.
        """
        with torch.device("meta"):
            decoder = cls(config)
        decoder.load_state_dict({name: torch.as_tensor(w) for name, w in weights.items()}, strict=True, assign=True)
        return decoder.requires_grad_(False).eval()


def _own(buffers: Buffers) -> TorchBuffers:
    if not isinstance(buffers, TorchBuffers):
        raise ValueError("buffers are of another decoder")
    return buffers


def _array(x: Tensor) -> np.ndarray:
    found: np.ndarray = x.detach().float().cpu().numpy()
    return found
