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
#if defined(__AVX512F__)
    return (Lanes)((Bits)_mm512_cvtepu16_epi32((__m256i)halves) << 16);
#else
    return (Lanes)(__builtin_convertvector(halves, Bits) << 16);
#endif
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

/* Up to 16 numbers of a tensor that may end there; lanes beyond `count` are zero. `is_bf16`, else float32, is a
 * constant wherever these are inlined. */
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

INLINE const void *at(int is_bf16, const void *x, long i) {
    return is_bf16 ? (const void *)((const bf16 *)x + i) : (const void *)((const float *)x + i);
}

INLINE void *to(int is_bf16, void *x, long i) { return (char *)x + i * (is_bf16 ? sizeof(bf16) : sizeof(float)); }

INLINE long lanes_at(long i, long width) { return width - i < LANES ? width - i : LANES; }

INLINE Lanes all_lanes(float x) { return x - (Lanes){0}; }

INLINE Lanes select_lanes(Mask mask, Lanes yes, Lanes no) { return (Lanes)(((Mask)yes & mask) | ((Mask)no & ~mask)); }

/* e^x for x up to 88, to about 2 units in the last place; 0 below -87.3, NaN for NaN.
 *
 * x = n ln 2 + r with |r| <= ln 2 / 2, e^x = 2^n e^r, and e^r by its Taylor series to the seventh power, whose
 * remainder there is below 2^-27. */
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

INLINE Lanes larger(Lanes x, Lanes y) { return select_lanes(x > y, x, y); }

/* Lanes of x and, counted on from them, of y. */
#if defined(__clang__)
#define SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (Mask){__VA_ARGS__})
#endif

/* Lane i is x[i] + x[i ^ step] where that bit of i is clear, and the same of y where it is set. */
INLINE Lanes fold1(Lanes x, Lanes y) {
    return SHUFFLE(x, y, 0, 17, 2, 19, 4, 21, 6, 23, 8, 25, 10, 27, 12, 29, 14, 31) +
           SHUFFLE(x, y, 1, 16, 3, 18, 5, 20, 7, 22, 9, 24, 11, 26, 13, 28, 15, 30);
}

INLINE Lanes fold2(Lanes x, Lanes y) {
    return SHUFFLE(x, y, 0, 1, 18, 19, 4, 5, 22, 23, 8, 9, 26, 27, 12, 13, 30, 31) +
           SHUFFLE(x, y, 2, 3, 16, 17, 6, 7, 20, 21, 10, 11, 24, 25, 14, 15, 28, 29);
}

INLINE Lanes fold4(Lanes x, Lanes y) {
    return SHUFFLE(x, y, 0, 1, 2, 3, 20, 21, 22, 23, 8, 9, 10, 11, 28, 29, 30, 31) +
           SHUFFLE(x, y, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 24, 25, 26, 27);
}

INLINE Lanes fold8(Lanes x, Lanes y) {
    return SHUFFLE(x, y, 0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31) +
           SHUFFLE(x, y, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23);
}

INLINE float sum_of(Lanes x) {
    x = fold1(x, x), x = fold2(x, x), x = fold4(x, x), x = fold8(x, x);
    return x[0];
}

/* Lane i is the sum of the lanes of x[i]. */
INLINE Lanes sums_of(const Lanes x[LANES]) {
    Lanes eight[8], four[4];
    for (int i = 0; i < 8; i++) eight[i] = fold1(x[2 * i], x[2 * i + 1]);
    for (int i = 0; i < 4; i++) four[i] = fold2(eight[2 * i], eight[2 * i + 1]);
    return fold8(fold4(four[0], four[1]), fold4(four[2], four[3]));
}

INLINE float largest_of(Lanes x) {
    x = larger(x, SHUFFLE(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    x = larger(x, SHUFFLE(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
    x = larger(x, SHUFFLE(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
    return x[0] > x[1] ? x[0] : x[1];
}

#endif
