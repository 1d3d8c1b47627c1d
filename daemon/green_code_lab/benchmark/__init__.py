"""Speed of Green Code beside transformers and llama.cpp, on the same weights and prompts (`green-code bench`).

Each engine runs in a process of its own (`process.py`), so that its CPU time and its memory are its own. The engines
take turns; `rounds.py` makes medians and intervals, and `page.py` writes docs/performance.md.
"""
