// Softmax attention of the heads that share one head of keys and values.
//
// Both are bfloat16. Values lie as (positions, D). Keys lie in blocks of KEYS positions as (D, KEYS), so that a vector holds one of their
// components for several positions, and scores come out side by side. A block is as large as its keys: where a
// position's keys begin is no matter of layout.

#ifndef ATTENTION_H
#define ATTENTION_H

#include <math.h>
#include <stddef.h>

#include "lanes.h"

#define KEYS 16
#define QUERIES 4  // heads that are computed side by side

INLINE void store_key(uint16_t *keys, int position, const float *key, int width) {
  uint16_t *block = keys + (size_t)(position / KEYS) * KEYS * width + position % KEYS;
  for (int i = 0; i < width; i += LANES) {
    uint16_t halves[LANES];
    store_half(halves, load(key + i));
    for (int lane = 0; lane < LANES; lane++) block[(size_t)(i + lane) * KEYS] = halves[lane];
  }
}

INLINE void store_value(uint16_t *values, int position, const float *value, int width) {
  for (int i = 0; i < width; i += LANES) store_half(values + (size_t)position * width + i, load(value + i));
}

// scores[j] = query · key of position j, for the `count` positions of whole blocks from `first` on; `queries` rows.
INLINE void score(const float *query, const int queries, const uint16_t *keys, int first, int count, int width,
                  float scale, float *scores) {
  enum { VECTORS = KEYS / LANES };
  for (int j = 0; j < count; j += KEYS) {
    const uint16_t *block = keys + (size_t)(first + j) * width;
    vf dots[2][QUERIES][VECTORS];  // even and odd components: twice the sums in flight
    for (int odd = 0; odd < 2; odd++)
      for (int q = 0; q < queries; q++)
        for (int v = 0; v < VECTORS; v++) dots[odd][q][v] = (vf){0};
    for (int i = 0; i < width; i += 2)
      for (int odd = 0; odd < 2; odd++)
        for (int v = 0; v < VECTORS; v++) {
          vf key = load_half(block + (i + odd) * KEYS + v * LANES);
          for (int q = 0; q < queries; q++)
            dots[odd][q][v] = fma_(all(query[q * width + i + odd]), key, dots[odd][q][v]);
        }
    for (int q = 0; q < queries; q++)
      for (int v = 0; v < VECTORS; v++)
        store(scores + (size_t)q * count + j + v * LANES, (dots[0][q][v] + dots[1][q][v]) * scale);
  }
}

// scores → their softmax without the division, over `count` of them (whole vectors); 1 / the sum is returned.
INLINE float soften(float *scores, int count) {
  vf most = load(scores);
  for (int j = LANES; j < count; j += LANES) most = larger(most, load(scores + j));
  const float peak = largest(most);
  vf total = {0};
  for (int j = 0; j < count; j += LANES) {
    vf weight = exponential(load(scores + j) - peak);
    store(scores + j, weight);
    total += weight;
  }
  return 1.0f / sum(total);
}

// out[q] = Σ over `count` positions of weights[q][j] · values[j], times share[q]. Block by block over all components, so
// that values are read in the order in which they lie.
INLINE void mix(const float *weights, int stride, const int queries, const uint16_t *values, int count, int width,
                const float *share, float *out) {
  enum { VECTORS = 2 };
  for (int q = 0; q < queries; q++)
    for (int i = 0; i < width; i += LANES) store(out + q * width + i, (vf){0});
  for (int begin = 0; begin < count; begin += KEYS) {
    const int end = begin + KEYS < count ? begin + KEYS : count;
    for (int i = 0; i < width; i += VECTORS * LANES) {
      vf mixed[QUERIES][VECTORS];
      for (int q = 0; q < queries; q++)
        for (int v = 0; v < VECTORS; v++) mixed[q][v] = load(out + q * width + i + v * LANES);
      for (int j = begin; j < end; j++) {
        const uint16_t *value = values + (size_t)j * width + i;
        __builtin_prefetch(value + KEYS * width);
        for (int v = 0; v < VECTORS; v++)
          for (int q = 0; q < queries; q++)
            mixed[q][v] = fma_(all(weights[(size_t)q * stride + j]), load_half(value + v * LANES), mixed[q][v]);
      }
      for (int q = 0; q < queries; q++)
        for (int v = 0; v < VECTORS; v++) store(out + q * width + i + v * LANES, mixed[q][v]);
    }
  }
  for (int q = 0; q < queries; q++)
    for (int i = 0; i < width; i += LANES) store(out + q * width + i, load(out + q * width + i) * share[q]);
}

INLINE void attend_some(const float *query, const int queries, const uint16_t *keys, const uint16_t *values, int first,
                        int last, int width, float scale, float *scores, float *out) {
  const int begin = first / KEYS * KEYS, count = last + 1 - begin, whole = (count + KEYS - 1) / KEYS * KEYS;
  float share[QUERIES];
  score(query, queries, keys, begin, whole, width, scale, scores);
  for (int q = 0; q < queries; q++) {
    float *own = scores + (size_t)q * whole;
    for (int j = 0; j < first - begin; j++) own[j] = -INFINITY;
    for (int j = count; j < whole; j++) own[j] = -INFINITY;
    share[q] = soften(own, whole);
  }
  const int before = first - begin;
  mix(scores + before, whole, queries, values + (size_t)first * width, count - before, width, share, out);
}

// `heads` heads of one row over the keys and values of positions first … last. scores: room for QUERIES times as
// many floats as whole blocks of positions.
static void attend(const float *query, int heads, const uint16_t *keys, const uint16_t *values, int first, int last,
                   int width, float scale, float *scores, float *out) {
  int h = 0;
  for (; h + 4 <= heads; h += 4)
    attend_some(query + h * width, 4, keys, values, first, last, width, scale, scores, out + h * width);
  if (h + 2 <= heads) {
    attend_some(query + h * width, 2, keys, values, first, last, width, scale, scores, out + h * width);
    h += 2;
  }
  if (h < heads) attend_some(query + h * width, 1, keys, values, first, last, width, scale, scores, out + h * width);
}

#endif
