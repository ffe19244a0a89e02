"""4-bit weights to what tensor cores multiply, in registers, a few operations for every two of them.

The magnitude of an e2m1 moved to where the low exponent bits and the high mantissa bit of a 16-bit float lie, and its
sign to the sign's, is that element times 2⁻¹²⁶ as a bfloat16, times 2⁻¹⁴ as a float16, zero and one half included: both
types have subnormals there. The block's scale, which has to be multiplied in anyway, brings the power back. Weights are
read from `neokernels.formats.fp4_panels`, whose words are arranged so that for three of four pairs of neighbours one
shift and one mask do all of that.

`tl.dot_scaled` of bfloat16 and e2m1 has the compiler decode elements in their usual order. Instructions that a warp of
four has for a tile of 128 × 128 weights, times 16 rows, with this and with that:

    Triton             3.7.1                     3.9.0
    Hopper, MXFP4      545, 741                  481, 755
    Hopper, NVFP4      613, does not compile     531, 938
    Blackwell, MXFP4   401, 606                  384, 313 by a conversion that Blackwell has
    Blackwell, NVFP4   446, does not compile     422, 432

An H100's memory delivers such a tile in some 600 clocks of a multiprocessor, which issues one of each warp's a clock.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def fp4_weights(words, scales, dtype: tl.constexpr):
    """words [R, C / 8] int32 and scales [R, C / B] uint8 of panels; returns [R, C] in float32, float16 or bfloat16.

    What it returns, times the matrix's own scale, is the weight. B tells the format: 32 is MXFP4, 16 NVFP4.
    """
    rows: tl.constexpr = words.shape[0]
    columns: tl.constexpr = 8 * words.shape[1]
    blocks: tl.constexpr = scales.shape[1]
    half: tl.constexpr = tl.bfloat16 if dtype == tl.bfloat16 else tl.float16
    pairs = _pairs(words, 6 if dtype == tl.bfloat16 else 9).reshape(rows, blocks, columns // blocks // 2)
    wide = _scales(scales, columns // blocks == 32, dtype)[:, :, None]
    if dtype == tl.bfloat16:
        pairs = _product_of_pairs(pairs, wide)
    low = pairs.to(tl.uint16).to(half, bitcast=True)
    high = (pairs >> 16).to(tl.uint16).to(half, bitcast=True)
    if dtype != tl.bfloat16:
        low, high = low.to(dtype) * wide, high.to(dtype) * wide
    return tl.join(low, high).reshape(rows, columns)


@triton.jit
def _pairs(words, AT: tl.constexpr):
    """words [R, C / 8]; returns [R, C / 2]: two neighbours a word, their magnitudes from bit AT of its halves on."""
    words = words.to(tl.uint32, bitcast=True)
    first, second, third = _pair(words, 0, AT), _pair(words, 3, AT), _pair(words, 6, AT)
    # The bits that the others left: 14, 13, 11 and 10.
    sign = (words << 1) & 0x80008000
    high = (words >> 11 - AT if AT <= 11 else words << AT - 11) & (0x00010001 << AT + 2)
    low = (words >> 10 - AT if AT <= 10 else words << AT - 10) & (0x00030003 << AT)
    pairs = tl.join(tl.join(first, third), tl.join(second, sign | high | low))
    return pairs.reshape(words.shape[0], 4 * words.shape[1])


@triton.jit
def _pair(words, UP: tl.constexpr, AT: tl.constexpr):
    """The pair with its signs UP bits below the highest: what is one mask where the rest lies as in a bfloat16."""
    magnitude = words << UP + AT - 6
    return ((words << UP) & 0x80008000) | (magnitude & (0x00070007 << AT))


@triton.jit
def _product_of_pairs(pairs, scales):
    """bfloat16 times bfloat16, two a word; scales twice in theirs. Triton multiplies one by one and packs again."""
    return tl.inline_asm_elementwise(
        "fma.rn.bf16x2 $0, $1, $2, $3;",
        "=r,r,r,r",
        [pairs, scales, 0x80008000],
        dtype=tl.uint32,
        is_pure=True,
        pack=1,
    )


@triton.jit
def _scales(scales, POWERS_OF_TWO: tl.constexpr, dtype: tl.constexpr):
    """Block scales times the power of two that the elements lack, 2⁻⁷ of it left out for e4m3.

    In `dtype`, or as two bfloat16 in the halves of a uint32.
    """
    bits = scales.to(tl.uint32)
    if dtype == tl.bfloat16:
        if POWERS_OF_TWO:
            half = (bits + 126) << 7
        else:
            half = ((bits << 20).to(tl.float32, bitcast=True) * 2.0**120 * 2.0**119).to(tl.uint32, bitcast=True) >> 16
        wide = half | half << 16
    elif not POWERS_OF_TWO:
        wide = (bits << 7).to(tl.uint16).to(tl.float16, bitcast=True).to(dtype) * 2.0**15
    elif dtype == tl.float32:
        wide = ((bits + 14) << 23).to(tl.float32, bitcast=True)
    else:
        # float16 has not every power of two: those below 2⁻¹⁴ become zero.
        wide = (tl.maximum(bits.to(tl.int32) - 98, 0) << 10).to(tl.uint16).to(tl.float16, bitcast=True)
    return wide
