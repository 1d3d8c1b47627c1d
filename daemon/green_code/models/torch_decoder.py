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
    nothing_to_check,
    top_token_of,
)
from green_code.models.config import ModelConfig, Rope, inverse_frequencies
from green_code.models.device import gpu_uuid
from green_code.models.torch_block import Block, norm_of, softcapped

_THREADS = 1  # in service, where a second one buys latency with energy


class TorchBuffers:
    """States (S, C), keys and values (L, K, S, D), in the decoder's data type and on its device.

    Args:
        make_room: called with the bytes that will be allocated; raises where the device has no room for them.
    """

    def __init__(
        self, config: ModelConfig, like: Tensor, capacity: int, make_room: Callable[[int], None] = nothing_to_check
    ) -> None:
        self.capacity, self._make_room = 0, make_room
        shape = config.layers, config.kv_heads, 0, config.head_width
        self._position_bytes = like.element_size() * (
            config.width + 2 * config.layers * config.kv_heads * config.head_width
        )
        self.states = like.new_zeros(0, config.width)
        self.keys, self.values = like.new_zeros(shape), like.new_zeros(shape)
        self.grow(capacity)

    @property
    def nbytes(self) -> int:
        return self.states.nbytes + self.keys.nbytes + self.values.nbytes

    def grow(self, capacity: int) -> None:
        """See `models.backend.Buffers`."""
        if capacity <= self.capacity:
            return
        more = capacity - self.capacity
        self._make_room(self._position_bytes * capacity)  # the old ones are freed after the new ones are there
        self.states, self.keys, self.values = (
            F.pad(part, (0, 0, 0, more)) for part in (self.states, self.keys, self.values)
        )
        self.capacity = capacity


def top_tokens_of(logits: Tensor) -> list[TopToken]:
    """The top tokens of (N, V) logits."""
    found, tokens = logits.float().topk(min(CANDIDATES, logits.shape[-1]), -1)
    behind = found[:, :1] - found
    others = torch.where(behind < LOGIT_RANGE, (-behind).exp(), 0)[:, 1:].sum(-1)
    log_odds = (-others.log()).clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS)
    margins = behind[:, 1].clamp(max=LOGIT_RANGE) if behind.shape[1] > 1 else torch.full_like(log_odds, LOGIT_RANGE)
    return [TopToken(*each) for each in zip(tokens[:, 0].tolist(), log_odds.tolist(), margins.tolist(), strict=True)]


class Decoder(nn.Module):
    """Embedding, L blocks, and the final norm and the head, which all exits share.

    Weights have the names of `families.Family.names`. The methods without a docstring are those of `Backend`.
    """

    has_svd_head = False
    rows_at_once = 512  # bounds the attention mask's memory

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.make_room: Callable[[int], None] = nothing_to_check
        """See `TorchBuffers`."""
        self.embed = nn.Embedding(config.vocabulary, config.width)
        if config.row.positions == "learned":
            rows = config.max_positions + config.row.learned_position_offset
            self.positions = nn.Embedding(rows, config.width)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = norm_of(config, config.width)
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
        return TorchBuffers(self.config, self.norm.weight, capacity, self.make_room)  # type: ignore[arg-type]

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
