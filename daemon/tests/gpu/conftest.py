"""Triton interprets its kernels on the processor. It decides that where they are imported."""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

from tests.torch_threads import one_thread

__all__ = ["one_thread"]
