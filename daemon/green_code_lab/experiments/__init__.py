"""Experiments as commands: `python -m green_code_lab.experiments NAME` writes NAME.json, NAME.svg and NAME.md."""
