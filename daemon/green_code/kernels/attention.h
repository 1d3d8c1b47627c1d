// Grouped-query attention (GQA, Ainslie et al., arXiv 2305.13245) over an int8 KV cache: scores, softmax in two passes, weighted sum.
//
// Keys and values are int8. The keys of KEY_BLOCK positions are interleaved: four components of each position, then the next four,
// so that a vector holds as many positions as it has lanes. Their scales follow, one for HEAD_GROUP components of a key. The values
// of VALUE_BLOCK positions are interleaved by four positions. A value has one scale, which is multiplied into its weight. Bytes
// are stored as dot4 takes them.

#ifndef ATTENTION_H
#define ATTENTION_H

#include <math.h>
#include <stddef.h>

#include "quantise.h"
#include "simd.h"

#define KEY_BLOCK 16    // positions whose keys are interleaved
#define VALUE_BLOCK 32  // positions whose values are interleaved, a multiple of KEY_BLOCK; their weights share a scale
#define HEAD_GROUP 32   // components of a key or of a query that share a scale
#define MAX_QUERIES 8   // that are computed side by side

// A group of a query's components, or the weights of a block of values.
typedef struct {
  int8_t values[HEAD_GROUP];
  float scale;
  int32_t sum;
} int8_group;

_Static_assert(HEAD_GROUP == VALUE_BLOCK && VALUE_BLOCK % KEY_BLOCK == 0, "an int8_group holds a block's weights, too");
_Static_assert(KEY_BLOCK % LANES == 0, "a block of keys is whole vectors");
_Static_assert(HEAD_GROUP % (2 * LANES) == 0, "a head of whole groups is whole pairs of vectors");

// The query of one head, which attends to positions first … last. `out` (width) may be where `values` (width) are.
typedef struct {
  const float *values;
  float *out;
  int first, last;
} query;

// Bytes of a position in the cache, for one head.
INLINE size_t key_bytes(int width) { return width + width / HEAD_GROUP * sizeof(float); }
INLINE size_t value_bytes(int width) { return width + sizeof(float); }

// The offset of a position's block, and the scales of a block: (width/HEAD_GROUP, KEY_BLOCK) of keys, (VALUE_BLOCK) of values.
INLINE size_t key_offset(int position, int width) { return (size_t)(position / KEY_BLOCK) * KEY_BLOCK * key_bytes(width); }
INLINE size_t value_offset(int position, int width) { return (size_t)(position / VALUE_BLOCK) * VALUE_BLOCK * value_bytes(width); }
INLINE float *key_scales(const uint8_t *block, int width) { return (float *)(block + (size_t)KEY_BLOCK * width); }
INLINE float *value_scales(const uint8_t *block, int width) { return (float *)(block + (size_t)VALUE_BLOCK * width); }

INLINE void store_key(uint8_t *keys, int position, const float *key, int width) {
  uint8_t *block = keys + key_offset(position, width);
  const int lane = position % KEY_BLOCK;
  for (int at = 0; at < width; at += HEAD_GROUP) {
    int8_group group;
    group.scale = quantise_group(key + at, HEAD_GROUP, group.values, &group.sum);
    memcpy(key_scales(block, width) + at / HEAD_GROUP * KEY_BLOCK + lane, &group.scale, sizeof(float));
    for (int i = 0; i < HEAD_GROUP; i += 4) {
      uint32_t four;
      memcpy(&four, group.values + i, 4);
      four ^= ZERO_POINT * 0x01010101u;
      memcpy(block + ((size_t)(at + i) / 4 * KEY_BLOCK + lane) * 4, &four, 4);
    }
  }
}

INLINE void store_value(uint8_t *values, int position, const float *value, int width) {
  uint8_t *block = values + value_offset(position, width);
  const int at = position % VALUE_BLOCK;
  const float most = max_abs(value, width), scale = most / (float)QUANTISED_MAX;
  for (int i = 0; i < width; i += HEAD_GROUP) {
    int8_t bytes[HEAD_GROUP];
    round_to_int8(value + i, HEAD_GROUP, inverse_scale(most), bytes);
    for (int c = 0; c < HEAD_GROUP; c++)
      block[((size_t)(at / 4) * width + i + c) * 4 + at % 4] = (uint8_t)bytes[c] ^ ZERO_POINT;
  }
  memcpy(value_scales(block, width) + at, &scale, sizeof scale);
}

