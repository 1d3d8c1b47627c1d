"""Whether there is a card. Imports no kernels: Triton decides when they are imported whether it interprets them."""

from __future__ import annotations

import os

from green_code.gpu.support import why_torch
from green_code.models.device import why_unavailable


def why_no_card() -> str | None:
    """Why there is no card to check here, as a part of a sentence; None: there is one."""
    return why_unavailable("cuda") or why_torch("cuda")


def prepare() -> str | None:
    """The same, and without a card Triton interprets what is imported from now on."""
    if (why := why_no_card()) is not None:
        os.environ["TRITON_INTERPRET"] = "1"
    return why
