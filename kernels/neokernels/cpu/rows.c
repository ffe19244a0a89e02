/* What is done to each row alone: norms, activation, rotation into the cache, embedding. Arithmetic is float32. */
#include <math.h>

#include "lanes.h"
#include "pool.h"

enum { VALUES_PER_TASK = 16384 };

INLINE long size_of(int is_bf16) { return is_bf16 ? sizeof(bf16) : sizeof(float); }

/* As the dtype rounds it. */
INLINE Lanes rounded(int is_bf16, Lanes lanes) {
    if (!is_bf16) return lanes;
    bf16 narrow[LANES];
    store_bf16(narrow, lanes);
    return load_bf16(narrow);
}

/* 1 / sqrt(mean(x^2) + eps) */
INLINE float inverse_rms(int is_bf16, const void *x, long width, float eps) {
    Lanes squares = {0};
    for (long i = 0; i < width; i += LANES) {
        Lanes lanes = load(is_bf16, x, i, lanes_at(i, width));
        squares += lanes * lanes;
    }
    return 1.0f / sqrtf(sum_of(squares) / width + eps);
}

typedef struct {
    const void *x, *residual, *weight;
    void *y, *total;
    long rows, width, rows_per_task;
    float eps;
} Norm;

INLINE void norm_rows(int is_bf16, const Norm *job, long task) {
    long size = size_of(is_bf16) * job->width, row = task * job->rows_per_task;
    long end = row + job->rows_per_task < job->rows ? row + job->rows_per_task : job->rows;
    for (; row < end; row++) {
        const char *x = (const char *)job->x + row * size;
        if (job->residual) {
            char *total = (char *)job->total + row * size;
            for (long i = 0; i < job->width; i += LANES) {
                long count = lanes_at(i, job->width);
                Lanes sum = load(is_bf16, x, i, count) + load(is_bf16, (const char *)job->residual + row * size, i, count);
                store(is_bf16, total, i, sum, count);
            }
            x = total;
        }
        float scale = inverse_rms(is_bf16, x, job->width, job->eps);
        for (long i = 0; i < job->width; i += LANES) {
            long count = lanes_at(i, job->width);
            Lanes normed = rounded(is_bf16, load(is_bf16, x, i, count) * scale);
            store(is_bf16, (char *)job->y + row * size, i, normed * load(is_bf16, job->weight, i, count), count);
        }
    }
}

static void norm_f32(const void *job, long task) { norm_rows(0, job, task); }
static void norm_bf16(const void *job, long task) { norm_rows(1, job, task); }

/* Rows of one task, so that a task is worth handing to another thread. */
static long rows_per_task(long width) { return width < VALUES_PER_TASK ? VALUES_PER_TASK / width : 1; }

static long tasks_of(long rows, long width) { return (rows + rows_per_task(width) - 1) / rows_per_task(width); }

/* y = rms_norm(x + residual) * weight, and the sum into `total`; without a residual, of x alone. */
void rms_norm(int is_bf16, const void *x, const void *residual, const void *weight, void *y, void *total, long rows,
              long width, float eps, int threads) {
    Norm job = {x, residual, weight, y, total, rows, width, rows_per_task(width), eps};
    share_out(threads, tasks_of(rows, width), is_bf16 ? norm_bf16 : norm_f32, &job);
}

typedef struct {
    const void *gate_up;
    void *y;
    long rows, width, rows_per_task;
} Gated;

INLINE void gate_rows(int is_bf16, const Gated *job, long task) {
    long size = size_of(is_bf16) * job->width, row = task * job->rows_per_task;
    long end = row + job->rows_per_task < job->rows ? row + job->rows_per_task : job->rows;
    for (; row < end; row++) {
        const char *gates = (const char *)job->gate_up + 2 * row * size;
        for (long i = 0; i < job->width; i += LANES) {
            long count = lanes_at(i, job->width);
            Lanes gate = load(is_bf16, gates, i, count), up = load(is_bf16, gates + size, i, count);
            /* Below -88 the exponential would overflow, and the quotient is 0 in float32 anyway. */
            Lanes power = exp_lanes(select_lanes(gate < -88.0f, all_lanes(88.0f), -gate));
            Lanes silu = select_lanes(gate < -88.0f, (Lanes){0}, gate / (1.0f + power));
            store(is_bf16, (char *)job->y + row * size, i, silu * up, count);
        }
    }
}

