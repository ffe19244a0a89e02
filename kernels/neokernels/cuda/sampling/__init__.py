"""From logits to tokens: draws, filters, arg-max, and the judgement of drafts."""
