"""Attention over a paged cache: few queries over split contexts, steps of any kind, and latents."""
