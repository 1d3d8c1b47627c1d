"""LITE: fine-tuning a body for early exits (arXiv 2310.18581)."""
