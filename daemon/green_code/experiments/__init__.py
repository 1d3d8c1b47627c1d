"""Experiments as commands: `python -m green_code.experiments NAME` writes NAME.json, NAME.svg and NAME.md."""
