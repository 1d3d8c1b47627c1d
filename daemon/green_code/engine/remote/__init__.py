"""A serving engine somewhere else, in the place of a local model."""
