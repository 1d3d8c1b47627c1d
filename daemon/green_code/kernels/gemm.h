// Matrix products (GEMM) of int8 rows with int8 weights, int32 sums per group of inputs, and float32 results.
//
// Weights lie in the order in which they are read, so that a token reads one stream. A record holds TILE outputs by GROUP inputs.
// The records of a tile follow one another, then those of the next tile, then the next matrix.

#ifndef GEMM_H
#define GEMM_H

#include <stddef.h>

#include "quantise.h"
#include "simd.h"
#include "thread_pool.h"

#define GROUP 64                 // inputs that share a scale
#define TILE 64                  // outputs that are computed side by side
#define VECTORS (TILE / LANES)   // vectors that hold one row's sums of a tile
#if defined(__AVX512F__) || defined(__aarch64__)
#define ROWS 4                   // rows of a micro-kernel: enough independent sums to hide the latency of one
#else
#define ROWS 2                   // with half as many registers
#endif
#define SUMS (4 * ROWS)          // vectors of sums that the registers hold
#define SPAN 5                   // groups of a tile that a near cache holds, for a few rows to share
#define FEW_ROWS 16              // up to here memory may be slower than arithmetic
#define LINE 64                  // bytes of a cache line

typedef struct {
  uint8_t weights[GROUP / 4][TILE][4];  // w + ZERO_POINT
  uint16_t scales[TILE];                // bfloat16
} record;

enum { LINES = sizeof(record) / LINE };

typedef struct {
  const record *records;  // (outputs/TILE, inputs/GROUP)
  int32_t outputs, inputs;
} matrix;

// Quantised rows, the left factor of a product.
typedef struct {
  int8_t *values;  // (CHUNK, inputs)
  float *scales;   // (CHUNK, inputs/GROUP)
  int32_t *sums;   // (CHUNK, inputs/GROUP): of the values of a group
} quantised_rows;

// Quantises `inputs` floats into a row of `to`.
INLINE void quantise_row(const float *x, int inputs, int row, const quantised_rows *to) {
  int8_t *values = to->values + (size_t)row * inputs;
  float *scales = to->scales + (size_t)row * (inputs / GROUP);
  int32_t *sums = to->sums + (size_t)row * (inputs / GROUP);
  for (int group = 0; group < inputs / GROUP; group++, x += GROUP, values += GROUP)
    scales[group] = quantise_group(x, GROUP, values, sums + group);
}

// The micro-kernel: `rows` rows (a constant) by `vectors` vectors of a tile (a constant), over `count` groups from `from` on. Sums
// of earlier groups are in `out`. Beside each group it prefetches `lines` of a record from `ahead` on: `each` (a constant) beside
// every four inputs, and the rest at the beginning.
INLINE void gemm_micro(const record *tile, int groups, int from, int count, int vector, const int vectors, const quantised_rows *x,
                       int row, const int rows, const char *ahead, int lines, const int each, float *out, int stride) {
  enum { FOURS = GROUP / 4 };
  const int inputs = groups * GROUP;
  float *to = out + (size_t)row * stride + vector * LANES;
  vf results[ROWS][VECTORS];
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vectors; v++) results[r][v] = from ? load(to + (size_t)r * stride + v * LANES) : (vf){0};
  for (int group = from; group < from + count; group++, ahead += sizeof(record)) {
    const record *here = tile + group;
    vi sums[ROWS][VECTORS];
    for (int r = 0; r < rows; r++) {
      vi start = dot4_start(x->sums[(size_t)(row + r) * groups + group]);
      for (int v = 0; v < vectors; v++) sums[r][v] = start;
    }
    for (int line = each * FOURS; line < lines; line++) prefetch(ahead + line * LINE);
#pragma clang loop unroll(disable)  // unrolled, it loads far ahead, more than the registers hold
    for (int four = 0; four < FOURS; four++) {
      for (int line = each * four; line < each * (four + 1); line++) prefetch(ahead + line * LINE);
      for (int r = 0; r < rows; r++) {
        int32_t values;
        memcpy(&values, x->values + (size_t)(row + r) * inputs + group * GROUP + 4 * four, 4);
        for (int v = 0; v < vectors; v++)
          sums[r][v] = dot4(sums[r][v], here->weights[four][(vector + v) * LANES], values);
      }
    }
    for (int v = 0; v < vectors; v++) {
      vf scale = load_bf16(here->scales + (vector + v) * LANES);
      for (int r = 0; r < rows; r++)
        results[r][v] = fma_(__builtin_convertvector(sums[r][v], vf),
                             scale * x->scales[(size_t)(row + r) * groups + group], results[r][v]);
    }
  }
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vectors; v++) store(to + (size_t)r * stride + v * LANES, results[r][v]);
}

