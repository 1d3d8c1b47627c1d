"""What a token and a prompt cost on a device, from a model's shape: joules per byte, per layer and per product, and cards' data sheets.

A token alone in its batch waits for memory: it costs the bytes of the weights that it reads, and something for each layer, whatever its
size. A prompt's position costs the products of its layers' weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from green_code.engine.assumed_costs import layer_weights
from green_code.models.backend import CANDIDATES
from green_code.models.rows import Shape
from green_code.models.svd_head import RANK


@dataclass(frozen=True)
class Rates:
    """Seconds of one busy core, or of a card: per byte that is read, per layer that runs, per product of a position by format."""

    byte: float
    layer: float
    product: Mapping[str, float]

    def token(self, layers: int, read_bytes: float) -> float:
        return self.byte * read_bytes + self.layer * layers

    def prompt(self, shape: Shape, positions: int, form: str) -> float:
        """The head reads the last position alone, and the last layer nearly so: both are left out."""
        return self.product[form] * positions * (shape.layers - 1) * layer_weights(shape.config())


def fitted(one: Mapping[str, Any], other: Mapping[str, Any], prompts: Sequence[Mapping[str, Any]]) -> Rates:
    """From measured rows of two models (`layers`, `bytes`, `token` in seconds): two equations. `prompts`: rows of one model, with
    `prompt` in seconds, a `shape`, a `format` and `positions`; each format's rate is theirs."""
    determinant = one["bytes"] * other["layers"] - other["bytes"] * one["layers"]
    byte = (one["token"] * other["layers"] - other["token"] * one["layers"]) / determinant
    layer = (one["bytes"] * other["token"] - other["bytes"] * one["token"]) / determinant
    single = Rates(byte, layer, dict.fromkeys(("int8", "int4"), 1.0))
    rates = {
        row["format"]: row["prompt"] / single.prompt(row["shape"], row["positions"], row["format"]) for row in prompts
    }
    return Rates(byte, layer, rates)


@dataclass(frozen=True)
class Card:
    """From a data sheet: memory in bytes, its bytes a second, products a second in bfloat16 without sparsity (two operations each),
    watts at most, and bytes a second between two cards, in one direction."""

    name: str
    memory: float
    bandwidth: float
    products: float
    watts: float
    link: float
    source: str


CARDS = (
    Card("H100 SXM", 80e9, 3.35e12, 989e12 / 2, 700, 450e9, "https://www.nvidia.com/en-us/data-center/h100/"),
    Card("A100 SXM 80 GB", 80e9, 2.039e12, 312e12 / 2, 400, 300e9, "https://www.nvidia.com/en-us/data-center/a100/"),
    Card("L4", 24e9, 300e9, 121e12 / 2, 72, 32e9, "https://www.nvidia.com/en-us/data-center/l4/"),
)


@dataclass(frozen=True)
class OnCard:
    """A model on cards of one kind, a token at a time. `bits`: of a weight; `share`: of the bandwidth that is reached."""

    shape: Shape
    card: Card
    bits: int
    share: float

    @property
    def layer_bytes(self) -> float:
        return layer_weights(self.shape.config()) * self.bits / 8

    @property
    def head_bytes(self) -> float:
        """What the SVD head reads: a preview of its rank, and the candidates' rows."""
        return (self.shape.vocabulary * RANK + CANDIDATES * self.shape.width) * self.bits / 8

    @property
    def weights(self) -> float:
        """Bytes that are kept: layers, head, and the embedding, where it is not the head."""
        table = self.shape.vocabulary * self.shape.width * self.bits / 8
        return self.shape.layers * self.layer_bytes + table * (1 if self.shape.tied else 2)

    @property
    def fits(self) -> bool:
        """With a tenth of the memory left for the cache and what surrounds it."""
        return self.weights <= 0.9 * self.card.memory

    def token(self, depth: float = 1.0, heads: float = 1.0) -> float:
        """Seconds of a token that leaves after this share of the layers and reads the head so many times."""
        read = depth * self.shape.layers * self.layer_bytes + heads * self.head_bytes
        return read / (self.share * self.card.bandwidth)

    def split(self, cards: int, latency: float, batch: int = 1) -> float:
        """Seconds of a token with each layer split among cards (tensor-parallel, arXiv 1909.08053): two sums of the layer's output a
        layer, 2 (n − 1) / n of its bytes over each link, `latency` seconds each."""
        if cards == 1:
            return self.token()
        moved = 2 * (cards - 1) / cards * batch * self.shape.width * 2 / self.card.link
        return self.token() / cards + 2 * self.shape.layers * (latency + moved)

    @property
    def position(self) -> float:
        """Seconds that one more row of a batch takes in a layer, by its products."""
        return layer_weights(self.shape.config()) / (self.share * self.card.products)
