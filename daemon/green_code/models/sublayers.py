"""Which sublayers settled positions go through above their plateau (decoding/staircase.py).

A layer is an attention and an MLP, each of which adds to the state what it finds. Above the plateau, settled positions go through
those alone without which what later positions see of them would be too far from full depth: attentions bring a position what is said
around it, and no projection of its state can make up for that; of MLPs, most can be missed. Leaving sublayers out by a table that
was found by trying is known from pruning (ShortGPT, arXiv 2403.03853; attentions before MLPs: He et al., arXiv 2406.15786); here it
is for prompts alone, and tokens are read and written by whole layers.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

_ATTENTION, _MLP = "sublayers.attention", "sublayers.mlp"


@dataclass(frozen=True)
class Sublayers:
    """Layers above the plateau, ascending, through whose attention, and through whose MLP, settled positions go."""

    attention: tuple[int, ...] = ()
    mlp: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, found: Any) -> Sublayers:
        """
        Raises:
            ValueError: it is not what `to_json` gives.
        """
        if found is None:
            return cls()
        known = isinstance(found, Mapping) and set(found) == {"attention", "mlp"}
        if not known or not all(_ascending(layers) for layers in found.values()):
            raise ValueError(f"{found} are no ascending layers of attention and mlp")
        return cls(tuple(found["attention"]), tuple(found["mlp"]))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_tensors(cls, tensors: MutableMapping[str, Tensor]) -> Sublayers:
        """What `to_tensors` gave, taken out of these.

        Raises:
            KeyError: it is not there.
        """
        return cls(tuple(tensors.pop(_ATTENTION).tolist()), tuple(tensors.pop(_MLP).tolist()))

    def to_tensors(self) -> dict[str, Tensor]:
        """As converted weights keep them."""
        kinds = {_ATTENTION: self.attention, _MLP: self.mlp}
        return {name: torch.tensor(layers, dtype=torch.int32) for name, layers in kinds.items()}

    def __len__(self) -> int:
        return len(self.attention) + len(self.mlp)

    def __str__(self) -> str:
        kinds = [("attention", self.attention), ("MLP", self.mlp)]
        named = (f"{kind} {', '.join(map(str, layers))}" for kind, layers in kinds if layers)
        return " and ".join(named) or "none"

    @property
    def layers(self) -> list[int]:
        """Of any of them, ascending."""
        return sorted({*self.attention, *self.mlp})

    def within(self, first: int, last: int) -> int:
        """How many are of layers `first` … `last`."""
        return sum(first <= layer <= last for layer in (*self.attention, *self.mlp))


def _ascending(layers: Any) -> bool:
    found = isinstance(layers, list | tuple) and all(type(layer) is int and layer > 0 for layer in layers)
    return found and list(layers) == sorted(set(layers))
