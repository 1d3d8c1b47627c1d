"""Experiments, one file each: `green-code experiments NAME` writes NAME.json, NAME.md and NAME.svg."""
