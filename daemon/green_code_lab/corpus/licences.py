"""Which licences permit training and redistribution; read from a package's metadata."""

from __future__ import annotations

import re
from typing import Any

_PERMISSIVE = re.compile(
    r"\b(MIT|Expat|BSD|Apache|PSF|Python Software Foundation|ISC|Unlicense|0BSD|Zlib|CC0|HPND)\b", re.I
)
_RESTRICTIVE = re.compile(
    r"GPL|\bGNU\b|\bMPL|Mozilla|\bEPL|\bEUPL|\bCDDL|\bOSL|\bSSPL|\bBUSL|Business Source|\bCC-BY-(NC|SA|ND)|Commons Clause"
    r"|share.?alike|proprietary|commercial",
    re.I,
)


def permissive(licence: str) -> bool:
    """Whether one of the alternatives (SPDX's OR, DEP-5's or) is permissive and has no restrictive term.

    An expression with parentheses is not parsed: none of its terms may be restrictive.
    """
    if "(" in licence:
        return bool(_PERMISSIVE.search(licence)) and not _RESTRICTIVE.search(licence)
    return any(
        _PERMISSIVE.search(part) and not _RESTRICTIVE.search(part)
        for part in re.split(r"\s+or\s+", licence, flags=re.I)
    )


def licence_of(metadata: Any) -> str:
    """The licence in core metadata (wheel's METADATA or sdist's PKG-INFO, as an email message).

    License-Expression (PEP 639) alone where there is one; else the first line of License and the classifiers.
    """
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = metadata.get_all("Classifier") or []
    found = [(metadata.get("License") or "").strip().split("\n")[0][:80]]
    found += [text.split("::")[-1].strip() for text in classifiers if text.startswith("License")]
    return "; ".join(part for part in found if part)
