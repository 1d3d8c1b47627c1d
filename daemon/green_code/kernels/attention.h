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
#define QUERIES 8  // that are computed side by side at most

// A head of a position that looks at positions first … last. `out` (D) may be where `values` (D) are.
typedef struct {
  const float *values;
  float *out;
  int first, last;
} query;

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

// scores (queries, count): query · key of the `count` positions of whole blocks from `begin` on.
INLINE void score(const query *s, const int queries, const uint16_t *keys, int begin, int count, int width, float scale,
                  float *scores) {
  for (int j = 0; j < count; j += KEYS)
    for (int v = 0; v < KEYS; v += LANES) {
      const uint16_t *block = keys + (size_t)(begin + j) * width + v;
      vf dots[2][QUERIES];  // even and odd components: twice the sums in flight
      for (int odd = 0; odd < 2; odd++)
        for (int q = 0; q < queries; q++) dots[odd][q] = (vf){0};
      for (int i = 0; i < width; i += 2) {
        if (!v) __builtin_prefetch(block + (i + width) * KEYS);  // the next block
        for (int odd = 0; odd < 2; odd++) {
          vf key = load_half(block + (i + odd) * KEYS);
          for (int q = 0; q < queries; q++) dots[odd][q] = fma_(all(s[q].values[i + odd]), key, dots[odd][q]);
        }
      }
      for (int q = 0; q < queries; q++)
        store(scores + (size_t)q * count + j + v, (dots[0][q] + dots[1][q]) * scale);
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

// out of each query = Σ over `count` positions of weights[q][j] · values[j], times share[q]. Block by block over all components,
// so that values are read in the order in which they lie.
INLINE void mix(const query *s, const float *weights, int stride, const int queries, const uint16_t *values, int count,
                int width, const float *share) {
  enum { VECTORS = 2 };
  for (int q = 0; q < queries; q++)
    for (int i = 0; i < width; i += LANES) store(s[q].out + i, (vf){0});
  for (int begin = 0; begin < count; begin += KEYS) {
    const int end = begin + KEYS < count ? begin + KEYS : count;
    for (int i = 0; i < width; i += VECTORS * LANES) {
      vf mixed[QUERIES][VECTORS];
      for (int q = 0; q < queries; q++)
        for (int v = 0; v < VECTORS; v++) mixed[q][v] = load(s[q].out + i + v * LANES);
      for (int j = begin; j < end; j++) {
        const uint16_t *value = values + (size_t)j * width + i;
        __builtin_prefetch(value + KEYS * width);
        for (int v = 0; v < VECTORS; v++) {
          vf part = load_half(value + v * LANES);
          for (int q = 0; q < queries; q++) mixed[q][v] = fma_(all(weights[(size_t)q * stride + j]), part, mixed[q][v]);
        }
      }
      for (int q = 0; q < queries; q++)
        for (int v = 0; v < VECTORS; v++) store(s[q].out + i + v * LANES, mixed[q][v]);
    }
  }
  for (int q = 0; q < queries; q++)
    for (int i = 0; i < width; i += LANES) store(s[q].out + i, load(s[q].out + i) * share[q]);
}

// Some queries (a constant), the first of which sees the first position of all, and the last the last. What one of them does not
// see has no weight in it: its result is that of the query alone, to the bit, as long as values are numbers.
INLINE void attend_some(const query *s, const int queries, const uint16_t *keys, const uint16_t *values, int width,
                        float scale, float *scores) {
  const int begin = s->first / KEYS * KEYS, count = s[queries - 1].last + 1 - begin, whole = (count + KEYS - 1) / KEYS * KEYS;
  float share[QUERIES];
  score(s, queries, keys, begin, whole, width, scale, scores);
  for (int q = 0; q < queries; q++) {
    float *own = scores + (size_t)q * whole;
    const int from = s[q].first - begin, to = s[q].last + 1 - begin;
    const int low = from / KEYS * KEYS, high = (to + KEYS - 1) / KEYS * KEYS;  // its own blocks
    for (int j = low; j < from; j++) own[j] = -INFINITY;
    for (int j = to; j < high; j++) own[j] = -INFINITY;
    share[q] = soften(own + low, high - low);
    for (int j = 0; j < from; j++) own[j] = 0.0f;
    for (int j = to; j < count; j++) own[j] = 0.0f;
  }
  mix(s, scores, whole, queries, values + (size_t)begin * width, count, width, share);
}

// `count` heads that share their keys and values, of positions in ascending order. scores: room for QUERIES times as many
// floats as whole blocks of positions.
static void attend(const query *s, int count, const uint16_t *keys, const uint16_t *values, int width, float scale,
                   float *scores) {
#if defined(__AVX512F__) || defined(__aarch64__)  // 32 registers, others have 16
  for (; count >= 8; s += 8, count -= 8) attend_some(s, 8, keys, values, width, scale, scores);
#endif
  for (; count >= 4; s += 4, count -= 4) attend_some(s, 4, keys, values, width, scale, scores);
  for (; count >= 2; s += 2, count -= 2) attend_some(s, 2, keys, values, width, scale, scores);
  for (; count; s++, count--) attend_some(s, 1, keys, values, width, scale, scores);
}

#endif
