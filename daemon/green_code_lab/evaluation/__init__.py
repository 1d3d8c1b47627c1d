"""Data sets, metrics, and runs through the sessions that serve editors."""
