"""What every test leaves as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Commands that a test runs in its own process make what they write private."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)
