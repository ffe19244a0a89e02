/* Causal attention straight from the paged cache, with grouped queries, a window and sinks; float32 arithmetic.
 *
 * A task is one KV head for some consecutive query rows. Up to TILE_ROWS queries that share that head's keys go through
 * their context together, a block of TOKENS at a time, with the softmax kept as running maximum, sum and output
 * (Milakov & Gimelshein 2018, arXiv:1805.02867). A query's sums follow the positions of its tokens alone, so its result
 * does not depend on what shares its tile. */
#include <math.h>

#include "lanes.h"
#include "pool.h"

enum { TOKENS = 64, TILE_ROWS = 8, MOST_VECTORS = 4, MOST_ROWS_PER_TASK = 16 };
/* How many tokens ahead keys are asked for: the heads of a cache lie a whole token apart, too far for the hardware to
 * guess the next. A full tile, of a prompt, finds them where the tile before it left them. */
enum { AHEAD = 16, LINE = 64 };

typedef struct {
    const void *query, *keys, *values;
    void *y;
    const float *sinks;
    const int32_t *query_starts, *context_lens, *tables;
    long requests, rows, query_heads, kv_heads, key_dim, value_dim;
    long key_slot, value_slot;  /* elements from one cache slot to the next */
    long key_head, value_head;  /* elements from one head to the next */
    long table_width, block_tokens, window, rows_per_task;
    float scale;
} Attention;

/* One query: where it is read and written, and the tokens it sees. */
typedef struct {
    const void *query;
    void *y;
    long first, end;
    float largest, sum;
} Row;

INLINE void fetch(int is_bf16, const void *head, long dim) {
    long bytes = dim * (is_bf16 ? sizeof(bf16) : sizeof(float));
#pragma GCC unroll 4
    for (long i = 0; i < bytes; i += LINE) __builtin_prefetch((const char *)head + i);
}

/* One KV head of some tokens of one request, whose slots lie scattered over the cache. */
typedef struct {
    const void *keys[TOKENS + AHEAD], *values[TOKENS + AHEAD];
    int first, end; /* those of the block that are seen at all */
    int known;      /* end of those that are found */
} Context;

INLINE void find(int is_bf16, const Attention *job, const int32_t *table, long kv_head, long block, Context *context) {
    long page = (block + context->first) / job->block_tokens, offset = (block + context->first) % job->block_tokens;
    for (int t = context->first; t < context->known; t++) {
        long slot = table[page] * job->block_tokens + offset;
        context->keys[t] = at(is_bf16, job->keys, slot * job->key_slot + kv_head * job->key_head);
        context->values[t] = at(is_bf16, job->values, slot * job->value_slot + kv_head * job->value_head);
        if (++offset == job->block_tokens) offset = 0, page++;
    }
}

/* sums[r] += query r . key, over some numbers of the head */
INLINE void add_products(int is_bf16, const int rows, const void *key, const void *queries, long stride, long i,
                         long count, Lanes *sums) {
    Lanes lanes = load(is_bf16, key, i, count);
    for (int r = 0; r < rows; r++) sums[r] += lanes * load(is_bf16, queries, r * stride + i, LANES);
}

/* scores[r][t] = query r . key t */
INLINE void score(int is_bf16, const int rows, const Attention *job, const Context *context, const void *queries,
                  long stride, float scores[TILE_ROWS][TOKENS]) {
    for (int group = context->first / LANES * LANES; group < context->end; group += LANES) {
        Lanes products[TILE_ROWS][LANES];
        for (int t = group; t < group + LANES; t++) {
            Lanes sums[TILE_ROWS] = {0};
            if (t >= context->first && t < context->end) {
                const void *key = context->keys[t];
                if (rows < TILE_ROWS) {
                    fetch(is_bf16, context->values[t], job->value_dim);
                    if (t + AHEAD < context->known) fetch(is_bf16, context->keys[t + AHEAD], job->key_dim);
                }
                long i = 0;
#if defined(__AVX512BF16__)
                if (is_bf16)
                    for (; i + 2 * LANES <= job->key_dim; i += 2 * LANES) {
                        __m512bh pairs = (__m512bh)_mm512_loadu_si512((const bf16 *)key + i);
                        for (int r = 0; r < rows; r++) {
                            __m512i query = _mm512_loadu_si512((const bf16 *)queries + r * stride + i);
                            sums[r] = (Lanes)_mm512_dpbf16_ps((__m512)sums[r], pairs, (__m512bh)query);
                        }
                    }
#endif
                for (; i + LANES <= job->key_dim; i += LANES)
                    add_products(is_bf16, rows, key, queries, stride, i, LANES, sums);
                if (i < job->key_dim) add_products(is_bf16, rows, key, queries, stride, i, job->key_dim - i, sums);
            }
            for (int r = 0; r < rows; r++) products[r][t - group] = sums[r];
        }
        for (int r = 0; r < rows; r++) store_f32(scores[r] + group, sums_of(products[r]));
    }
}

