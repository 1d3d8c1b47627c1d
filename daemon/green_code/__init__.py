"""Green Code: inline code completion from a local language model with early exits."""

__version__ = "0.1.0"
