"""Kernels in Triton, a folder a kind and an operation a file: kernel, launcher, and what a tuner must know of them.

But for `requirements` nothing outside imports these files before a device asks for them: Triton takes a quarter of a
second to import, which a CPU never needs.
"""
