"""Matrices that learn as their delta will hold them.

A delta keeps two or three bits of what a matrix learned (models/delta.py), and what fine-tuning brings late is no larger than what that
rounding takes. So the forward pass sees rounded matrices, while steps add up in those behind them, until a code changes: the
straight-through estimator (Bengio et al., arXiv 1308.3432). Codes change slowly, and what rounding takes stands for some steps at
a time: it is a tenth of a step's time.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from green_code.models.delta import held


class Rounding:
    """Of `learned` matrices, whose values it changes in place."""

    def __init__(
        self, learned: Mapping[str, Tensor], base: Mapping[str, Tensor], bits: Mapping[str, int]
    ) -> None:
        self._learned, self._bits = learned, bits
        self._base = {name: base[name].to(matrix.device, torch.float32) for name, matrix in learned.items()}
        self._taken = {name: torch.zeros_like(matrix) for name, matrix in learned.items()}

    def behind(self) -> dict[str, Tensor]:
        """The matrices that steps add up in."""
        return {name: matrix.detach() - self._taken[name] for name, matrix in self._learned.items()}

    @torch.no_grad()
    def round(self) -> None:
        """Let each matrix be what its delta would hold of it now."""
        for name, behind in self.behind().items():
            seen = self._base[name] + held(behind - self._base[name], self._bits[name])
            self._learned[name].copy_(seen)
            self._taken[name] = seen - behind
