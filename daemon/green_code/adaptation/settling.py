"""Where a bundle's prompts settle, as `green-code adapt` is asked and manifests say it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from green_code.models.bundle import Bundle
from green_code.models.sublayers import Sublayers
from green_code.problems import Problem


@dataclass(frozen=True)
class Settling:
    """The plateau, none where prompts rise, and the sublayers above it that settled positions go through."""

    plateau: int | None = None
    sublayers: Sublayers = field(default_factory=Sublayers)

    @classmethod
    def of(cls, bundle: Bundle | None) -> Settling:
        return cls() if bundle is None else cls(bundle.plateau, bundle.sublayers)

    def to_manifest(self) -> dict[str, Any]:
        """Its entries of a manifest; none where prompts rise."""
        if self.plateau is None:
            return {}
        return {"plateau": self.plateau, "sublayers": self.sublayers.to_json()}

    def below(self, exits: Sequence[int]) -> Settling:
        """The same, but none where the plateau is behind the last exit."""
        return Settling() if self.plateau is not None and self.plateau > exits[-1] else self

    def check(self, exits: Sequence[int], layers: int) -> None:
        """Raises Problem where the plateau is no layer up to the last exit, or a sublayer none between it and the last layer of all."""
        above = self.sublayers.layers
        if self.plateau is None:
            if above:
                raise _refusal(
                    "without a plateau nothing settles that could go through them; give --plateau, too"
                )
            return
        if not exits or not 0 < self.plateau <= exits[-1]:
            where = f"from 1 to {exits[-1]}, the last exit" if exits else "once the bundle has exits"
            raise Problem(
                "bad_request", f"prompts cannot settle at layer {self.plateau}; give --plateau {where}."
            )
        for layer in above:
            if not self.plateau < layer < layers:
                where = (
                    f"give layers from {self.plateau + 1} to {layers - 1}"
                    if self.plateau + 1 < layers
                    else "give a lower --plateau"
                )
                raise _refusal(
                    f"what settles at layer {self.plateau} cannot go through one of layer {layer}; {where}"
                )


def asked_settling(args: argparse.Namespace, own: Bundle | None) -> Settling:
    """Who names a plateau names its sublayers, too; otherwise what is not named is the bundle's.

    Raises:
        Problem: sublayers are no ascending layers.
    """
    attention, mlp = (_layers(text) for text in (args.attentions, args.mlps))
    if args.plateau is not None or own is None:
        return Settling(args.plateau, Sublayers(attention or (), mlp or ()))
    sublayers = own.sublayers
    return Settling(
        own.plateau,
        Sublayers(
            sublayers.attention if attention is None else attention, sublayers.mlp if mlp is None else mlp
        ),
    )


def _layers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        layers = [int(each) for each in text.split(",")] if text else []
        return Sublayers.from_json({"attention": layers, "mlp": []}).attention
    except ValueError as error:
        raise _refusal(f"{text!r} are none; give ascending layers such as 8,9,11, or '' for none") from error


def _refusal(why: str) -> Problem:
    return Problem("bad_request", f"--attentions, --mlps: {why}.")
