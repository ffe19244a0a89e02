"""The next token of each request, drawn at its temperature from the tokens its filters keep.

token = argmax_v( logits_v / temperature + g_v ),  g standard Gumbel noise

draws v with probability softmax(logits / temperature)_v (the Gumbel-max trick; Maddison, Tarlow & Minka 2014,
arXiv:1411.0030). The noise is a pure function of seed, position and v, so what a request is given does not depend on
who shares its batch, and dropping the other tokens does not change the noise of those that are kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neokernels.counter_random import Purpose, gumbel_noise
from neokernels.cuda.requirements import without_triton
from neokernels.launcher import Launcher
from neokernels.logit_filters import Filters, keep_likely, keep_min_p, keep_top_k, keep_top_p
from neokernels.registry import Implementation, Operation, Target

_PART = 8
"""Candidates are packed where they are less than this part of the vocabulary."""


def sample_reference(
    logits: Tensor,
    temperatures: Tensor,
    seeds: Tensor,
    positions: Tensor,
    filters: Filters = Filters(),
    purpose: Purpose = Purpose.TOKEN,
) -> Tensor:
    """One token id for each row, [R] int64.

    logits [R, V] float32; temperatures [R] float32, above 0; seeds [R] int64; positions [R] int64, the position of the
    token that is drawn; filters of the same R rows. Ties go to the lowest id.
    """
    kept = keep_likely(logits / temperatures[:, None], filters)
    ids = torch.arange(logits.shape[-1], device=logits.device)
    return gumbel_noise(seeds, positions, ids, purpose).add_(kept).argmax(-1)


def sample_packed(
    logits: Tensor,
    temperatures: Tensor,
    seeds: Tensor,
    positions: Tensor,
    filters: Filters = Filters(),
    purpose: Purpose = Purpose.TOKEN,
) -> Tensor:
    """`sample_reference` that makes noise only for the tokens that are kept, once they are known to be few."""
    logits = logits / temperatures[:, None]
    ids = torch.arange(logits.shape[-1])
    if filters.top_k is not None:
        logits, ids = _most_likely(logits, ids, filters.top_k, filters.most_k)
    if filters.top_p is not None:
        logits, ids = _packed(keep_top_p(logits, filters.top_p), ids)
    if filters.min_p is not None:
        logits, ids = _packed(keep_min_p(logits, filters.min_p), ids)
    best = gumbel_noise(seeds, positions, ids, purpose).add_(logits).argmax(-1)
    return best if ids.dim() == 1 else ids.gather(-1, best[:, None]).squeeze(-1)


def _most_likely(logits: Tensor, ids: Tensor, top_k: Tensor, most_k: int) -> tuple[Tensor, Tensor]:
    """`keep_top_k`, packed as by `_packed`, without a pass that writes what is dropped."""
    if _PART * most_k > logits.shape[-1]:
        return _packed(keep_top_k(logits, top_k, most_k), ids)
    largest, indices = logits.topk(most_k)
    threshold = largest.gather(-1, top_k[:, None] - 1)
    kept = int((logits >= threshold).sum(-1).max())
    if kept > most_k:  # tokens as likely as the last
        largest, indices = logits.topk(kept)
    indices, order = indices.sort(-1)
    packed = largest.gather(-1, order)
    return packed.masked_fill(packed < threshold, -torch.inf), indices


def _packed(logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens each row keeps and their ids, both [R, C], ids ascending, where they are a small part of the row."""
    kept = max(1, int((logits > -torch.inf).sum(-1).max()))
    if _PART * kept > logits.shape[-1]:
        return logits, ids
    indices = logits.topk(kept).indices.sort(-1).values
    return logits.gather(-1, indices), indices if ids.dim() == 1 else ids.gather(-1, indices)


def _refuses_devices(target: Target) -> str | None:
    return None if target.device.type == "cpu" else "would have the host wait for what was kept"


sample = Operation(
    "sample",
    Implementation("packed", sample_packed, _refuses_devices),
    Implementation("triton", Launcher("sampling.draw", "sample"), without_triton),
    Implementation("reference", sample_reference),
)
