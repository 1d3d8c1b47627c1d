// Matrix products (GEMM) of int8 rows with weights of 8 or 4 bits, integer sums per group of inputs, and float32 results.
//
// Weights lie in the order in which they are read, so that a token reads one stream. A record holds TILE outputs by GROUP inputs.
// The records of a tile follow one another, then those of the next tile, then the next matrix.

#ifndef GEMM_H
#define GEMM_H

#include <stddef.h>

#include "quantise.h"
#include "simd.h"
#include "thread_pool.h"

#define GROUP 64                 // inputs of a record; a row's values, and weights of 8 bits, share a scale
#define NIBBLE_GROUP 32          // inputs whose weights of 4 bits share a scale and a minimum
#define HALVES (GROUP / NIBBLE_GROUP)
#define TILE 64                  // outputs that are computed side by side
#define VECTORS (TILE / LANES)   // vectors that hold one row's sums of a tile
#if defined(__AVX512F__) || defined(__aarch64__)
#define ROWS 4                   // rows of a micro-kernel: enough independent sums to hide the latency of one
#else
#define ROWS 2                   // with half as many registers
#endif
#define SUMS (4 * ROWS)          // vectors of sums that the registers hold
#define SEVERAL (VECTORS < SUMS / ROWS ? VECTORS : SUMS / ROWS)  // vectors of a tile that several rows pass together
#define SPAN 5                   // groups of a tile that a near cache holds, for a few rows to share
#define WIDE_SPAN 4              // groups whose nibbles are unpacked once for many rows; the first-level cache holds them
#define FEW_ROWS 16              // up to here memory may be slower than arithmetic
#define LINE 64                  // bytes of a cache line

typedef struct {
  uint8_t weights[GROUP / 4][TILE][4];  // w + ZERO_POINT
  uint16_t scales[TILE];                // bfloat16
} record8;

// A weight is scale · nibble + minimum.
typedef struct {
  uint8_t weights[HALVES][NIBBLE_GROUP / 8][TILE][4];  // four inputs in the lower nibbles, the next four in the upper ones
  uint32_t scales[HALVES][TILE];                       // bfloat16: the scale in the upper half, the minimum in the lower one
} record4;

_Static_assert(NIBBLE_GROUP == 4 * NIBBLE_FOURS, "a group's sums fit");
_Static_assert(sizeof(record8) % LINE == 0 && sizeof(record4) % LINE == 0, "records are whole cache lines");

typedef struct {
  const uint8_t *records;  // (outputs/TILE, inputs/GROUP) record8 or record4
  int32_t outputs, inputs, bits;
} matrix;

INLINE size_t record_bytes(int bits) { return bits == 4 ? sizeof(record4) : sizeof(record8); }
INLINE size_t tile_bytes(const matrix *m) { return record_bytes(m->bits) * (m->inputs / GROUP); }

// The outputs of a matrix from a tile on.
INLINE matrix from_tile(const matrix *m, int tile) {
  return (matrix){m->records + tile * tile_bytes(m), m->outputs - tile * TILE, m->inputs, m->bits};
}

// Quantised rows, the left factor of a product.
typedef struct {
  int8_t *values;  // (CHUNK, inputs)
  float *scales;   // (CHUNK, inputs/GROUP)
  int32_t *sums;   // (CHUNK, inputs/NIBBLE_GROUP): of values
} quantised_rows;

// Quantises `inputs` floats into a row of `to`.
INLINE void quantise_row(const float *x, int inputs, int row, const quantised_rows *to) {
  int8_t *values = to->values + (size_t)row * inputs;
  float *scales = to->scales + (size_t)row * (inputs / GROUP);
  int32_t *sums = to->sums + (size_t)row * (inputs / NIBBLE_GROUP);
  for (int group = 0; group < inputs / GROUP; group++) {
    const float most = max_abs(x, GROUP);
    scales[group] = most / (float)QUANTISED_MAX;
    for (int half = 0; half < HALVES; half++, x += NIBBLE_GROUP, values += NIBBLE_GROUP)
      *sums++ = round_to_int8(x, NIBBLE_GROUP, inverse_scale(most), values);
  }
}

// Four values of a row from input `at` on, as dot4 takes them.
INLINE int32_t four_values(const quantised_rows *x, int row, int inputs, int at) {
  int32_t four;
  memcpy(&four, x->values + (size_t)row * inputs + at, 4);
  return four;
}

// The micro-kernels: `rows` rows (a constant) by `vectors` vectors of a tile (a constant), over `count` groups from `from` on. Sums
// of earlier groups are in `out`. Beside each group they prefetch `lines` of a record from `ahead` on: `each` (a constant) beside
// every step, and the rest at the beginning.
typedef struct {
  const quantised_rows *x;
  int inputs, row, from, count, vector;
  float *out;
  int stride;
} micro_task;

