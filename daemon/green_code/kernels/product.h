// Products of quantised rows with a matrix of int8 weights.
//
// A matrix lies in the order in which it is read, so that a token reads one stream: TILE outputs by GROUP inputs make
// a record, the records of a tile's inputs follow one another, then the next tile's, then the next matrix.

#ifndef PRODUCT_H
#define PRODUCT_H

#include <stddef.h>

#include "lanes.h"
#include "rounding.h"
#include "team.h"

#define GROUP 64              // inputs that share a scale
#define TILE 64               // outputs that are computed side by side
#define PARTS (TILE / LANES)  // vectors that hold one row's sums of a tile
#if defined(__AVX512F__) || defined(__aarch64__)
#define ROWS 4                // rows that pass together: so many vectors of sums that a sum need not wait for the one before
#else
#define ROWS 2                // with half as many registers
#endif
#define SUMS (4 * ROWS)       // vectors of sums that registers hold
#define SPAN 5                // groups of a tile, which a near cache holds, that all of a few rows pass before the next ones
#define FEW_ROWS 16           // so many are a few: memory may still be slower than arithmetic
#define LINE 64               // bytes that memory gives at once

typedef struct {
  uint8_t weights[GROUP / 4][TILE][4];  // w + 128
  uint16_t scales[TILE];                // bfloat16
} record;

enum { LINES = sizeof(record) / LINE };

typedef struct {
  const record *records;  // (outputs/TILE, inputs/GROUP)
  int32_t outputs, inputs;
} matrix;

// Rows as a product takes them.
typedef struct {
  int8_t *values;  // (CHUNK, inputs)
  float *scales;   // (CHUNK, inputs/GROUP)
  int32_t *sums;   // (CHUNK, inputs/GROUP): of the values of a group
} quantised;

// Row `at` of `to` from `inputs` floats.
INLINE void quantise(const float *x, int inputs, int at, const quantised *to) {
  int8_t *values = to->values + (size_t)at * inputs;
  float *scales = to->scales + (size_t)at * (inputs / GROUP);
  int32_t *sums = to->sums + (size_t)at * (inputs / GROUP);
  for (int group = 0; group < inputs / GROUP; group++, x += GROUP, values += GROUP)
    scales[group] = round_group(x, GROUP, values, sums + group);
}

// `rows` rows (a constant) through vectors part … part+parts−1 (parts a constant) of `count` groups from `from` on; what the
// groups before them gave is in `out`. Beside each group, `lines` of a record are fetched from `ahead` on: `each` (a constant)
// beside every four inputs, what is over at its beginning.
INLINE void pass(const record *tile, int groups, int from, int count, int part, const int parts, const quantised *x, int at,
                 const int rows, const char *ahead, int lines, const int each, float *out, int stride) {
  enum { FOURS = GROUP / 4 };
  const int inputs = groups * GROUP;
  float *to = out + (size_t)at * stride + part * LANES;
  vf found[ROWS][PARTS];
  for (int r = 0; r < rows; r++)
    for (int p = 0; p < parts; p++) found[r][p] = from ? load(to + (size_t)r * stride + p * LANES) : (vf){0};
  for (int group = from; group < from + count; group++, ahead += sizeof(record)) {
    const record *here = tile + group;
    vi sums[ROWS][PARTS];
    for (int r = 0; r < rows; r++) {
      vi first = first_sum(x->sums[(size_t)(at + r) * groups + group]);
      for (int p = 0; p < parts; p++) sums[r][p] = first;
    }
    for (int line = each * FOURS; line < lines; line++) fetch(ahead + line * LINE);
#pragma clang loop unroll(disable)  // or the compiler loads far ahead, more than registers hold
    for (int four = 0; four < FOURS; four++) {
      for (int line = each * four; line < each * (four + 1); line++) fetch(ahead + line * LINE);
      for (int r = 0; r < rows; r++) {
        int32_t values;
        memcpy(&values, x->values + (size_t)(at + r) * inputs + group * GROUP + 4 * four, 4);
        for (int p = 0; p < parts; p++)
          sums[r][p] = dot4(sums[r][p], here->weights[four][(part + p) * LANES], values);
      }
    }
    for (int p = 0; p < parts; p++) {
      vf scale = load_half(here->scales + (part + p) * LANES);
      for (int r = 0; r < rows; r++)
        found[r][p] = fma_(__builtin_convertvector(sums[r][p], vf),
                           scale * x->scales[(size_t)(at + r) * groups + group], found[r][p]);
    }
  }
  for (int r = 0; r < rows; r++)
    for (int p = 0; p < parts; p++) store(to + (size_t)r * stride + p * LANES, found[r][p]);
}

