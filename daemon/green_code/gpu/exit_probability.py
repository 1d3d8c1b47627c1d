"""The exit classifier on a GPU. Its decision is computed with the top token (kernels_head.py) where a question asks for it, else here."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from green_code.gpu.packing import coded
from green_code.gpu.plan import DeviceClassifier
from green_code.gpu.weights import DeviceMatrix
from green_code.models.backend import Buffers, ExitParameters, TopToken

_EXTRA_FEATURES = 3
_EPSILON = 1e-6  # of the state's mean square


class GpuExitProbability:
    """See `models.backend.ExitProbability`.

    Args:
        width: of the model. states: gives the state of a position, (1, C), on the device.
    Raises:
        ValueError: the parameters do not fit one another or this model.
    """

    def __init__(
        self, parameters: ExitParameters, width: int, device: torch.device, states: Callable[[Buffers, int], Tensor]
    ) -> None:
        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)

        p, (hidden, features), self._states = parameters, parameters.inner.shape, states
        fits = (
            features == width + _EXTRA_FEATURES
            and p.biases.shape == (len(p.biases), hidden)
            and (p.action.shape, p.action_bias.shape) == ((2, hidden), (2,))
        )
        if not fits:
            raise ValueError("these are not the parameters of an exit classifier for this model")
        codes = tensor(coded(p.inner[:, :width], 32)[0])
        self.on_device = DeviceClassifier(
            DeviceMatrix(hidden, codes.shape[1], 32, codes, codes, codes),
            tensor(p.inner[:, width:].T),
            tensor(p.biases),
            tensor(p.action[1] - p.action[0]),
            float(p.action_bias[1] - p.action_bias[0]),
            p.pending_unit,
            p.log_odds_within,
        )

    def __call__(self, buffers: Buffers, position: int, pending: int, top: TopToken, index: int) -> float:
        if top.exit_probability is not None:
            return top.exit_probability
        c, x = self.on_device, self._states(buffers, position)
        unit = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + _EPSILON)
        odds = max(-c.log_odds_within, min(c.log_odds_within, top.log_odds))
        more = torch.tensor([math.log1p(pending) / c.pending_unit, odds, top.margin], device=x.device)
        hidden = F.linear(F.pad(unit, (0, c.inner.inputs - unit.shape[1])), c.inner.codes)[0]
        hidden = hidden + more @ c.extra + c.biases[index]
        return float(torch.sigmoid((hidden.tanh() * c.action).sum() + c.action_bias))