// Four values of a group, as dot4 takes them.
INLINE int32_t four_of(const int8_group *group, int four) {
  int32_t values;
  memcpy(&values, group->values + 4 * four, 4);
  return values;
}

// scores (queries, count) = query · key · scale for the `count` positions of whole blocks from `begin` on; q (queries,
// width/HEAD_GROUP).
INLINE void attention_scores(const int8_group *q, const int queries, const uint8_t *keys, int begin, int count, int width,
                             float scale, float *scores) {
  const int groups = width / HEAD_GROUP;
  for (int j = 0; j < count; j += KEY_BLOCK) {
    const uint8_t *block = keys + key_offset(begin + j, width);
    for (int v = 0; v < KEY_BLOCK; v += LANES) {
      const uint8_t *bytes = block + v * 4;
      const float *scales = key_scales(block, width) + v;
      vf results[MAX_QUERIES];
      for (int i = 0; i < queries; i++) results[i] = (vf){0};
      for (int g = 0; g < groups; g++, scales += KEY_BLOCK) {
        vi sums[MAX_QUERIES];
        for (int i = 0; i < queries; i++) sums[i] = dot4_start(q[i * groups + g].sum);
        for (int four = 0; four < HEAD_GROUP / 4; four++, bytes += KEY_BLOCK * 4) {
          if (!v) __builtin_prefetch(bytes + KEY_BLOCK * key_bytes(width));  // of the next block
          for (int i = 0; i < queries; i++) sums[i] = dot4(sums[i], bytes, four_of(q + i * groups + g, four));
        }
        const vf key_scale = load(scales);
        for (int i = 0; i < queries; i++)
          results[i] = fma_(__builtin_convertvector(sums[i], vf), key_scale * q[i * groups + g].scale, results[i]);
      }
      for (int i = 0; i < queries; i++) store(scores + (size_t)i * count + j + v, results[i] * scale);
    }
  }
}

// scores → exp(score − max), for `count` of them (whole vectors); returns 1 / their sum, the softmax's denominator.
INLINE float softmax(float *scores, int count) {
  vf most = load(scores);
  for (int j = LANES; j < count; j += LANES) most = max_(most, load(scores + j));
  const float greatest = reduce_max(most);
  vf total = {0};
  for (int j = 0; j < count; j += LANES) {
    vf weight = exp_(load(scores + j) - greatest);
    store(scores + j, weight);
    total += weight;
  }
  return 1.0f / reduce_add(total);
}

// Scores of `count` positions (whole blocks) → the weights of positions from … to−1 in their own place: softmax, times the values'
// scales, quantised block by block. Returns 1 / the sum of the weights.
INLINE float attention_weights(float *scores, int from, int to, int count, const uint8_t *values, int width) {
  const int low = from / KEY_BLOCK * KEY_BLOCK, high = (to + KEY_BLOCK - 1) / KEY_BLOCK * KEY_BLOCK;
  for (int j = low; j < from; j++) scores[j] = -INFINITY;
  for (int j = to; j < high; j++) scores[j] = -INFINITY;
  const float inverse_sum = softmax(scores + low, high - low);
  for (int j = low; j < high; j += LANES) {
    const float *scales = value_scales(values + value_offset(j, width), width);
    store(scores + j, load(scores + j) * load(scales + j % VALUE_BLOCK));
  }
  for (int j = 0; j < from; j++) scores[j] = 0.0f;  // stale cache may have made NaN here
  for (int j = to; j < count; j++) scores[j] = 0.0f;
  for (int j = 0; j < count; j += VALUE_BLOCK) {
    int8_group group;
    group.scale = quantise_group(scores + j, VALUE_BLOCK, group.values, &group.sum);
    memcpy((int8_group *)scores + j / VALUE_BLOCK, &group, sizeof group);
  }
  return inverse_sum;
}

