"""A server, in the place of a local model."""
