// Softmax attention of the heads that share one head of keys and values, as products of bytes.
//
// Keys and values are int8. Of KEYS positions' keys, four components of each lie side by side, then the next four, so that a vector
// holds as many positions as it has lanes and scores come out side by side; behind them are the scales, one for a PIECE of
// a key. Of BLOCK positions' values, four positions lie side by side in each component; a value has one scale, which goes
// into its weight. Bytes are as dot4 takes them.

#ifndef ATTENTION_H
#define ATTENTION_H

#include <math.h>
#include <stddef.h>

#include "lanes.h"
#include "rounding.h"

#define KEYS 16    // positions whose keys lie together
#define BLOCK 32   // positions whose values lie together, a multiple of KEYS; their weights share a scale
#define PIECE 32   // components of a key, or of a query, that share a scale
#define QUERIES 8  // that are computed side by side at most

// A piece of a query, or the weights of a block.
typedef struct {
  int8_t values[PIECE];
  float scale;
  int32_t sum;
} piece;

_Static_assert(PIECE == BLOCK && BLOCK % KEYS == 0, "a piece is a block's weights, too");
_Static_assert(KEYS % LANES == 0, "keys are whole vectors");
_Static_assert(PIECE % (2 * LANES) == 0, "a head of whole pieces is whole pairs of vectors");

// A head of a position that looks at positions first … last. `out` (D) may be where `values` (D) are.
typedef struct {
  const float *values;
  float *out;
  int first, last;
} query;

// Bytes of a position in the cache.
INLINE size_t key_bytes(int width) { return width + width / PIECE * sizeof(float); }
INLINE size_t value_bytes(int width) { return width + sizeof(float); }

// Where the block of a position begins, and its scales: (width/PIECE, KEYS) of keys, (BLOCK) of values.
INLINE size_t key_block(int position, int width) { return (size_t)(position / KEYS) * KEYS * key_bytes(width); }
INLINE size_t value_block(int position, int width) { return (size_t)(position / BLOCK) * BLOCK * value_bytes(width); }
INLINE float *key_scales(const uint8_t *block, int width) { return (float *)(block + (size_t)KEYS * width); }
INLINE float *value_scales(const uint8_t *block, int width) { return (float *)(block + (size_t)BLOCK * width); }

INLINE void store_key(uint8_t *keys, int position, const float *key, int width) {
  uint8_t *block = keys + key_block(position, width);
  const int lane = position % KEYS;
  for (int at = 0; at < width; at += PIECE) {
    piece made;
    made.scale = round_group(key + at, PIECE, made.values, &made.sum);
    memcpy(key_scales(block, width) + at / PIECE * KEYS + lane, &made.scale, sizeof(float));
    for (int i = 0; i < PIECE; i += 4) {
      uint32_t four;
      memcpy(&four, made.values + i, 4);
      four ^= OFFSET * 0x01010101u;
      memcpy(block + ((size_t)(at + i) / 4 * KEYS + lane) * 4, &four, 4);
    }
  }
}

INLINE void store_value(uint8_t *values, int position, const float *value, int width) {
  uint8_t *block = values + value_block(position, width);
  const int at = position % BLOCK;
  const float most = peak(value, width), scale = most / STEPS;
  for (int i = 0; i < width; i += PIECE) {
    int8_t bytes[PIECE];
    round_to(value + i, PIECE, steps_per(most), bytes);
    for (int c = 0; c < PIECE; c++) block[((size_t)(at / 4) * width + i + c) * 4 + at % 4] = (uint8_t)bytes[c] ^ OFFSET;
  }
  memcpy(value_scales(block, width) + at, &scale, sizeof scale);
}

// Four of a piece's values, as dot4 takes them.
INLINE int32_t four_of(const piece *p, int four) {
  int32_t values;
  memcpy(&values, p->values + 4 * four, 4);
  return values;
}

// scores (queries, count): query · key of the `count` positions of whole blocks from `begin` on; s (queries, width/PIECE).
INLINE void score(const piece *s, const int queries, const uint8_t *keys, int begin, int count, int width, float scale,
                  float *scores) {
  const int pieces = width / PIECE;
  for (int j = 0; j < count; j += KEYS) {
    const uint8_t *block = keys + key_block(begin + j, width);
    for (int v = 0; v < KEYS; v += LANES) {
      const uint8_t *bytes = block + v * 4;
      const float *scales = key_scales(block, width) + v;
      vf found[QUERIES];
      for (int q = 0; q < queries; q++) found[q] = (vf){0};
      for (int p = 0; p < pieces; p++, scales += KEYS) {
        vi sums[QUERIES];
        for (int q = 0; q < queries; q++) sums[q] = first_sum(s[q * pieces + p].sum);
        for (int four = 0; four < PIECE / 4; four++, bytes += KEYS * 4) {
          if (!v) __builtin_prefetch(bytes + KEYS * key_bytes(width));  // of the next block
          for (int q = 0; q < queries; q++) sums[q] = dot4(sums[q], bytes, four_of(s + q * pieces + p, four));
        }
        const vf of_keys = load(scales);
        for (int q = 0; q < queries; q++)
          found[q] = fma_(__builtin_convertvector(sums[q], vf), of_keys * s[q * pieces + p].scale, found[q]);
      }
      for (int q = 0; q < queries; q++) store(scores + (size_t)q * count + j + v, found[q] * scale);
    }
  }
}