INLINE void start_results(const micro_task *t, const int rows, const int vectors, vf results[ROWS][VECTORS]) {
  const float *to = t->out + (size_t)t->row * t->stride + t->vector * LANES;
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vectors; v++) results[r][v] = t->from ? load(to + (size_t)r * t->stride + v * LANES) : (vf){0};
}

INLINE void store_results(const micro_task *t, const int rows, const int vectors, vf results[ROWS][VECTORS]) {
  float *to = t->out + (size_t)t->row * t->stride + t->vector * LANES;
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vectors; v++) store(to + (size_t)r * t->stride + v * LANES, results[r][v]);
}

INLINE void gemm_micro8(const record8 *tile, const micro_task *t, const int rows, const int vectors, const char *ahead, int lines,
                        const int each) {
  enum { FOURS = GROUP / 4 };
  vf results[ROWS][VECTORS];
  start_results(t, rows, vectors, results);
  for (int group = t->from; group < t->from + t->count; group++, ahead += sizeof(record8)) {
    const record8 *here = tile + group;
    vi sums[ROWS][VECTORS];
    for (int r = 0; r < rows; r++) {
      const int32_t *halves = t->x->sums + (size_t)(t->row + r) * (t->inputs / NIBBLE_GROUP) + group * HALVES;
      const vi start = dot4_start(halves[0] + halves[1]);
      for (int v = 0; v < vectors; v++) sums[r][v] = start;
    }
    for (int line = each * FOURS; line < lines; line++) prefetch(ahead + line * LINE);
#pragma clang loop unroll(disable)  // unrolled, it loads far ahead, more than the registers hold
    for (int four = 0; four < FOURS; four++) {
      for (int line = each * four; line < each * (four + 1); line++) prefetch(ahead + line * LINE);
      for (int r = 0; r < rows; r++) {
        const int32_t values = four_values(t->x, t->row + r, t->inputs, group * GROUP + 4 * four);
        for (int v = 0; v < vectors; v++) sums[r][v] = dot4(sums[r][v], here->weights[four][(t->vector + v) * LANES], values);
      }
    }
    for (int v = 0; v < vectors; v++) {
      const vf scale = load_bf16(here->scales + (t->vector + v) * LANES);
      for (int r = 0; r < rows; r++)
        results[r][v] = fma_(__builtin_convertvector(sums[r][v], vf),
                             scale * t->x->scales[(size_t)(t->row + r) * (t->inputs / GROUP) + group], results[r][v]);
    }
  }
  store_results(t, rows, vectors, results);
}

// results += (scale · sums + minimum · the sum of a row's values) · the row's scale, for half a group.
INLINE void add_half(const micro_task *t, int group, int half, const int rows, int v, vf scale, vf minimum,
                     nibble_sums sums[ROWS][VECTORS], vf results[ROWS][VECTORS]) {
  for (int r = 0; r < rows; r++) {
    const float own = t->x->scales[(size_t)(t->row + r) * (t->inputs / GROUP) + group];
    const int32_t sum = t->x->sums[(size_t)(t->row + r) * (t->inputs / NIBBLE_GROUP) + group * HALVES + half];
    results[r][v] = fma_(__builtin_convertvector(widen_sums(sums[r][v]), vf), scale * own, results[r][v]);
    results[r][v] = fma_(minimum, broadcast(own * (float)sum), results[r][v]);
  }
}

INLINE void unpack_scales(const uint32_t *from, vf *scale, vf *minimum) {
  vu both;
  memcpy(&both, from, sizeof both);
  *scale = (vf)(both & 0xffff0000u), *minimum = (vf)(both << 16);
}

INLINE void gemm_micro4(const record4 *tile, const micro_task *t, const int rows, const int vectors, const char *ahead, int lines,
                        const int each) {
  enum { PAIRS = NIBBLE_GROUP / 8 };
  vf results[ROWS][VECTORS];
  start_results(t, rows, vectors, results);
  for (int group = t->from; group < t->from + t->count; group++, ahead += sizeof(record4)) {
    const record4 *here = tile + group;
    for (int line = each * HALVES * PAIRS; line < lines; line++) prefetch(ahead + line * LINE);
#pragma clang loop unroll(disable)
    for (int half = 0; half < HALVES; half++) {
      nibble_sums sums[ROWS][VECTORS];
      for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sums[r][v] = (nibble_sums){0};
#pragma clang loop unroll(disable)
      for (int pair = 0; pair < PAIRS; pair++) {
        const char *next = ahead + each * (half * PAIRS + pair) * LINE;
        for (int line = 0; line < each; line++) prefetch(next + line * LINE);
        const int at = group * GROUP + half * NIBBLE_GROUP + 8 * pair;
        for (int v = 0; v < vectors; v++) {
          const vn both = load_bytes(here->weights[half][pair][(t->vector + v) * LANES]), low = both & 15, high = both >> 4;
          for (int r = 0; r < rows; r++) {
            sums[r][v] = dot4_nibbles(sums[r][v], low, four_values(t->x, t->row + r, t->inputs, at));
            sums[r][v] = dot4_nibbles(sums[r][v], high, four_values(t->x, t->row + r, t->inputs, at + 4));
          }
        }
      }
      for (int v = 0; v < vectors; v++) {
        vf scale, minimum;
        unpack_scales(here->scales[half] + (t->vector + v) * LANES, &scale, &minimum);
        add_half(t, group, half, rows, v, scale, minimum, sums, results);
      }
    }
  }
  store_results(t, rows, vectors, results);
}

