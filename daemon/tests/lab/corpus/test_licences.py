"""Only permissive licences, as in the metadata."""

from __future__ import annotations

from email.message import Message

import pytest

from green_code_lab.corpus.licences import licence_of, permissive


@pytest.mark.parametrize(
    ("licence", "taken"),
    [
        ("MIT", True),
        ("BSD-3-Clause", True),
        ("Apache 2.0", True),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("MIT OR GPL-3.0-or-later", True),
        ("MIT AND GPL-3.0-or-later", False),
        ("MPL-2.0 AND MIT", False),
        ("BSD License; GNU General Public License (GPL)", False),
        ("LGPL-3.0", False),
        ("GPL", False),
        ("", False),
        ("Proprietary", False),
        ("Permittivity", False),
        ("GPL-3.0-only AND (BSD-3-Clause OR MIT)", False),
        ("(MIT OR GPL-2.0-only) AND LGPL-3.0-only", False),
        ("Apache-2.0 AND (MIT OR BSD-3-Clause)", True),
        ("Apache-2.0 AND SSPL-1.0", False),
        ("MIT AND OSL-3.0", False),
        ("BSD-3-Clause AND CC-BY-SA-4.0", False),
        ("BUSL-1.1; Apache Software License", False),
        ("Apache 2.0 with Commons Clause", False),
    ],
)
def test_only_permissive_licences(licence: str, taken: bool) -> None:
    assert permissive(licence) == taken


def test_an_expression_is_the_whole_truth() -> None:
    metadata = Message()
    metadata["License"] = "BSD\n\nCopyright …"
    metadata["Classifier"] = "License :: OSI Approved :: BSD License"
    metadata["Classifier"] = "Topic :: Games"
    assert licence_of(metadata) == "BSD; BSD License"
    metadata["License-Expression"] = "BSD-3-Clause"
    assert licence_of(metadata) == "BSD-3-Clause"
