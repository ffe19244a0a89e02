"""The operations of a transformer's forward step, one a file: formula, torch reference and, beside it, faster kernels.

Depends on torch only and knows nothing of `bench`.
"""
