"""Small networks train faster on one thread."""

from __future__ import annotations

from tests.lab.agent.conftest import one_thread

__all__ = ["one_thread"]