// scores → their softmax without the division, over `count` of them (whole vectors); 1 / the sum is returned.
INLINE float soften(float *scores, int count) {
  vf most = load(scores);
  for (int j = LANES; j < count; j += LANES) most = larger(most, load(scores + j));
  const float greatest = largest(most);
  vf total = {0};
  for (int j = 0; j < count; j += LANES) {
    vf weight = exponential(load(scores + j) - greatest);
    store(scores + j, weight);
    total += weight;
  }
  return 1.0f / sum(total);
}

// The scores of a query that sees `from` … `to`−1 of `count` (whole blocks) positions → its weights, block by block, in their own
// place; 1 / their sum is returned. `values` are those positions'.
INLINE float weigh(float *scores, int from, int to, int count, const uint8_t *values, int width) {
  const int low = from / KEYS * KEYS, high = (to + KEYS - 1) / KEYS * KEYS;
  for (int j = low; j < from; j++) scores[j] = -INFINITY;
  for (int j = to; j < high; j++) scores[j] = -INFINITY;
  const float share = soften(scores + low, high - low);
  for (int j = low; j < high; j += LANES) {
    const float *scales = value_scales(values + value_block(j, width), width);
    store(scores + j, load(scores + j) * load(scales + j % BLOCK));
  }
  for (int j = 0; j < from; j++) scores[j] = 0.0f;  // whatever lies there
  for (int j = to; j < count; j++) scores[j] = 0.0f;
  for (int j = 0; j < count; j += BLOCK) {
    piece made;
    made.scale = round_group(scores + j, BLOCK, made.values, &made.sum);
    memcpy((piece *)scores + j / BLOCK, &made, sizeof made);
  }
  return share;
}

// out of each query = Σ over `count` positions (whole blocks) of weight · value, times share[q]; its weights begin at weights +
// q · count. Block by block over all components, so that values are read about in the order in which they lie.
INLINE void mix(const query *s, const float *weights, const int queries, const uint8_t *values, int count, int width,
                const float *share) {
  enum { VECTORS = 2 };
  for (int q = 0; q < queries; q++)
    for (int i = 0; i < width; i += LANES) store(s[q].out + i, (vf){0});
  for (int begin = 0; begin < count; begin += BLOCK, values += BLOCK * value_bytes(width)) {
    const piece *own[QUERIES];
    for (int q = 0; q < queries; q++) own[q] = (const piece *)(weights + (size_t)q * count) + begin / BLOCK;
    for (int i = 0; i < width; i += VECTORS * LANES) {
      vi sums[QUERIES][VECTORS];
      for (int q = 0; q < queries; q++)
        for (int v = 0; v < VECTORS; v++) sums[q][v] = first_sum(own[q]->sum);
      for (int four = 0; four < BLOCK / 4; four++) {
        const uint8_t *bytes = values + ((size_t)four * width + i) * 4;
        for (int v = 0; v < VECTORS; v++) {
          if (v * LANES * 4 % 64 == 0) __builtin_prefetch(bytes + v * LANES * 4 + BLOCK * value_bytes(width));  // of the next block
          for (int q = 0; q < queries; q++) sums[q][v] = dot4(sums[q][v], bytes + v * LANES * 4, four_of(own[q], four));
        }
      }
      for (int q = 0; q < queries; q++)
        for (int v = 0; v < VECTORS; v++) {
          float *out = s[q].out + i + v * LANES;
          store(out, fma_(__builtin_convertvector(sums[q][v], vf), all(own[q]->scale), load(out)));
        }
    }
  }
  for (int q = 0; q < queries; q++)
    for (int i = 0; i < width; i += LANES) store(s[q].out + i, load(s[q].out + i) * share[q]);
}

// Working memory of attention.
typedef struct {
  piece *queries;  // (QUERIES, width/PIECE)
  float *scores;   // (QUERIES, whole blocks of positions)
} attention_room;

// Some queries (a constant), the first of which sees the first position of all, and the last the last. What one of them does not
// see has no weight in it: its result is that of the query alone, to the bit.
INLINE void attend_some(const query *s, const int queries, const uint8_t *keys, const uint8_t *values, int width,
                        float scale, const attention_room *room) {
  const int pieces = width / PIECE, begin = s->first / BLOCK * BLOCK, count = (s[queries - 1].last - begin) / BLOCK * BLOCK + BLOCK;
  for (int q = 0; q < queries; q++)
    for (int p = 0; p < pieces; p++) {
      piece *made = room->queries + q * pieces + p;
      made->scale = round_group(s[q].values + p * PIECE, PIECE, made->values, &made->sum);
    }
  score(room->queries, queries, keys, begin, count, width, scale, room->scores);
  values += begin * value_bytes(width);
  float share[QUERIES];
  for (int q = 0; q < queries; q++)
    share[q] = weigh(room->scores + (size_t)q * count, s[q].first - begin, s[q].last + 1 - begin, count, values, width);
  mix(s, room->scores, queries, values, count, width, share);
}

// `count` heads that share their keys and values, of positions in ascending order.
static void attend(const query *s, int count, const uint8_t *keys, const uint8_t *values, int width, float scale,
                   const attention_room *room) {
#if defined(__AVX512F__) || defined(__aarch64__)  // 32 registers, others have 16
  for (; count >= 8; s += 8, count -= 8) attend_some(s, 8, keys, values, width, scale, room);
#endif
  for (; count >= 4; s += 4, count -= 4) attend_some(s, 4, keys, values, width, scale, room);
  for (; count >= 2; s += 2, count -= 2) attend_some(s, 2, keys, values, width, scale, room);
  for (; count; s++, count--) attend_some(s, 1, keys, values, width, scale, room);
}

#endif
