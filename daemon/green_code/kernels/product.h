// Products of quantised rows with a matrix of int8 weights.
//
// A matrix lies in the order in which it is read, so that a token reads one stream: TILE outputs by GROUP inputs make
// a record, the records of a tile's inputs follow one another, then the next tile's.

#ifndef PRODUCT_H
#define PRODUCT_H

#include <stddef.h>

#include "lanes.h"

#define GROUP 32              // inputs that share a scale
#define TILE 64               // outputs that are computed side by side
#define AHEAD 4               // records that are fetched before they are needed
#define PARTS (TILE / LANES)  // vectors that hold one row's sums of a tile

typedef struct {
  uint8_t weights[GROUP / 4][TILE][4];  // w + 128
  uint16_t scales[TILE];                // bfloat16
} record;

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
  for (int group = 0; group < inputs / GROUP; group++, x += GROUP, values += GROUP) {
    vf most = {0};
    for (int i = 0; i < GROUP; i += LANES) most = larger(most, magnitude(load(x + i)));
    float peak = largest(most), inverse = peak > 1e-30f ? 127.0f / peak : 0.0f;
    vi total = {0};
    for (int i = 0; i < GROUP; i += LANES) {
      vi rounded = __builtin_convertvector(__builtin_elementwise_rint(load(x + i) * inverse), vi);
      vb bytes = __builtin_convertvector(rounded, vb);
      memcpy(values + i, &bytes, sizeof bytes);
      total += rounded;
    }
    scales[group] = peak / 127.0f;
    sums[group] = 0;
    for (int lane = 0; lane < LANES; lane++) sums[group] += total[lane];
  }
}

// `rows` rows (a constant) through vectors part … part+parts−1 (parts a constant) of a tile.
INLINE void product_rows(const record *tile, int groups, int part, const int parts, const quantised *x, int at,
                         const int rows, float *out, int stride) {
  const int inputs = groups * GROUP;
  vf found[4][PARTS];
  for (int r = 0; r < rows; r++)
    for (int p = 0; p < parts; p++) found[r][p] = (vf){0};
  for (int group = 0; group < groups; group++) {
    const record *here = tile + group;
    vi sums[4][PARTS];
    for (int r = 0; r < rows; r++) {
      vi first = first_sum(x->sums[(size_t)(at + r) * groups + group]);
      for (int p = 0; p < parts; p++) sums[r][p] = first;
    }
#pragma clang loop unroll(full)
    for (int four = 0; four < GROUP / 4; four++) {
      if (at == 0)  // the tile comes from memory, later rows find it near
        for (int line = 0; line < parts * LANES * 4; line += 64)
          __builtin_prefetch(&here[AHEAD].weights[four][part * LANES][0] + line);
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
    for (int p = 0; p < parts; p++) store(out + (size_t)(at + r) * stride + (part + p) * LANES, found[r][p]);
}

// out (rows, stride) = x · mᵀ. A tile's weights stay in a near cache while all rows pass.
static void product(const matrix *m, const quantised *x, int rows, float *out, int stride) {
  enum { FEW = PARTS < 4 ? PARTS : 4 };  // as many sums as registers hold
  const int groups = m->inputs / GROUP;
  for (int tile = 0; tile < m->outputs / TILE; tile++) {
    const record *records = m->records + (size_t)tile * groups;
    float *here = out + tile * TILE;
    for (int part = 0; part < PARTS; part += FEW) {
      int at = 0;
      for (; at + 4 <= rows; at += 4) product_rows(records, groups, part, FEW, x, at, 4, here, stride);
      if (at + 2 <= rows) product_rows(records, groups, part, FEW, x, at, 2, here, stride), at += 2;
      if (at < rows) product_rows(records, groups, part, FEW, x, at, 1, here, stride);
    }
  }
}

#endif
