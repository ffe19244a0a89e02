/* y = x Wᵀ + b over weights that lie in panels of 64 outputs, each read from its first byte to its last.
 *
 * float32:  [panels, inputs, 64]
 * bfloat16: [panels, pairs of inputs, 64, 2]; two products a lane are what the hardware's dot product takes
 * int8:     [panels, quads of inputs, 64, 4] in the order 0 2 1 3, with a scale for each output that multiplies its sum
 *
 * What is missing to whole panels, pairs and quads is zero. Every output is one chain of sums over the inputs in order,
 * whatever the other rows: results are the same bits at every batch size. */
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

/* Weights are asked for this far ahead of their use while they come from memory: a product of several rows looks too
 * short a way ahead by itself. */
enum { AHEAD_BYTES = 8192, LINE = 64 };

INLINE void fetch(const void *weight, long bytes) {
#pragma GCC unroll 4
    for (long line = 0; line < bytes; line += LINE) __builtin_prefetch((const char *)weight + AHEAD_BYTES + line);
}

INLINE int has_bf16(Kind kind) { return kind == BF16 || kind == INT8_BF16; }

INLINE long panel_bytes(Kind kind, long inputs) {
    return PANEL * (kind == F32 ? 4 * inputs : kind == BF16 ? (inputs + 1) / 2 * 4 : (inputs + 3) / 4 * 4);
}

INLINE void multiply_f32(const int rows, const float *x, long inputs, const float *panel, int first, Sums sums) {
    for (long k = 0; k < inputs; k++, panel += PANEL) {
        if (first) fetch(panel, PANEL * sizeof *panel);
        Lanes weight[VECTORS];
        for (int v = 0; v < VECTORS; v++) weight[v] = load_f32(panel + v * LANES);
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < VECTORS; v++) sums[r][v] += weight[v] * x[r * inputs + k];
    }
}