/* Scores become weights e^(s - largest). Returns what the sums so far must be multiplied by. */
INLINE float soften(const Attention *job, Row *row, long block, float scores[TOKENS]) {
    int first = row->first > block ? row->first - block : 0;
    int end = row->end - block < TOKENS ? row->end - block : TOKENS;
    Lanes best = all_lanes(row->largest);
    for (int t = 0; t < TOKENS; t += LANES) {
        Mask token = (Mask){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} + t;
        Mask seen = (token >= first) & (token < end);
        Lanes scaled = select_lanes(seen, load_f32(scores + t) * job->scale, all_lanes(-INFINITY));
        best = larger(scaled, best);
        store_f32(scores + t, scaled);
    }
    float largest = largest_of(best);
    if (largest == -INFINITY) {
        memset(scores, 0, TOKENS * sizeof *scores);
        return 1;
    }
    Lanes sums = {0};
    for (int t = 0; t < TOKENS; t += LANES) {
        Lanes weights = exp_lanes(load_f32(scores + t) - largest);
        store_f32(scores + t, weights);
        sums += weights;
    }
    Lanes shrink = exp_lanes(all_lanes(row->largest - largest));
    row->largest = largest;
    row->sum = row->sum * shrink[0] + sum_of(sums);
    return shrink[0];
}

/* outputs[r] = outputs[r] * shrink[r] + sum over tokens of weight * value, for some columns from `column` */
INLINE void gather(int is_bf16, const int rows, const int vectors, const Context *context, long column, long count,
                   float scores[TILE_ROWS][TOKENS], const float *shrink, float *outputs, long width) {
    Lanes sums[TILE_ROWS][MOST_VECTORS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sums[r][v] = load_f32(outputs + r * width + column + v * LANES) * shrink[r];
    for (int t = context->first; t < context->end; t++)
        for (int v = 0; v < vectors; v++) {
            Lanes lanes = load(is_bf16, context->values[t], column + v * LANES, count);
            for (int r = 0; r < rows; r++) sums[r][v] += lanes * scores[r][t];
        }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) store_f32(outputs + r * width + column + v * LANES, sums[r][v]);
}

INLINE void attend(int is_bf16, const int rows, const Attention *job, const int32_t *table, long kv_head, Row *row) {
    long width = (job->value_dim + LANES - 1) / LANES * LANES, first = row[0].first, end = row[0].end;
    const int vectors = rows == TILE_ROWS ? MOST_VECTORS / 2 : MOST_VECTORS; /* as many sums as there are registers */
    float outputs[TILE_ROWS * width], scores[TILE_ROWS][TOKENS], shrink[TILE_ROWS];
    /* The queries side by side, filled up with zeros. */
    long stride = (job->key_dim + LANES - 1) / LANES * LANES;
    long bytes = job->key_dim * (is_bf16 ? sizeof(bf16) : sizeof(float));
    float queries[rows * stride];
    memset(queries, 0, sizeof queries);
    for (int r = 0; r < rows; r++) memcpy(to(is_bf16, queries, r * stride), row[r].query, bytes);
    memset(outputs, 0, sizeof *outputs * rows * width);
    for (int r = 1; r < rows; r++) {
        first = row[r].first < first ? row[r].first : first;
        end = row[r].end > end ? row[r].end : end;
    }
    for (long block = first / TOKENS * TOKENS; block < end; block += TOKENS) {
        long left = end - block;
        Context context = {.first = block < first ? first - block : 0,
                           .end = left < TOKENS ? left : TOKENS,
                           .known = left < TOKENS + AHEAD ? left : TOKENS + AHEAD};
        find(is_bf16, job, table, kv_head, block, &context);
        if (rows < TILE_ROWS && block <= first)
            for (int t = context.first; t < context.known && t < context.first + AHEAD; t++)
                fetch(is_bf16, context.keys[t], job->key_dim);
        score(is_bf16, rows, job, &context, queries, stride, scores);
        for (int r = 0; r < rows; r++) shrink[r] = soften(job, row + r, block, scores[r]);
        long column = 0;
        for (; column + vectors * LANES <= job->value_dim; column += vectors * LANES)
            gather(is_bf16, rows, vectors, &context, column, LANES, scores, shrink, outputs, width);
        for (; column < job->value_dim; column += LANES) {
            long count = lanes_at(column, job->value_dim);
            gather(is_bf16, rows, 1, &context, column, count, scores, shrink, outputs, width);
        }
    }
    for (int r = 0; r < rows; r++)
        for (long i = 0; i < job->value_dim; i += LANES) {
            long count = lanes_at(i, job->value_dim);
            store(is_bf16, row[r].y, i, load_f32(outputs + r * width + i) / row[r].sum, count);
        }
}