// out = inverse_sums[i] · Σ weight · value for each query i, over `count` positions (whole blocks); its weights begin at weights +
// i · count. The loop over blocks is outermost, so that values are read roughly in the order in which they lie.
INLINE void weighted_sum(const query *q, const float *weights, const int queries, const uint8_t *values, int count, int width,
                         const float *inverse_sums) {
  enum { AT_ONCE = 2 };  // vectors of components
  for (int i = 0; i < queries; i++)
    for (int c = 0; c < width; c += LANES) store(q[i].out + c, (vf){0});
  for (int begin = 0; begin < count; begin += VALUE_BLOCK, values += VALUE_BLOCK * value_bytes(width)) {
    const int8_group *own[MAX_QUERIES];
    for (int i = 0; i < queries; i++) own[i] = (const int8_group *)(weights + (size_t)i * count) + begin / VALUE_BLOCK;
    for (int c = 0; c < width; c += AT_ONCE * LANES) {
      vi sums[MAX_QUERIES][AT_ONCE];
      for (int i = 0; i < queries; i++)
        for (int v = 0; v < AT_ONCE; v++) sums[i][v] = dot4_start(own[i]->sum);
      for (int four = 0; four < VALUE_BLOCK / 4; four++) {
        const uint8_t *bytes = values + ((size_t)four * width + c) * 4;
        for (int v = 0; v < AT_ONCE; v++) {
          if (v * LANES * 4 % 64 == 0)
            __builtin_prefetch(bytes + v * LANES * 4 + VALUE_BLOCK * value_bytes(width));  // of the next block
          for (int i = 0; i < queries; i++) sums[i][v] = dot4(sums[i][v], bytes + v * LANES * 4, four_of(own[i], four));
        }
      }
      for (int i = 0; i < queries; i++)
        for (int v = 0; v < AT_ONCE; v++) {
          float *out = q[i].out + c + v * LANES;
          store(out, fma_(__builtin_convertvector(sums[i][v], vf), broadcast(own[i]->scale), load(out)));
        }
    }
  }
  for (int i = 0; i < queries; i++)
    for (int c = 0; c < width; c += LANES) store(q[i].out + c, load(q[i].out + c) * inverse_sums[i]);
}

typedef struct {
  int8_group *queries;  // (MAX_QUERIES, width/HEAD_GROUP)
  float *scores;        // (MAX_QUERIES, whole blocks of positions)
} attention_scratch;

// Attention of some queries (a constant): the first one begins first, the last one ends last. A position that a query does not see
// has weight 0 in it, so its result is bit-identical to that of the query alone.
INLINE void attend(const query *q, const int queries, const uint8_t *keys, const uint8_t *values, int width, float scale,
                   float cap, const attention_scratch *scratch) {
  const int groups = width / HEAD_GROUP, begin = q->first / VALUE_BLOCK * VALUE_BLOCK;
  const int count = (q[queries - 1].last - begin) / VALUE_BLOCK * VALUE_BLOCK + VALUE_BLOCK;
  for (int i = 0; i < queries; i++)
    for (int g = 0; g < groups; g++) {
      int8_group *group = scratch->queries + i * groups + g;
      group->scale = quantise_group(q[i].values + g * HEAD_GROUP, HEAD_GROUP, group->values, &group->sum);
    }
  attention_scores(scratch->queries, queries, keys, begin, count, width, scale, scratch->scores);
  softcap(scratch->scores, queries * count, cap);
  values += begin * value_bytes(width);
  float inverse_sums[MAX_QUERIES];
  for (int i = 0; i < queries; i++)
    inverse_sums[i] = attention_weights(scratch->scores + (size_t)i * count, q[i].first - begin, q[i].last + 1 - begin, count,
                                        values, width);
  weighted_sum(q, scratch->scores, queries, values, count, width, inverse_sums);
}

// `count` queries that share a head of keys and values, in ascending order of their positions. `cap`: a softcap of scores, or 0.
static void attention(const query *q, int count, const uint8_t *keys, const uint8_t *values, int width, float scale,
                      float cap, const attention_scratch *scratch) {
#if defined(__AVX512F__) || defined(__aarch64__)  // 32 registers, others have 16
  for (; count >= 8; q += 8, count -= 8) attend(q, 8, keys, values, width, scale, cap, scratch);
#endif
  for (; count >= 4; q += 4, count -= 4) attend(q, 4, keys, values, width, scale, cap, scratch);
  for (; count >= 2; q += 2, count -= 2) attend(q, 2, keys, values, width, scale, cap, scratch);
  for (; count; q++, count--) attend(q, 1, keys, values, width, scale, cap, scratch);
}

#endif
