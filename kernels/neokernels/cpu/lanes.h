/* Vectors of 16 floats, which the compiler splits where the machine's are narrower, and bfloat16. */
#ifndef NEOKERNELS_LANES_H
#define NEOKERNELS_LANES_H

#include <stdint.h>
#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

enum { LANES = 16 };

typedef float Lanes __attribute__((vector_size(64)));
typedef int32_t Mask __attribute__((vector_size(64)));
typedef uint32_t Bits __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));
typedef uint16_t bf16;

#define INLINE static inline __attribute__((always_inline))

INLINE float float_of(bf16 x) {
    union { uint32_t bits; float value; } both = {(uint32_t)x << 16};
    return both.value;
}

INLINE Lanes load_f32(const float *x) {
    Lanes lanes;
    memcpy(&lanes, x, sizeof lanes);
    return lanes;
}

INLINE void store_f32(float *x, Lanes lanes) { memcpy(x, &lanes, sizeof lanes); }

INLINE Lanes load_bf16(const bf16 *x) {
    Halves halves;
    memcpy(&halves, x, sizeof halves);
    return (Lanes)(__builtin_convertvector(halves, Bits) << 16);
}

/* To the nearest, ties to even, as torch rounds. */
INLINE void store_bf16(bf16 *x, Lanes lanes) {
#if defined(__AVX512BF16__)
    __m256bh halves = _mm512_cvtneps_pbh((__m512)lanes);
    memcpy(x, &halves, sizeof halves);
#else
    Bits bits = (Bits)lanes, is_nan = (Bits)(lanes != lanes);
    Bits rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    Halves halves = __builtin_convertvector((rounded & ~is_nan) | (is_nan & 0x7fc0), Halves);
    memcpy(x, &halves, sizeof halves);
#endif
}

/* Up to 16 numbers of a tensor that may end there; lanes beyond `count` are zero. `is_bf16`, else float32, is a constant
 * wherever these are inlined. */
INLINE Lanes load(int is_bf16, const void *x, long i, long count) {
    if (count == LANES) return is_bf16 ? load_bf16((const bf16 *)x + i) : load_f32((const float *)x + i);
    if (is_bf16) {
        bf16 padded[LANES] = {0};
        memcpy(padded, (const bf16 *)x + i, count * sizeof *padded);
        return load_bf16(padded);
    }
    Lanes lanes = {0};
    memcpy(&lanes, (const float *)x + i, count * sizeof(float));
    return lanes;
}

INLINE void store(int is_bf16, void *x, long i, Lanes lanes, long count) {
    if (is_bf16) {
        bf16 rounded[LANES];
        if (count == LANES) return store_bf16((bf16 *)x + i, lanes);
        store_bf16(rounded, lanes);
        memcpy((bf16 *)x + i, rounded, count * sizeof *rounded);
    } else if (count == LANES) {
        store_f32((float *)x + i, lanes);
    } else {
        memcpy((float *)x + i, &lanes, count * sizeof(float));
    }
}

INLINE long lanes_at(long i, long width) { return width - i < LANES ? width - i : LANES; }

INLINE Lanes all_lanes(float x) { return x - (Lanes){0}; }

INLINE Lanes select_lanes(Mask mask, Lanes yes, Lanes no) { return (Lanes)(((Mask)yes & mask) | ((Mask)no & ~mask)); }

/* e^x for x up to 88, to about 2 units in the last place; 0 below -87.3, NaN for NaN.
 *
 * x = n ln 2 + r with |r| <= ln 2 / 2, e^x = 2^n e^r, and e^r by its Taylor series to the seventh power, whose remainder
 * there is below 2^-27. */
INLINE Lanes exp_lanes(Lanes x) {
    const float to_integer = 0x1.8p23f;
    Lanes bounded = select_lanes(x < -87.3f, all_lanes(-87.3f), x);
    Lanes shifted = bounded * 0x1.715476p0f + to_integer;
    Lanes n = shifted - to_integer;
    Lanes r = bounded - n * 0x1.62e4p-1f - n * 0x1.7f7d1cp-20f;
    Lanes sum = r * (1.0f / 5040) + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    Lanes scaled = (Lanes)((Bits)sum + ((Bits)shifted << 23));
    return select_lanes(x < -87.3f, (Lanes){0}, select_lanes(x == x, scaled, x));
}

/* Lane i is x[i] + x[i ^ step] where that bit of i is clear, and the same of y where it is set. */
INLINE Lanes fold(Lanes x, Lanes y, int step) {
    Mask own, other;
    for (int i = 0; i < LANES; i++) {
        own[i] = i & step ? LANES + i : i;
        other[i] = own[i] ^ step;
    }
    return __builtin_shuffle(x, y, own) + __builtin_shuffle(x, y, other);
}

INLINE float sum_of(Lanes x) {
    for (int step = 1; step < LANES; step *= 2) x = fold(x, x, step);
    return x[0];
}

/* Lane i is the sum of the lanes of x[i]. */
INLINE Lanes sums_of(const Lanes x[LANES]) {
    Lanes folded[LANES];
    memcpy(folded, x, sizeof folded);
    for (int step = 1, count = LANES / 2; count; step *= 2, count /= 2)
        for (int i = 0; i < count; i++) folded[i] = fold(folded[2 * i], folded[2 * i + 1], step);
    return folded[0];
}

#endif
