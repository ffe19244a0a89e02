"""Our engine's inside: the model, its paged KV cache, the scheduler, and the process that steps them."""