// All rows by one tile, in blocks of `span` groups, ROWS rows and `vectors` vectors (a constant). Each micro-kernel prefetches its
// share of the block that follows; the last block's is that of the `next` tile. Where that one is shorter, the rest is left to the
// hardware prefetcher: prefetching it all was slower. `row_blocks` (a constant) is the greatest number of row blocks, 0 for many.
INLINE void gemm_blocks(const record *tile, const record *next, int groups, int span, const quantised_rows *x, int rows,
                        const int row_blocks, const int vectors, float *out, int stride) {
  const int each = row_blocks ? LINES / (GROUP / 4) * vectors / VECTORS / row_blocks : 0;
  const int count = (rows + ROWS - 1) / ROWS * (VECTORS / vectors), lines = (LINES + count - 1) / count;
  for (int from = 0; from < groups; from += span) {
    const int some = groups - from < span ? groups - from : span;
    const char *ahead = (const char *)(from + span < groups ? tile + from + span : next);
    for (int vector = 0; vector < VECTORS; vector += vectors)
      for (int row = 0; row < rows; row += ROWS, ahead += lines * LINE) switch (rows - row) {
          case 1: gemm_micro(tile, groups, from, some, vector, vectors, x, row, 1, ahead, lines, each, out, stride); break;
#if ROWS > 2
          case 2: gemm_micro(tile, groups, from, some, vector, vectors, x, row, 2, ahead, lines, each, out, stride); break;
          case 3: gemm_micro(tile, groups, from, some, vector, vectors, x, row, 3, ahead, lines, each, out, stride); break;
#endif
          default: gemm_micro(tile, groups, from, some, vector, vectors, x, row, ROWS, ahead, lines, each, out, stride);
        }
  }
}

// out (rows, of `stride`) = x · tileᵀ; one row is a GEMV. A few rows are bound by memory: they go span by span, so that weights are
// read once and prefetched meanwhile. Many rows are bound by arithmetic and keep their sums in registers through the whole tile.
static void gemm_tile(const record *tile, const record *next, int groups, const quantised_rows *x, int rows, float *out,
                      int stride) {
  enum { ONE = VECTORS < SUMS ? VECTORS : SUMS, SEVERAL = VECTORS < SUMS / ROWS ? VECTORS : SUMS / ROWS };
  if (rows == 1) gemm_blocks(tile, next, groups, groups, x, 1, 1, ONE, out, stride);
  else if (rows <= ROWS) gemm_blocks(tile, next, groups, groups, x, rows, 1, SEVERAL, out, stride);
  else if (rows <= 2 * ROWS) gemm_blocks(tile, next, groups, SPAN, x, rows, 2, SEVERAL, out, stride);
  else if (rows <= FEW_ROWS) gemm_blocks(tile, next, groups, SPAN, x, rows, FEW_ROWS / ROWS, SEVERAL, out, stride);
  else gemm_blocks(tile, next, groups, groups, x, rows, 0, SEVERAL, out, stride);
}

typedef struct {
  const matrix *m, *following;
  const quantised_rows *x;
  int rows, stride, half;
  float *out;
} gemm_task;

// Tile `index` of a product. The first thread takes tiles upwards and the helper downwards; equally fast, they meet half way. Each
// prefetches the tile that it takes next; at the end, its own end of the matrix that follows.
static void gemm_part(const void *task, int index, int worker) {
  const gemm_task *t = task;
  const int groups = t->m->inputs / GROUP;
  const record *tile = t->m->records + (size_t)index * groups, *next = worker ? tile - (index ? groups : 0) : tile + groups;
  if (t->following && index == (worker ? t->half : t->half - 1)) {
    const matrix *f = t->following;
    next = worker ? f->records + (size_t)(f->outputs / TILE) * (f->inputs / GROUP) - groups : f->records;
  }
  gemm_tile(tile, next, groups, t->x, t->rows, t->out + index * TILE, t->stride);
}

// out (rows, stride) = x · mᵀ. `following` is the matrix that is read next, or null.
static void gemm(thread_pool *pool, const matrix *m, const matrix *following, const quantised_rows *x, int rows, float *out,
                 int stride) {
  const int tiles = m->outputs / TILE;
  const gemm_task task = {m, following, x, rows, stride, pool ? tiles / 2 : tiles, out};
  parallel_for(pool, gemm_part, &task, tiles);
}

#endif
