"""The CPU kernel: a decoder's layers and head in int8, written in C and built for several instruction sets.

`build.py` compiles `decoder.c` once per level and `cpu_level.c` once, `binding.py` loads and checks a library, `quantise.py` and
`packing.py` lay weights out, `decoder.py` is the counterpart of the torch decoder.

Must not know: caches, policies, text.
"""