// SEVERAL vectors of a record4, unpacked.
typedef struct {
  vn weights[HALVES][NIBBLE_FOURS][SEVERAL];
  vf scales[HALVES][SEVERAL], minima[HALVES][SEVERAL];
} wide4;

INLINE void unpack(const record4 *from, int vector, wide4 *to) {
  for (int half = 0; half < HALVES; half++)
    for (int v = 0; v < SEVERAL; v++) {
      for (int pair = 0; pair < NIBBLE_FOURS / 2; pair++) {
        const vn both = load_bytes(from->weights[half][pair][(vector + v) * LANES]);
        to->weights[half][2 * pair][v] = both & 15;
        to->weights[half][2 * pair + 1][v] = both >> 4;
      }
      unpack_scales(from->scales[half] + (vector + v) * LANES, &to->scales[half][v], &to->minima[half][v]);
    }
}

// The same as gemm_micro4, from unpacked groups.
INLINE void gemm_micro_wide4(const wide4 *span, const micro_task *t, const int rows) {
  vf results[ROWS][VECTORS];
  start_results(t, rows, SEVERAL, results);
  for (int i = 0; i < t->count; i++, span++)
#pragma clang loop unroll(disable)
    for (int half = 0; half < HALVES; half++) {
      const int group = t->from + i;
      nibble_sums sums[ROWS][VECTORS];
      for (int r = 0; r < rows; r++)
        for (int v = 0; v < SEVERAL; v++) sums[r][v] = (nibble_sums){0};
      for (int four = 0; four < NIBBLE_FOURS; four++)
        for (int r = 0; r < rows; r++) {
          const int32_t values = four_values(t->x, t->row + r, t->inputs, group * GROUP + half * NIBBLE_GROUP + 4 * four);
          for (int v = 0; v < SEVERAL; v++) sums[r][v] = dot4_nibbles(sums[r][v], span->weights[half][four][v], values);
        }
      for (int v = 0; v < SEVERAL; v++)
        add_half(t, group, half, rows, v, span->scales[half][v], span->minima[half][v], sums, results);
    }
  store_results(t, rows, SEVERAL, results);
}

// Many rows by one tile of nibbles: bound by arithmetic, so nibbles are unpacked once for all of them. Each micro-kernel prefetches its
// share of the span that follows.
static void gemm_wide4(const record4 *tile, const record4 *next, int groups, const quantised_rows *x, int rows, float *out,
                       int stride) {
  wide4 span[WIDE_SPAN];
  const int count = (rows + ROWS - 1) / ROWS * (VECTORS / SEVERAL), bytes = WIDE_SPAN * sizeof(record4);
  const int lines = (bytes / LINE + count - 1) / count;
  for (int from = 0; from < groups; from += WIDE_SPAN) {
    const int some = groups - from < WIDE_SPAN ? groups - from : WIDE_SPAN;
    const char *ahead = (const char *)(from + WIDE_SPAN < groups ? tile + from + WIDE_SPAN : next);
    for (int vector = 0; vector < VECTORS; vector += SEVERAL) {
      for (int i = 0; i < some; i++) unpack(tile + from + i, vector, span + i);
      for (int row = 0; row < rows; row += ROWS, ahead += lines * LINE) {
        for (int line = 0; line < lines; line++) prefetch(ahead + line * LINE);
        const micro_task t = {x, groups * GROUP, row, from, some, vector, out, stride};
        switch (rows - row) {
          case 1: gemm_micro_wide4(span, &t, 1); break;
#if ROWS > 2
          case 2: gemm_micro_wide4(span, &t, 2); break;
          case 3: gemm_micro_wide4(span, &t, 3); break;
#endif
          default: gemm_micro_wide4(span, &t, ROWS);
        }
      }
    }
  }
}

INLINE void gemm_micro(const uint8_t *tile, const int bits, const micro_task *t, const int rows, const int vectors,
                       const char *ahead, int lines, const int each) {
  if (bits == 4) gemm_micro4((const record4 *)tile, t, rows, vectors, ahead, lines, each);
  else gemm_micro8((const record8 *)tile, t, rows, vectors, ahead, lines, each);
}

