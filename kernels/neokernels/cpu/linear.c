/* y = x Wᵀ + b over weights that lie in panels of 64 outputs, each read from its first byte to its last.
 *
 * float32:  [panels, inputs, 64]
 * bfloat16: [panels, pairs of inputs, 64, 2]; two products a lane are what the hardware's dot product takes
 * int8:     [panels, inputs, 64], with a scale for each output, by which its sum is multiplied
 *
 * What is missing to whole panels and pairs is zero. Every output is one chain of sums over the inputs in order, whatever
 * the other rows: results are the same bits at every batch size. */
#include "lanes.h"
#include "pool.h"

enum { VECTORS = 4, PANEL = VECTORS * LANES, ROWS_PER_TASK = 192 };
#if defined(__AVX512F__)
enum { TILE_ROWS = 6 };
#else
enum { TILE_ROWS = 2 };
#endif

typedef enum { F32, BF16, INT8_F32, INT8_BF16 } Kind; /* of the weights, then of x and y where it is another */

typedef struct {
    const void *x, *weight, *bias;
    const float *scales;
    void *y;
    long rows, inputs, outputs;
} Linear;

typedef Lanes Sums[TILE_ROWS][VECTORS];

/* Weights are asked for this far ahead of their use while they come from memory: a product of many rows looks too short a
 * way ahead by itself. */
enum { AHEAD_BYTES = 8192, LINE = 64 };

INLINE void fetch(const void *panel, long i, long bytes) {
#pragma GCC unroll 4
    for (long line = 0; line < bytes; line += LINE) __builtin_prefetch((const char *)panel + i + AHEAD_BYTES + line);
}

INLINE int has_bf16(Kind kind) { return kind == BF16 || kind == INT8_BF16; }

INLINE long panel_bytes(Kind kind, long inputs) {
    return PANEL * (kind == F32 ? 4 * inputs : kind == BF16 ? (inputs + 1) / 2 * 4 : inputs);
}

INLINE Lanes weight_lanes(Kind kind, const void *panel, long i) {
    typedef int8_t Bytes __attribute__((vector_size(16)));
    if (kind == F32) return load_f32((const float *)panel + i);
    Bytes bytes;
    memcpy(&bytes, (const int8_t *)panel + i, sizeof bytes);
#if defined(__AVX512F__)
    return (Lanes)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32((__m128i)bytes));
#else
    return __builtin_convertvector(bytes, Lanes);
#endif
}

/* One input at a time, each product in float32. */
INLINE void multiply_singly(Kind kind, const int rows, const void *x, long inputs, const void *panel, int first, Sums sums) {
    for (long k = 0; k < inputs; k++) {
        if (first) fetch(panel, k * panel_bytes(kind, 1), panel_bytes(kind, 1));
        Lanes weight[VECTORS];
        for (int v = 0; v < VECTORS; v++) weight[v] = weight_lanes(kind, panel, k * PANEL + v * LANES);
        for (int r = 0; r < rows; r++) {
            float value = has_bf16(kind) ? float_of(((const bf16 *)x)[r * inputs + k]) : ((const float *)x)[r * inputs + k];
            for (int v = 0; v < VECTORS; v++) sums[r][v] += weight[v] * value;
        }
    }
}

/* Two numbers of x, or the last alone. */
INLINE uint32_t pair_at(const bf16 *x, int whole) {
    uint32_t pair = x[0];
    if (whole) memcpy(&pair, x, sizeof pair);
    return pair;
}

/* sums + even * pair[0] + odd * pair[1] */
INLINE Lanes add_pair(Lanes sums, Bits weight, uint32_t pair) {
#if defined(__AVX512BF16__)
    return (Lanes)_mm512_dpbf16_ps((__m512)sums, (__m512bh)weight, (__m512bh)_mm512_set1_epi32(pair));
#else
    sums += (Lanes)(weight << 16) * float_of(pair);
    return sums + (Lanes)(weight & 0xffff0000u) * float_of(pair >> 16);
#endif
}

