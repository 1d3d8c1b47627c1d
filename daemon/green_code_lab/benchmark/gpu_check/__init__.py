"""What can only be said of a GPU on a GPU: `make check-gpu`.

Four parts, each a command of ten minutes at most: correctness, speed, energy, training. On a machine with a card, what they find goes into
a folder, and the last one writes docs/experiments/gpu.md with the card's name. Without a card they run in small on the stand-in
(stand_in.py), compile the kernels for cards, and write no figures.
"""
