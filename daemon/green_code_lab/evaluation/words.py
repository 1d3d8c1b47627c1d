"""Keywords by language: Python's from Python, Java's from its specification (JLS 3.9, with the three literals)."""

from __future__ import annotations

import keyword
from typing import Final

_JAVA: Final = """
abstract assert boolean break byte case catch char class const continue default do double else enum extends false final
finally float for goto if implements import instanceof int interface long native new null package private protected public
return short static strictfp super switch synchronized this throw throws transient true try void volatile while
"""

KEYWORDS: Final = {"python": frozenset(keyword.kwlist), "java": frozenset(_JAVA.split())}