INLINE void add_pairs(const int rows, const bf16 *x, long inputs, const Bits weight[VECTORS], int whole, Sums sums) {
    for (int r = 0; r < rows; r++) {
        uint32_t pair = pair_at(x + r * inputs, whole);
        for (int v = 0; v < VECTORS; v++) sums[r][v] = add_pair(sums[r][v], weight[v], pair);
    }
}

INLINE void pairs_of_bf16(const bf16 *panel, Bits pairs[VECTORS]) {
    for (int v = 0; v < VECTORS; v++) pairs[v] = (Bits)load_f32((const float *)(panel + v * 2 * LANES));
}

INLINE void multiply_bf16(const int rows, const bf16 *x, long inputs, const bf16 *panel, int first, Sums sums) {
    Bits weight[VECTORS];
    long k = 0;
    for (; k + 1 < inputs; k += 2) {
        if (first) fetch(panel, k * PANEL * sizeof *panel, 2 * PANEL * sizeof *panel);
        pairs_of_bf16(panel + k * PANEL, weight);
        add_pairs(rows, x + k, inputs, weight, 1, sums);
    }
    if (k < inputs) {
        pairs_of_bf16(panel + k * PANEL, weight);
        add_pairs(rows, x + k, inputs, weight, 0, sums);
    }
}

#if defined(__AVX512BF16__) && defined(__AVX512VBMI__)
#define PAIRS_OF_INT8

/* The two bytes of each magnitude 0..127 as bfloat16, which holds it exactly. */
typedef struct {
    __m512i low[2], high[2];
} Magnitudes;

INLINE Magnitudes magnitudes(void) {
    Magnitudes table;
    for (int half = 0; half < 2; half++) {
        uint8_t low[64], high[64];
        for (int i = 0; i < 64; i++) {
            union { float value; uint32_t bits; } both = {half * 64 + i};
            low[i] = both.bits >> 16, high[i] = both.bits >> 24;
        }
        memcpy(&table.low[half], low, 64), memcpy(&table.high[half], high, 64);
    }
    return table;
}

/* Two rows of a panel, of which the second may be missing, as pairs. Lane group j (of 4) of vector v are outputs
 * 16 j + 4 v ..: what unpacking within 128 bits makes of them. */
INLINE void pairs_of_int8(const Magnitudes *table, const int8_t *panel, int whole, Bits pairs[VECTORS]) {
    __m512i low[2], high[2];
    for (int odd = 0; odd < 2; odd++) {
        __m512i codes = odd && !whole ? _mm512_setzero_si512() : _mm512_loadu_si512(panel + odd * PANEL);
        __m512i magnitude = _mm512_abs_epi8(codes);
        low[odd] = _mm512_permutex2var_epi8(table->low[0], magnitude, table->low[1]);
        high[odd] = _mm512_permutex2var_epi8(table->high[0], magnitude, table->high[1]);
        high[odd] = _mm512_ternarylogic_epi32(high[odd], codes, _mm512_set1_epi8(-128), 0xf8); /* a | (b & c) */
    }
    __m512i first[2], second[2];
    for (int odd = 0; odd < 2; odd++) {
        first[odd] = _mm512_unpacklo_epi8(low[odd], high[odd]);
        second[odd] = _mm512_unpackhi_epi8(low[odd], high[odd]);
    }
    pairs[0] = (Bits)_mm512_unpacklo_epi16(first[0], first[1]), pairs[1] = (Bits)_mm512_unpackhi_epi16(first[0], first[1]);
    pairs[2] = (Bits)_mm512_unpacklo_epi16(second[0], second[1]), pairs[3] = (Bits)_mm512_unpackhi_epi16(second[0], second[1]);
}

