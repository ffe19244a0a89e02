"""Kernels in C for CPUs, beside the torch references that answer where they cannot be built.

They share the threads of one small pool (`pool.c`), as many as `torch.get_num_threads()` says at each call.
"""
