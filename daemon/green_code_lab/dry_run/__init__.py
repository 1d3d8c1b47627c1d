"""The way of the paper's models (arXiv 2501.11006), from download to Pareto, tried on random weights of their shapes: docs/paper-models.md."""