INLINE void multiply_int8(const int rows, const bf16 *x, long inputs, const int8_t *panel, int first, Sums sums) {
    const Magnitudes table = magnitudes();
    Bits weight[VECTORS];
    long k = 0;
    for (; k + 1 < inputs; k += 2) {
        if (first) fetch(panel, k * PANEL, 2 * PANEL);
        pairs_of_int8(&table, panel + k * PANEL, 1, weight);
        add_pairs(rows, x + k, inputs, weight, 1, sums);
    }
    if (k < inputs) {
        pairs_of_int8(&table, panel + k * PANEL, 0, weight);
        add_pairs(rows, x + k, inputs, weight, 0, sums);
    }
    for (int r = 0; r < rows; r++) {
        float groups[VECTORS][4][4], values[4][VECTORS][4];
        memcpy(groups, sums[r], sizeof groups);
        for (int v = 0; v < VECTORS; v++)
            for (int j = 0; j < 4; j++) memcpy(values[j][v], groups[v][j], sizeof groups[v][j]);
        memcpy(sums[r], values, sizeof values);
    }
}
#endif

INLINE void multiply(Kind kind, const int rows, const void *x, long inputs, const void *panel, int first, Sums sums) {
    if (kind == BF16) return multiply_bf16(rows, x, inputs, panel, first, sums);
#if defined(PAIRS_OF_INT8)
    if (kind == INT8_BF16) return multiply_int8(rows, x, inputs, panel, first, sums);
#endif
    multiply_singly(kind, rows, x, inputs, panel, first, sums);
}

INLINE void tile(Kind kind, const int rows, const Linear *job, long row, long panel, int first) {
    Sums sums = {0};
    multiply(kind, rows, at(has_bf16(kind), job->x, row * job->inputs), job->inputs,
             (const char *)job->weight + panel * panel_bytes(kind, job->inputs), first, sums);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < VECTORS; v++) {
            long output = panel * PANEL + v * LANES, count = lanes_at(output, job->outputs);
            if (count <= 0) break;
            Lanes lanes = sums[r][v];
            if (job->scales) lanes *= load(0, job->scales, output, count);
            if (job->bias) lanes += load(has_bf16(kind), job->bias, output, count);
            store(has_bf16(kind), job->y, (row + r) * job->outputs + output, lanes, count);
        }
}

INLINE void task(Kind kind, const void *argument, long number) {
    const Linear *job = argument;
    long panels = (job->outputs + PANEL - 1) / PANEL;
    long panel = number % panels, row = number / panels * ROWS_PER_TASK;
    long begin = row, end = row + ROWS_PER_TASK < job->rows ? row + ROWS_PER_TASK : job->rows;
    for (; row + TILE_ROWS <= end; row += TILE_ROWS) tile(kind, TILE_ROWS, job, row, panel, row == begin);
    switch (end - row) {
#if defined(__AVX512F__)
    case 5: tile(kind, 5, job, row, panel, row == begin); break;
    case 4: tile(kind, 4, job, row, panel, row == begin); break;
    case 3: tile(kind, 3, job, row, panel, row == begin); break;
    case 2: tile(kind, 2, job, row, panel, row == begin); break;
#endif
    case 1: tile(kind, 1, job, row, panel, row == begin); break;
    }
}

static void task_f32(const void *job, long number) { task(F32, job, number); }
static void task_bf16(const void *job, long number) { task(BF16, job, number); }
static void task_int8_f32(const void *job, long number) { task(INT8_F32, job, number); }
static void task_int8_bf16(const void *job, long number) { task(INT8_BF16, job, number); }

/* x [rows, inputs], bias [outputs] or null and y [rows, outputs] are bfloat16 or float32. Weights are int8 where there are
 * scales [outputs] for them, else what x is. */
void linear(int is_bf16, const void *x, const void *weight, const float *scales, const void *bias, void *y, long rows,
            long inputs, long outputs, int threads) {
    Linear job = {x, weight, bias, scales, y, rows, inputs, outputs};
    long tasks = (rows + ROWS_PER_TASK - 1) / ROWS_PER_TASK * ((outputs + PANEL - 1) / PANEL);
    Task dense = is_bf16 ? task_bf16 : task_f32, int8 = is_bf16 ? task_int8_bf16 : task_int8_f32;
    share_out(threads, tasks, scales ? int8 : dense, &job);
}