// All rows by one tile, in blocks of `span` groups, ROWS rows and `vectors` vectors (a constant). Each micro-kernel prefetches its
// share of the block that follows; the last block's is that of the `next` tile. Where that one is shorter, the rest is left to the
// hardware prefetcher: prefetching it all was slower. `row_blocks` (a constant) is the greatest number of row blocks, 0 for many.
INLINE void gemm_blocks(const uint8_t *tile, const uint8_t *next, const int bits, int groups, int span, const quantised_rows *x,
                        int rows, const int row_blocks, const int vectors, float *out, int stride) {
  const int steps = bits == 4 ? GROUP / 8 : GROUP / 4, record_lines = (int)record_bytes(bits) / LINE;
  const int each = row_blocks ? record_lines / steps * vectors / VECTORS / row_blocks : 0;
  const int count = (rows + ROWS - 1) / ROWS * (VECTORS / vectors), lines = (record_lines + count - 1) / count;
  for (int from = 0; from < groups; from += span) {
    const int some = groups - from < span ? groups - from : span;
    const char *ahead = (const char *)(from + span < groups ? tile + (from + span) * record_bytes(bits) : next);
    for (int vector = 0; vector < VECTORS; vector += vectors)
      for (int row = 0; row < rows; row += ROWS, ahead += lines * LINE) {
        const micro_task t = {x, groups * GROUP, row, from, some, vector, out, stride};
        switch (rows - row) {
          case 1: gemm_micro(tile, bits, &t, 1, vectors, ahead, lines, each); break;
#if ROWS > 2
          case 2: gemm_micro(tile, bits, &t, 2, vectors, ahead, lines, each); break;
          case 3: gemm_micro(tile, bits, &t, 3, vectors, ahead, lines, each); break;
#endif
          default: gemm_micro(tile, bits, &t, ROWS, vectors, ahead, lines, each);
        }
      }
  }
}

// out (rows, of `stride`) = x · tileᵀ; one row is a GEMV. A few rows are bound by memory: they go span by span, so that weights are
// read once and prefetched meanwhile. Many rows are bound by arithmetic and keep their sums in registers through the whole tile.
INLINE void gemm_tile(const uint8_t *tile, const uint8_t *next, const int bits, int groups, const quantised_rows *x, int rows,
                      float *out, int stride) {
  enum { ONE = VECTORS < SUMS ? VECTORS : SUMS };
  if (rows == 1) gemm_blocks(tile, next, bits, groups, groups, x, 1, 1, ONE, out, stride);
  else if (rows <= ROWS) gemm_blocks(tile, next, bits, groups, groups, x, rows, 1, SEVERAL, out, stride);
  else if (rows <= 2 * ROWS) gemm_blocks(tile, next, bits, groups, SPAN, x, rows, 2, SEVERAL, out, stride);
  else if (bits == 4) gemm_wide4((const record4 *)tile, (const record4 *)next, groups, x, rows, out, stride);
  else if (rows <= FEW_ROWS) gemm_blocks(tile, next, bits, groups, SPAN, x, rows, FEW_ROWS / ROWS, SEVERAL, out, stride);
  else gemm_blocks(tile, next, bits, groups, groups, x, rows, 0, SEVERAL, out, stride);
}

typedef struct {
  const matrix *m, *following;
  const quantised_rows *x;
  int rows, stride, workers;
  float *out;
} gemm_task;

// Tile `index` of a product. Threads that are equally fast take every `workers`-th tile, so a thread prefetches the one that it probably
// takes next; at the end, one of the matrix that follows.
static void gemm_part(const void *task, int index, int worker) {
  (void)worker;
  const gemm_task *t = task;
  const int groups = t->m->inputs / GROUP, later = index + t->workers - t->m->outputs / TILE;
  const size_t bytes = tile_bytes(t->m);
  const uint8_t *tile = t->m->records + index * bytes, *next = tile;
  if (later < 0) next = tile + t->workers * bytes;
  else if (t->following && later < t->following->outputs / TILE) next = t->following->records + later * tile_bytes(t->following);
  float *out = t->out + index * TILE;
  if (t->m->bits == 4) gemm_tile(tile, next, 4, groups, t->x, t->rows, out, t->stride);
  else gemm_tile(tile, next, 8, groups, t->x, t->rows, out, t->stride);
}

// out (rows, stride) = x · mᵀ. `following` is the matrix that is read next, or null.
static void gemm(thread_pool *pool, const matrix *m, const matrix *following, const quantised_rows *x, int rows, float *out,
                 int stride) {
  const gemm_task task = {m, following, x, rows, stride, pool ? pool->workers : 1, out};
  parallel_for(pool, gemm_part, &task, m->outputs / TILE);
}

#endif
