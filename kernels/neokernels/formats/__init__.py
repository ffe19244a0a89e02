"""Narrow formats of weights, activations and cached keys and values: how each is made and what its bits stand for.

A format is a pair of pure functions: `quantise` goes from floating point to what is kept, `dequantise` to a dtype.
"""