// All rows through `span` groups of a tile at a time, up to ROWS at once and `parts` vectors at a time (a constant); meanwhile
// memory gives as many groups of what comes then, at the last span the `next` tile's. Where that is a shorter span, the rest of
// the next one is left to the processor: fetching it all, in one sequence, was slower. `turns` of rows (a constant) are the most
// that come, 0: many. Where a pass's share is less than a line beside every four inputs, it is fetched at once.
INLINE void passes(const record *tile, const record *next, int groups, int span, const quantised *x, int rows,
                   const int turns, const int parts, float *out, int stride) {
  const int each = turns ? LINES / (GROUP / 4) * parts / PARTS / turns : 0;
  const int count = (rows + ROWS - 1) / ROWS * (PARTS / parts), lines = (LINES + count - 1) / count;
  for (int from = 0; from < groups; from += span) {
    const int some = groups - from < span ? groups - from : span;
    const char *ahead = (const char *)(from + span < groups ? tile + from + span : next);
    for (int part = 0; part < PARTS; part += parts)
      for (int at = 0; at < rows; at += ROWS, ahead += lines * LINE) switch (rows - at) {
          case 1: pass(tile, groups, from, some, part, parts, x, at, 1, ahead, lines, each, out, stride); break;
#if ROWS > 2
          case 2: pass(tile, groups, from, some, part, parts, x, at, 2, ahead, lines, each, out, stride); break;
          case 3: pass(tile, groups, from, some, part, parts, x, at, 3, ahead, lines, each, out, stride); break;
#endif
          default: pass(tile, groups, from, some, part, parts, x, at, ROWS, ahead, lines, each, out, stride);
        }
  }
}

// out (rows, of `stride`) = x · tileᵀ. While rows beside the first are computed, memory would idle, so each pass fetches a
// share of what comes next. A few rows do so span by span: what they fetch, and what they come back to, is near then. Many
// are nothing but arithmetic, and keep their sums in registers through the whole tile.
static void product_tile(const record *tile, const record *next, int groups, const quantised *x, int rows, float *out,
                         int stride) {
  enum { ALONE = PARTS < SUMS ? PARTS : SUMS, TOGETHER = PARTS < SUMS / ROWS ? PARTS : SUMS / ROWS };
  if (rows == 1) passes(tile, next, groups, groups, x, 1, 1, ALONE, out, stride);
  else if (rows <= ROWS) passes(tile, next, groups, groups, x, rows, 1, TOGETHER, out, stride);
  else if (rows <= 2 * ROWS) passes(tile, next, groups, SPAN, x, rows, 2, TOGETHER, out, stride);
  else if (rows <= FEW_ROWS) passes(tile, next, groups, SPAN, x, rows, FEW_ROWS / ROWS, TOGETHER, out, stride);
  else passes(tile, next, groups, groups, x, rows, 0, TOGETHER, out, stride);
}

typedef struct {
  const matrix *m, *following;
  const quantised *x;
  int rows, stride, half;
  float *out;
} product_task;

// Tile `index` of a product. The first thread goes up and the helper down, each to `half` way if both are equally fast, and what a
// thread fetches next is where it will go on: its end of the matrix that follows, once it is there.
static void product_part(const void *task, int index, int worker) {
  const product_task *t = task;
  const int groups = t->m->inputs / GROUP;
  const record *tile = t->m->records + (size_t)index * groups, *next = worker ? tile - (index ? groups : 0) : tile + groups;
  if (t->following && index == (worker ? t->half : t->half - 1)) {
    const matrix *f = t->following;
    next = worker ? f->records + (size_t)(f->outputs / TILE) * (f->inputs / GROUP) - groups : f->records;
  }
  product_tile(tile, next, groups, t->x, t->rows, t->out + index * TILE, t->stride);
}

// out (rows, stride) = x · mᵀ. `following` is the matrix that is read next, if that is known.
static void product(team *team, const matrix *m, const matrix *following, const quantised *x, int rows, float *out,
                    int stride) {
  const int tiles = m->outputs / TILE;
  const product_task task = {m, following, x, rows, stride, team ? tiles / 2 : tiles, out};
  share(team, product_part, &task, tiles);
}

#endif
