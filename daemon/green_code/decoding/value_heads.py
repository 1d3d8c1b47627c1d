"""Value heads: how much of what would be suggested is worth computing, seen from the state behind a prompt at a low layer.

A head stands at a quarter of the model's layers and one at half. Each is a linear map of the hidden state and of the place of the
cursor (`lsp/gate_features.py`), whose logistic function times `MOST_CHARACTERS` is the number of characters of the suggestion that would
be accepted (a regression of a share: Papke and Wooldridge 1996). The laboratory trains them (green_code_lab/agent/values.py).
"""

from __future__ import annotations


def value_depths(layers: int) -> tuple[int, ...]:
    """The layers of a model that have value heads: a quarter and half of them, rounded up, below the last."""
    return tuple(sorted({depth for part in (4, 2) if (depth := -(-layers // part)) < layers}))
