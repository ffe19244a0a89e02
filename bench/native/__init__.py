"""Our engine's inside: the model and its weights, the paged KV cache, the scheduler, and the process that steps them."""
