"""Attention over pieces of a context, made one: each piece's own softmax is weighted by what it summed.

With o_s the output of piece s alone, l_s = log₂ Σ 2^(its logits) and m = max l_s,
o = Σ 2^(l_s − m) o_s / Σ 2^(l_s − m).
A piece without a key has l_s = −∞ and is not read. Pieces are summed in their order, some at a time, so that further
pieces without keys change no bit. Source: FlashDecoding (Dao et al. 2023, Stanford CRFM), and Milakov & Gimelshein 2018
(arXiv:1805.02867) for the sum.

The partial results were just written and mostly lie in the second-level cache; one program a row of them is enough.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_PIECES = 8
"""Read at a time, unless it is said otherwise."""


@triton.jit(do_not_specialize=["pieces"])
def merge_kernel(
    partial_ptr,
    logsum_ptr,
    out_ptr,
    pieces,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    PIECES: tl.constexpr,
    WAITS: tl.constexpr,
):
    if WAITS:
        tl.extra.cuda.gdc_wait()
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    largest = float("-inf")
    total = 0.0
    out = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, pieces, PIECES):
        piece = first + tl.arange(0, PIECES)
        logsum = tl.load(logsum_ptr + row * pieces + piece, piece < pieces, other=float("-inf"))
        new_largest = tl.maximum(largest, tl.max(logsum, 0))
        # Where nothing was summed yet there is no maximum; anything finite leaves the zeros as they are.
        reference = tl.where(new_largest == float("-inf"), 0.0, new_largest)
        kept = tl.exp2(largest - reference)
        weight = tl.exp2(logsum - reference)
        at = partial_ptr + (row * pieces + piece[:, None]) * WIDTH + column[None, :]
        read = (logsum > float("-inf"))[:, None] & (column < WIDTH)[None, :]
        out = out * kept + tl.sum(tl.load(at, read, other=0.0) * weight[:, None], 0)
        total = total * kept + tl.sum(weight, 0)
        largest = new_largest
    tl.store(out_ptr + row * WIDTH + column, (out / total).to(out_ptr.dtype.element_ty), column < WIDTH)
    if WAITS:
        tl.extra.cuda.gdc_launch_dependents()


def merge(partial: Tensor, logsum: Tensor, out: Tensor, *, at_once: int = _PIECES, launch_pdl: bool = False) -> None:
    """Write the whole softmax of each row into `out`.

    partial [rows, pieces, D] float32; logsum [rows, pieces] float32, base 2; out [rows, D] of any dtype, contiguous.
    Pieces of −∞ may hold anything. A row of which all are is NaN. `at_once` pieces, a power of two, are read together,
    while none of the others is: it also decides in which order they are summed.
    """
    rows, pieces, width = partial.shape
    if rows:
        block = triton.next_power_of_2(width)
        merge_kernel[(rows,)](
            partial,
            logsum,
            out,
            pieces,
            WIDTH=width,
            BLOCK=block,
            PIECES=at_once,
            WAITS=launch_pdl,
            num_warps=max(1, min(4, block * at_once // 1024)),
            enable_fp_fusion=True,
            **({"launch_pdl": True} if launch_pdl else {}),
        )


def piece_buffers(rows: int, pieces: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Room for `partial` and `logsum`."""
    partial = torch.empty((rows, pieces, width), dtype=torch.float32, device=device)
    return partial, torch.empty((rows, pieces), dtype=torch.float32, device=device)