/* Up to two numbers of x. */
INLINE uint32_t pair_at(const bf16 *x, long left) {
    uint32_t pair = 0;
    if (left >= 2) memcpy(&pair, x, sizeof pair);
    else if (left == 1) pair = x[0];
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

INLINE void add_pairs(const int rows, const bf16 *x, long inputs, long left, const bf16 *panel, Sums sums) {
    Bits weight[VECTORS];
    for (int v = 0; v < VECTORS; v++) weight[v] = (Bits)load_f32((const float *)(panel + v * 2 * LANES));
    for (int r = 0; r < rows; r++) {
        uint32_t pair = pair_at(x + r * inputs, left);
        for (int v = 0; v < VECTORS; v++) sums[r][v] = add_pair(sums[r][v], weight[v], pair);
    }
}

INLINE void multiply_bf16(const int rows, const bf16 *x, long inputs, const bf16 *panel, int first, Sums sums) {
    long k = 0;
    for (; k + 2 <= inputs; k += 2) {
        if (first) fetch(panel + k * PANEL, 2 * PANEL * sizeof *panel);
        add_pairs(rows, x + k, inputs, 2, panel + k * PANEL, sums);
    }
    if (k < inputs) add_pairs(rows, x + k, inputs, 1, panel + k * PANEL, sums);
}

#if defined(__AVX512BF16__) && defined(__AVX512VBMI__)

/* The two bytes of each magnitude 0..127 as bfloat16, which holds it exactly. */
typedef struct {
    __m512i low[2], high[2];
} Magnitudes;

INLINE Magnitudes magnitudes(void) {
    Magnitudes table;
    uint8_t low[128], high[128];
    for (int i = 0; i < 128; i++) {
        union { float value; uint32_t bits; } both = {i};
        low[i] = both.bits >> 16, high[i] = both.bits >> 24;
    }
    memcpy(table.low, low, sizeof low), memcpy(table.high, high, sizeof high);
    return table;
}

/* The bytes of 16 outputs' quads, looked up and brought together as bfloat16: two pairs for each output. */
INLINE void widen(const Magnitudes *table, const int8_t *weight, Bits pairs[2]) {
    const __m512i low_bytes = _mm512_set1_epi16(0xff), signs = _mm512_set1_epi8(-128);
    __m512i codes = _mm512_loadu_si512(weight), magnitude = _mm512_abs_epi8(codes);
    __m512i low = _mm512_permutex2var_epi8(table->low[0], magnitude, table->low[1]);
    __m512i high = _mm512_permutex2var_epi8(table->high[0], magnitude, table->high[1]);
    high = _mm512_ternarylogic_epi32(high, codes, signs, 0xf8); /* a | (b & c) */
    pairs[0] = (Bits)_mm512_ternarylogic_epi32(low_bytes, low, _mm512_slli_epi16(high, 8), 0xca); /* a ? b : c */
    pairs[1] = (Bits)_mm512_ternarylogic_epi32(low_bytes, _mm512_srli_epi16(low, 8), high, 0xca);
}

INLINE void add_quads(const int rows, const bf16 *x, long inputs, long left, const int8_t *panel,
                      const Magnitudes *table, Sums sums) {
    for (int v = 0; v < VECTORS; v++) {
        Bits pairs[2];
        widen(table, panel + v * 4 * LANES, pairs);
        for (int r = 0; r < rows; r++) {
            sums[r][v] = add_pair(sums[r][v], pairs[0], pair_at(x + r * inputs, left));
            sums[r][v] = add_pair(sums[r][v], pairs[1], pair_at(x + r * inputs + 2, left - 2));
        }
    }
}

INLINE void multiply_int8_bf16(const int rows, const bf16 *x, long inputs, const int8_t *panel, int first, Sums sums) {
    const Magnitudes table = magnitudes();
    long k = 0;
    for (; k + 4 <= inputs; k += 4) {
        if (first) fetch(panel + k * PANEL, 4 * PANEL);
        add_quads(rows, x + k, inputs, 4, panel + k * PANEL, &table, sums);
    }
    if (k < inputs) add_quads(rows, x + k, inputs, inputs - k, panel + k * PANEL, &table, sums);
}
#else
#define multiply_int8_bf16(...) multiply_int8(1, __VA_ARGS__)
#endif

INLINE void multiply_int8(int is_bf16, const int rows, const void *x, long inputs, const int8_t *panel, int first,
                          Sums sums) {
    for (long k = 0; k < inputs; k += 4) {
        if (first) fetch(panel + k * PANEL, 4 * PANEL);
        for (int i = 0; i < 4 && k + i < inputs; i++) {
            int byte = (i & 1) << 1 | i >> 1; /* where input i of the quad lies */
            for (int v = 0; v < VECTORS; v++) {
                Mask quads;
                memcpy(&quads, panel + k * PANEL + v * 4 * LANES, sizeof quads);
                Lanes weight = __builtin_convertvector(quads << (24 - 8 * byte) >> 24, Lanes);
                for (int r = 0; r < rows; r++) {
                    long place = r * inputs + k + i;
                    sums[r][v] += weight * (is_bf16 ? float_of(((const bf16 *)x)[place]) : ((const float *)x)[place]);
                }
            }
        }
    }
}

INLINE void multiply(Kind kind, const int rows, const void *x, long inputs, const void *panel, int first, Sums sums) {
    switch (kind) {
    case F32: return multiply_f32(rows, x, inputs, panel, first, sums);
    case BF16: return multiply_bf16(rows, x, inputs, panel, first, sums);
    case INT8_F32: return multiply_int8(0, rows, x, inputs, panel, first, sums);
    case INT8_BF16: return multiply_int8_bf16(rows, x, inputs, panel, first, sums);
    }
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

/* x [rows, inputs], bias [outputs] or null and y [rows, outputs] are bfloat16 or float32. Weights are int8 where there
 * are scales [outputs] for them, else what x is. */
void linear(int is_bf16, const void *x, const void *weight, const float *scales, const void *bias, void *y, long rows,
            long inputs, long outputs, int threads) {
    Linear job = {x, weight, bias, scales, y, rows, inputs, outputs};
    long tasks = (rows + ROWS_PER_TASK - 1) / ROWS_PER_TASK * ((outputs + PANEL - 1) / PANEL);
    Task dense = is_bf16 ? task_bf16 : task_f32, int8 = is_bf16 ? task_int8_bf16 : task_int8_f32;
    share_out(threads, tasks, scales ? int8 : dense, &job);
}
