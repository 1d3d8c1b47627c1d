"""How fast Green Code is beside other engines on the same weights and prompts, and how far from what memory allows.

`python -m green_code_lab.benchmark` (`make bench`) writes docs/performance.md with its data and plot. Each engine is a
`Peer` in a process of its own (`worker.py`), so that its processor time and its memory are its own; `rounds.py` lets
them take turns. Nothing here is needed by the product or by its tests.
"""
