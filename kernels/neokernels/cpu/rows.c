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

/* The rows of a tensor that one task works on: enough to be worth handing to another thread. */
typedef struct {
    long rows, rows_per_task, tasks;
} Share;

static Share share_of(long rows, long width) {
    long each = width < VALUES_PER_TASK ? VALUES_PER_TASK / width : 1;
    return (Share){rows, each, (rows + each - 1) / each};
}

INLINE long end_of(const Share *share, long task) {
    long end = (task + 1) * share->rows_per_task;
    return end < share->rows ? end : share->rows;
}

/* In what follows a row is worked through in whole lanes, whose count the compiler knows, and then what is left. */

INLINE Lanes square(int is_bf16, const void *x, long i, long count) {
    Lanes lanes = load(is_bf16, x, i, count);
    return lanes * lanes;
}

/* 1 / sqrt(mean(x^2) + eps) */
INLINE float inverse_rms(int is_bf16, const void *x, long width, float eps) {
    Lanes squares = {0};
    long i = 0;
    for (; i + LANES <= width; i += LANES) squares += square(is_bf16, x, i, LANES);
    if (i < width) squares += square(is_bf16, x, i, width - i);
    return 1.0f / sqrtf(sum_of(squares) / width + eps);
}

typedef struct {
    Share share;
    const void *x, *residual, *weight;
    void *y, *total;
    long width;
    float eps;
} Norm;

INLINE void add(int is_bf16, const void *x, const void *residual, void *total, long i, long count) {
    store(is_bf16, total, i, load(is_bf16, x, i, count) + load(is_bf16, residual, i, count), count);
}

INLINE Lanes normed(int is_bf16, const void *x, const void *weight, float scale, long i, long count) {
    return rounded(is_bf16, load(is_bf16, x, i, count) * scale) * load(is_bf16, weight, i, count);
}

INLINE void norm_rows(int is_bf16, const Norm *job, long task) {
    long row = task * job->share.rows_per_task, width = job->width, i;
    for (; row < end_of(&job->share, task); row++) {
        const void *x = at(is_bf16, job->x, row * width);
        if (job->residual) {
            const void *residual = at(is_bf16, job->residual, row * width);
            void *total = to(is_bf16, job->total, row * width);
            for (i = 0; i + LANES <= width; i += LANES) add(is_bf16, x, residual, total, i, LANES);
            if (i < width) add(is_bf16, x, residual, total, i, width - i);
            x = total;
        }
        void *y = to(is_bf16, job->y, row * width);
        float scale = inverse_rms(is_bf16, x, width, job->eps);
        for (i = 0; i + LANES <= width; i += LANES)
            store(is_bf16, y, i, normed(is_bf16, x, job->weight, scale, i, LANES), LANES);
        if (i < width) store(is_bf16, y, i, normed(is_bf16, x, job->weight, scale, i, width - i), width - i);
    }
}

static void norm_f32(const void *job, long task) { norm_rows(0, job, task); }
static void norm_bf16(const void *job, long task) { norm_rows(1, job, task); }

/* y = rms_norm(x + residual) * weight, and the sum into `total`; without a residual, of x alone. */
void rms_norm(int is_bf16, const void *x, const void *residual, const void *weight, void *y, void *total, long rows,
              long width, float eps, int threads) {
    Norm job = {share_of(rows, width), x, residual, weight, y, total, width, eps};
    share_out(threads, job.share.tasks, is_bf16 ? norm_bf16 : norm_f32, &job);
}

typedef struct {
    Share share;
    const void *gate_up;
    void *y;
    long width;
} Gated;

INLINE void gate(int is_bf16, const void *gates, const void *ups, void *y, long i, long count) {
    Lanes gate = load(is_bf16, gates, i, count), up = load(is_bf16, ups, i, count);
    /* Below -88 the exponential would overflow, and the quotient is 0 in float32 anyway. */
    Lanes power = exp_lanes(select_lanes(gate < -88.0f, all_lanes(88.0f), -gate));
    Lanes silu = select_lanes(gate < -88.0f, (Lanes){0}, gate / (1.0f + power));
    store(is_bf16, y, i, silu * up, count);
}

INLINE void gate_rows(int is_bf16, const Gated *job, long task) {
    long row = task * job->share.rows_per_task, width = job->width, i;
    for (; row < end_of(&job->share, task); row++) {
        const void *gates = at(is_bf16, job->gate_up, 2 * row * width), *ups = at(is_bf16, gates, width);
        void *y = to(is_bf16, job->y, row * width);
        for (i = 0; i + LANES <= width; i += LANES) gate(is_bf16, gates, ups, y, i, LANES);
        if (i < width) gate(is_bf16, gates, ups, y, i, width - i);
    }
}

