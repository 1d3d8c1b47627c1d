"""The CPU kernel: layers of a decoder in int8, written in C, built for several instruction levels.

`lanes.h` and `decoder.c` are the kernel, `level.c` says what a processor can, `build.py` compiles, `quantise.py` packs
weights, `binding.py` checks bounds and calls, `decoder.py` is the torch decoder's counterpart.

Must not know: caches, policies, text.
"""
