"""The decoder of an NVIDIA GPU: Triton kernels, CUDA graphs, weights in 8, 4 or 16 bits.

Its modules import torch and Triton. `models.torch_decoder` is its reference, and serves on the GPUs that it does not.
"""
