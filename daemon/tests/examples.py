"""How many examples a property is tried with."""

from __future__ import annotations

from typing import Any

from hypothesis import settings


def examples(thorough: int, **others: Any) -> settings:
    """So many in the profile `thorough`, which has 100 for a property that says nothing; else as large a share, but 5."""
    return settings(max_examples=max(5, thorough * settings.default.max_examples // 100), **others)