/* The request that owns a query row: the last that starts at or before it, and is not empty. */
static long owner(const Attention *job, long row) {
    long low = 0, high = job->requests;
    while (high - low > 1) {
        long middle = (low + high) / 2;
        if (job->query_starts[middle] <= row) low = middle;
        else high = middle;
    }
    return low;
}

INLINE void attend_rows(int is_bf16, const Attention *job, long task) {
    long kv_head = task % job->kv_heads, group = job->query_heads / job->kv_heads;
    long row = task / job->kv_heads * job->rows_per_task;
    long end = row + job->rows_per_task < job->rows ? row + job->rows_per_task : job->rows;
    for (long request = owner(job, row); row < end && request < job->requests; request++) {
        long next = job->query_starts[request + 1] < end ? job->query_starts[request + 1] : end;
        long offset = job->context_lens[request] - job->query_starts[request + 1];
        const int32_t *table = job->tables + request * job->table_width;
        Row tile[TILE_ROWS];
        int rows = 0;
        for (; row < next; row++)
            for (long h = 0; h < group; h++) {
                long head = kv_head * group + h, seen = row + offset + 1;
                long first = job->window && seen > job->window ? seen - job->window : 0;
                tile[rows++] = (Row){at(is_bf16, job->query, (row * job->query_heads + head) * job->key_dim),
                                     (void *)at(is_bf16, job->y, (row * job->query_heads + head) * job->value_dim),
                                     first, seen, job->sinks ? job->sinks[head] : -INFINITY, job->sinks ? 1 : 0};
                if (rows == TILE_ROWS) {
                    attend(is_bf16, TILE_ROWS, job, table, kv_head, tile);
                    rows = 0;
                }
            }
        int done = 0;
        for (; done + 4 <= rows; done += 4) attend(is_bf16, 4, job, table, kv_head, tile + done);
        for (; done + 2 <= rows; done += 2) attend(is_bf16, 2, job, table, kv_head, tile + done);
        if (done < rows) attend(is_bf16, 1, job, table, kv_head, tile + done);
    }
}

static void attend_f32(const void *job, long task) { attend_rows(0, job, task); }
static void attend_bf16(const void *job, long task) { attend_rows(1, job, task); }

/* query [rows, query heads, key dim], y [rows, query heads, value dim]; window 0 is none, sinks may be null. */
void paged_attention(int is_bf16, const void *query, const void *keys, const void *values, void *y, const float *sinks,
                     const int32_t *query_starts, const int32_t *context_lens, const int32_t *tables, long requests,
                     long rows, long query_heads, long kv_heads, long key_dim, long value_dim, long key_slot,
                     long value_slot, long key_head, long value_head, long table_width, long block_tokens, long window,
                     float scale, int threads) {
    long rows_per_task = rows * kv_heads / (4 * threads);
    if (rows_per_task > MOST_ROWS_PER_TASK) rows_per_task = MOST_ROWS_PER_TASK;
    if (rows_per_task < 1) rows_per_task = 1;
    Attention job = {query, keys, values, y, sinks, query_starts, context_lens, tables, requests, rows, query_heads,
                     kv_heads, key_dim, value_dim, key_slot, value_slot, key_head, value_head, table_width,
                     block_tokens, window, rows_per_task, scale};
    share_out(threads, (rows + rows_per_task - 1) / rows_per_task * kv_heads, is_bf16 ? attend_bf16 : attend_f32, &job);
}
