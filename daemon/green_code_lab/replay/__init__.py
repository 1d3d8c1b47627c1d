"""Replayed typing: what a suggestion at each cursor position would be, and what a policy makes of it."""
