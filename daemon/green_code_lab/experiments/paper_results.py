"""What GREEN-CODE publishes (arXiv 2501.11006, result files of its repository): 20 % of a file as context, 15 tokens, no cache.

Energy on a GPU (RTX 8000) by its counter, a completion with its prompt; time; CodeBLEU; ROUGE-L; exact match in per cent; layers
run a token. *Full* is the fine-tuned model at full depth, *Base* the model as it was published.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Published(NamedTuple):
    """One row of the published table."""

    setting: str
    joules: float
    seconds: float
    codebleu: float
    rouge_l: float
    exact_match: float
    layers: float


PUBLISHED: Final[dict[str, tuple[Published, ...]]] = {
    "Llama 3.2 3B, Java": (
        Published("Base", 418.6, 1.677, 0.425, 0.446, 5.49, 28),
        Published("Full", 427.2, 1.703, 0.430, 0.426, 4.60, 28),
        Published("T=0.92", 328.8, 1.319, 0.407, 0.410, 4.10, 17.6),
        Published("T=0.9", 288.2, 1.157, 0.395, 0.392, 4.30, 14.7),
        Published("T=0.8", 220.7, 0.891, 0.368, 0.317, 3.20, 10.2),
        Published("T=0.6", 176.8, 0.715, 0.356, 0.293, 1.30, 7.4),
    ),
    "Llama 3.2 3B, Python": (
        Published("Base", 633.8, 2.828, 0.380, 0.497, 10.99, 28),
        Published("Full", 600.6, 2.666, 0.404, 0.463, 12.60, 28),
        Published("T=0.92", 424.9, 1.912, 0.356, 0.446, 10.08, 16.1),
        Published("T=0.9", 378.5, 1.708, 0.351, 0.439, 9.07, 13.8),
        Published("T=0.8", 291.4, 1.320, 0.336, 0.415, 6.45, 9.6),
        Published("T=0.6", 215.7, 0.985, 0.291, 0.362, 4.03, 5.9),
    ),
    "OPT 2.7B, Java": (
        Published("Base", 537.8, 2.438, 0.387, 0.384, 4.10, 32),
        Published("Full", 543.7, 2.441, 0.392, 0.340, 2.60, 32),
        Published("T=0.92", 390.4, 1.757, 0.391, 0.347, 3.00, 21.1),
        Published("T=0.9", 349.4, 1.575, 0.361, 0.314, 1.30, 18.6),
        Published("T=0.8", 267.9, 1.213, 0.331, 0.281, 0.40, 14.1),
        Published("T=0.6", 208.2, 0.947, 0.312, 0.264, 0.10, 10.7),
    ),
    "OPT 2.7B, Python": (
        Published("Base", 668.1, 2.993, 0.261, 0.342, 4.44, 32),
        Published("Full", 625.9, 2.795, 0.281, 0.366, 5.54, 32),
        Published("T=0.92", 374.1, 1.680, 0.242, 0.333, 2.62, 17.5),
        Published("T=0.9", 339.3, 1.524, 0.229, 0.319, 1.92, 15.5),
        Published("T=0.8", 283.9, 1.277, 0.207, 0.303, 1.41, 12.3),
        Published("T=0.6", 230.3, 1.039, 0.204, 0.276, 1.11, 9.6),
    ),
}
