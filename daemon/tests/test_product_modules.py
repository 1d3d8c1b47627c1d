"""What the product carries, the product uses: what serves the laboratory or tests alone belongs there."""

from __future__ import annotations

import re
from pathlib import Path

import green_code

PRODUCT = Path(green_code.__file__).parent


def test_each_module_of_the_product_is_used_by_another_one() -> None:
    texts = {path: path.read_text("utf-8") for path in PRODUCT.rglob("*.py")}
    unused = []
    for path in (path for path in texts if not path.stem.startswith("__")):
        package = re.escape(".".join(path.relative_to(PRODUCT.parent).parent.parts))
        names = rf"{package}\.{path.stem}\b|from {package} import (?:[^\n(]*|\([^)]*)\b{path.stem}\b"
        if not any(re.search(names, text) for other, text in texts.items() if other != path):
            unused.append(str(path.relative_to(PRODUCT)))
    assert texts and not unused