static void gate_f32(const void *job, long task) { gate_rows(0, job, task); }
static void gate_bf16(const void *job, long task) { gate_rows(1, job, task); }

/* y = silu(gate) * up; gate_up [rows, 2 * width] */
void silu_mul(int is_bf16, const void *gate_up, void *y, long rows, long width, int threads) {
    Gated job = {gate_up, y, rows, width, rows_per_task(width)};
    share_out(threads, tasks_of(rows, width), is_bf16 ? gate_bf16 : gate_f32, &job);
}

typedef struct {
    const void *qkv, *cos, *sin, *query_weight, *key_weight;
    const int64_t *slots;
    void *query, *keys, *values;
    long rows, query_heads, kv_heads, head_dim, rows_per_task;
    float eps;
} Rope;

/* y = the head at x, normalised where there is a weight, then rotated. */
INLINE void rotate(int is_bf16, const Rope *job, const void *x, const void *weight, long row, void *y) {
    long half = job->head_dim / 2, factors = row * job->head_dim;
    float scale = weight ? inverse_rms(is_bf16, x, job->head_dim, job->eps) : 1;
    for (long i = 0; i < half; i += LANES) {
        long count = lanes_at(i, half);
        Lanes low = load(is_bf16, x, i, count), high = load(is_bf16, x, half + i, count);
        if (weight) {
            low = rounded(is_bf16, low * scale) * load(is_bf16, weight, i, count);
            high = rounded(is_bf16, high * scale) * load(is_bf16, weight, half + i, count);
            low = rounded(is_bf16, low), high = rounded(is_bf16, high);
        }
        Lanes low_cos = load(is_bf16, job->cos, factors + i, count), high_cos = load(is_bf16, job->cos, factors + half + i, count);
        Lanes low_sin = load(is_bf16, job->sin, factors + i, count), high_sin = load(is_bf16, job->sin, factors + half + i, count);
        store(is_bf16, y, i, low * low_cos + high * low_sin, count);
        store(is_bf16, y, half + i, high * high_cos + low * high_sin, count);
    }
}

INLINE void rope_rows(int is_bf16, const Rope *job, long task) {
    long head = size_of(is_bf16) * job->head_dim, row = task * job->rows_per_task;
    long end = row + job->rows_per_task < job->rows ? row + job->rows_per_task : job->rows;
    for (; row < end; row++) {
        const char *x = (const char *)job->qkv + row * (job->query_heads + 2 * job->kv_heads) * head;
        for (long h = 0; h < job->query_heads; h++, x += head)
            rotate(is_bf16, job, x, job->query_weight, row, (char *)job->query + (row * job->query_heads + h) * head);
        if (job->slots[row] < 0) continue;
        char *key = (char *)job->keys + job->slots[row] * job->kv_heads * head;
        for (long h = 0; h < job->kv_heads; h++, x += head) rotate(is_bf16, job, x, job->key_weight, row, key + h * head);
        memcpy((char *)job->values + job->slots[row] * job->kv_heads * head, x, job->kv_heads * head);
    }
}

static void rope_f32(const void *job, long task) { rope_rows(0, job, task); }
static void rope_bf16(const void *job, long task) { rope_rows(1, job, task); }

/* Queries rotated into `query`, keys rotated and values as they are into their slots of the caches; slot -1 is none. */
void rope_kv_write(int is_bf16, const void *qkv, const void *cos, const void *sin, const int64_t *slots, void *query,
                   void *keys, void *values, const void *query_weight, const void *key_weight, long rows,
                   long query_heads, long kv_heads, long head_dim, float eps, int threads) {
    long width = (query_heads + 2 * kv_heads) * head_dim;
    Rope job = {qkv,  cos,         sin,      query_weight, key_weight,           slots, query, keys, values,
                rows, query_heads, kv_heads, head_dim,     rows_per_task(width), eps};
    share_out(threads, tasks_of(rows, width), is_bf16 ? rope_bf16 : rope_f32, &job);
}
