"""Green Code: inline code completion that stops a language model at the earliest layer that will do."""

__version__ = "0.1.0"
