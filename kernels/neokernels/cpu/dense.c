/* y = x Wᵀ + b over weights that lie in panels of 64 outputs, each read from its first byte to its last.
 *
 * float32:  [panels, inputs, 64]
 * bfloat16: [panels, pairs of inputs, 64, 2]; two products a lane are what the hardware's dot product takes
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

typedef struct {
    const void *x, *weight, *bias;
    void *y;
    long rows, inputs, outputs;
} Dense;

typedef Lanes Sums[TILE_ROWS][VECTORS];

INLINE void multiply_f32(const int rows, const float *x, long inputs, const float *panel, Sums sums) {
    for (long k = 0; k < inputs; k++, panel += PANEL)
        for (int r = 0; r < rows; r++) {
            float value = x[r * inputs + k];
            for (int v = 0; v < VECTORS; v++) sums[r][v] += load_f32(panel + v * LANES) * value;
        }
}

/* sums + even * pair[0] + odd * pair[1] */
INLINE Lanes add_pair(Lanes sums, const bf16 *weight, uint32_t pair) {
#if defined(__AVX512BF16__)
    return (Lanes)_mm512_dpbf16_ps((__m512)sums, (__m512bh)_mm512_loadu_si512(weight), (__m512bh)_mm512_set1_epi32(pair));
#else
    Bits both;
    memcpy(&both, weight, sizeof both);
    sums += (Lanes)(both << 16) * float_of(pair);
    return sums + (Lanes)(both & 0xffff0000u) * float_of(pair >> 16);
#endif
}

INLINE void multiply_bf16(const int rows, const bf16 *x, long inputs, const bf16 *panel, Sums sums) {
    for (long k = 0; k + 1 < inputs; k += 2, panel += 2 * PANEL)
        for (int r = 0; r < rows; r++) {
            uint32_t pair;
            memcpy(&pair, x + r * inputs + k, sizeof pair);
            for (int v = 0; v < VECTORS; v++) sums[r][v] = add_pair(sums[r][v], panel + v * 2 * LANES, pair);
        }
    if (inputs & 1)
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < VECTORS; v++)
                sums[r][v] = add_pair(sums[r][v], panel + v * 2 * LANES, x[r * inputs + inputs - 1]);
}

INLINE void put(const int is_bf16, const Dense *job, long row, long output, const Lanes sums[VECTORS]) {
    float values[PANEL];
    memcpy(values, sums, sizeof values);
    long count = job->outputs - output < PANEL ? job->outputs - output : PANEL;
    if (job->bias)
        for (long i = 0; i < count; i++)
            values[i] += is_bf16 ? float_of(((const bf16 *)job->bias)[output + i]) : ((const float *)job->bias)[output + i];
    if (!is_bf16) {
        memcpy((float *)job->y + row * job->outputs + output, values, count * sizeof *values);
    } else {
        bf16 rounded[PANEL];
        for (int v = 0; v < VECTORS; v++) store_bf16(rounded + v * LANES, load_f32(values + v * LANES));
        memcpy((bf16 *)job->y + row * job->outputs + output, rounded, count * sizeof *rounded);
    }
}

INLINE void tile(const int is_bf16, const int rows, const Dense *job, long row, long panel) {
    Sums sums = {0};
    if (is_bf16)
        multiply_bf16(rows, (const bf16 *)job->x + row * job->inputs, job->inputs,
                      (const bf16 *)job->weight + panel * PANEL * ((job->inputs + 1) / 2 * 2), sums);
    else
        multiply_f32(rows, (const float *)job->x + row * job->inputs, job->inputs,
                     (const float *)job->weight + panel * PANEL * job->inputs, sums);
    for (int r = 0; r < rows; r++) put(is_bf16, job, row + r, panel * PANEL, sums[r]);
}

INLINE void task(const int is_bf16, const Dense *job, long number) {
    long panels = (job->outputs + PANEL - 1) / PANEL;
    long panel = number % panels, row = number / panels * ROWS_PER_TASK;
    long end = row + ROWS_PER_TASK < job->rows ? row + ROWS_PER_TASK : job->rows;
    for (; row + TILE_ROWS <= end; row += TILE_ROWS) tile(is_bf16, TILE_ROWS, job, row, panel);
    switch (end - row) {
#if defined(__AVX512F__)
    case 5: tile(is_bf16, 5, job, row, panel); break;
    case 4: tile(is_bf16, 4, job, row, panel); break;
    case 3: tile(is_bf16, 3, job, row, panel); break;
    case 2: tile(is_bf16, 2, job, row, panel); break;
#endif
    case 1: tile(is_bf16, 1, job, row, panel); break;
    }
}

static void task_f32(const void *job, long number) { task(0, job, number); }
static void task_bf16(const void *job, long number) { task(1, job, number); }

static long tasks(long rows, long outputs) {
    return (rows + ROWS_PER_TASK - 1) / ROWS_PER_TASK * ((outputs + PANEL - 1) / PANEL);
}

void dense_f32(const float *x, const float *weight, const float *bias, float *y, long rows, long inputs, long outputs,
               int threads) {
    Dense job = {x, weight, bias, y, rows, inputs, outputs};
    share_out(threads, tasks(rows, outputs), task_f32, &job);
}

void dense_bf16(const bf16 *x, const bf16 *weight, const bf16 *bias, bf16 *y, long rows, long inputs, long outputs,
                int threads) {
    Dense job = {x, weight, bias, y, rows, inputs, outputs};
    share_out(threads, tasks(rows, outputs), task_bf16, &job);
}
