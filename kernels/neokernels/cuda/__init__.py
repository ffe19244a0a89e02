"""Kernels in Triton, one operation a file: the kernel, its launcher, and what a tuner must know of them.

Nothing outside imports these files before a device asks for them: Triton takes a quarter of a second to import, which a
CPU never needs.
"""
