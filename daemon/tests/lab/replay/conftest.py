"""Torch takes one thread."""

from __future__ import annotations

from tests.torch_threads import one_thread

__all__ = ["one_thread"]