static void gate_f32(const void *job, long task) { gate_rows(0, job, task); }
static void gate_bf16(const void *job, long task) { gate_rows(1, job, task); }

/* y = silu(gate) * up; gate_up [rows, 2 * width] */
void silu_mul(int is_bf16, const void *gate_up, void *y, long rows, long width, int threads) {
    Gated job = {share_of(rows, width), gate_up, y, width};
    share_out(threads, job.share.tasks, is_bf16 ? gate_bf16 : gate_f32, &job);
}

typedef struct {
    Share share;
    const void *qkv, *cos, *sin, *query_weight, *key_weight;
    const int64_t *slots;
    void *query, *keys, *values;
    long query_heads, kv_heads, head_dim;
    float eps;
} Rope;

/* A head, normalised where there is a weight, and the factors of its row. */
typedef struct {
    const void *x, *weight, *cos, *sin;
    float scale;
} Head;

INLINE Lanes head_lanes(int is_bf16, const Head *head, long i, long count) {
    if (!head->weight) return load(is_bf16, head->x, i, count);
    return rounded(is_bf16, normed(is_bf16, head->x, head->weight, head->scale, i, count));
}

INLINE void rotate_lanes(int is_bf16, const Head *head, void *y, long half, long i, long count) {
    Lanes low = head_lanes(is_bf16, head, i, count), high = head_lanes(is_bf16, head, half + i, count);
    Lanes low_cos = load(is_bf16, head->cos, i, count), high_cos = load(is_bf16, head->cos, half + i, count);
    Lanes low_sin = load(is_bf16, head->sin, i, count), high_sin = load(is_bf16, head->sin, half + i, count);
    store(is_bf16, y, i, low * low_cos + high * low_sin, count);
    store(is_bf16, y, half + i, high * high_cos + low * high_sin, count);
}

INLINE void rotate(int is_bf16, const Rope *job, const void *x, const void *weight, long row, void *y) {
    Head head = {x, weight, at(is_bf16, job->cos, row * job->head_dim), at(is_bf16, job->sin, row * job->head_dim),
                 weight ? inverse_rms(is_bf16, x, job->head_dim, job->eps) : 1};
    long half = job->head_dim / 2, i = 0;
    for (; i + LANES <= half; i += LANES) rotate_lanes(is_bf16, &head, y, half, i, LANES);
    if (i < half) rotate_lanes(is_bf16, &head, y, half, i, half - i);
}

INLINE void rope_rows(int is_bf16, const Rope *job, long task) {
    long dim = job->head_dim;
    for (long row = task * job->share.rows_per_task; row < end_of(&job->share, task); row++) {
        const void *x = at(is_bf16, job->qkv, row * (job->query_heads + 2 * job->kv_heads) * dim);
        void *query = to(is_bf16, job->query, row * job->query_heads * dim);
        for (long head = 0; head < job->query_heads; head++)
            rotate(is_bf16, job, at(is_bf16, x, head * dim), job->query_weight, row, to(is_bf16, query, head * dim));
        if (job->slots[row] < 0) continue;
        long place = job->slots[row] * job->kv_heads * dim;
        void *key = to(is_bf16, job->keys, place);
        x = at(is_bf16, x, job->query_heads * dim);
        for (long head = 0; head < job->kv_heads; head++)
            rotate(is_bf16, job, at(is_bf16, x, head * dim), job->key_weight, row, to(is_bf16, key, head * dim));
        const void *value = at(is_bf16, x, job->kv_heads * dim);
        memcpy(to(is_bf16, job->values, place), value, job->kv_heads * dim * size_of(is_bf16));
    }
}

static void rope_f32(const void *job, long task) { rope_rows(0, job, task); }
static void rope_bf16(const void *job, long task) { rope_rows(1, job, task); }

/* Queries rotated into `query`, keys rotated and values as they are into their slots of the caches; slot -1 is none. */
void rope_kv_write(int is_bf16, const void *qkv, const void *cos, const void *sin, const int64_t *slots, void *query,
                   void *keys, void *values, const void *query_weight, const void *key_weight, long rows,
                   long query_heads, long kv_heads, long head_dim, float eps, int threads) {
    Rope job = {share_of(rows, (query_heads + 2 * kv_heads) * head_dim), qkv, cos, sin, query_weight, key_weight, slots,
                query, keys, values, query_heads, kv_heads, head_dim, eps};
    share_out(threads, job.share.tasks, is_bf16 ? rope_bf16 : rope_f32, &job);
}
