"""The rows of the embedding matrix that belong to a step's tokens.

y_t = E[id_t]
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import embedding as torch_embedding

from neokernels.registry import Implementation, Operation


def embedding_reference(weight: Tensor, token_ids: Tensor) -> Tensor:
    """weight [V, H], token_ids [T] int64 within 0..V−1; returns [T, H]."""
    return torch_embedding(token_ids, weight)


embedding = Operation("embedding", Implementation("reference", embedding_reference))
