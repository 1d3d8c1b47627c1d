// Symmetric quantisation of floats to int8, one scale per group: the inputs of products, and everything that attention multiplies.

#ifndef QUANTISE_H
#define QUANTISE_H

#include "simd.h"

#define QUANTISED_MAX 127  // the quantised magnitude of a group's largest value

// max |x| of `count` floats. All counts are whole vectors here.
INLINE float max_abs(const float *x, int count) {
  vf most = {0};
  for (int i = 0; i < count; i += LANES) most = max_(most, abs_(load(x + i)));
  return reduce_max(most);
}

// 1 / scale for a group whose largest magnitude is `most`.
INLINE float inverse_scale(float most) { return most > 1e-30f ? (float)QUANTISED_MAX / most : 0.0f; }

// to = round(x · inverse); returns the sum of `to`.
INLINE int32_t round_to_int8(const float *x, int count, float inverse, int8_t *to) {
  vi total = {0};
  for (int i = 0; i < count; i += LANES) {
    vi rounded = __builtin_convertvector(__builtin_elementwise_rint(load(x + i) * inverse), vi);
    vb bytes = __builtin_convertvector(rounded, vb);
    memcpy(to + i, &bytes, sizeof bytes);
    total += rounded;
  }
  int32_t sum = 0;
  for (int lane = 0; lane < LANES; lane++) sum += total[lane];
  return sum;
}

// Quantises one group: x ≈ to · scale. Returns the scale; `sum` is the sum of `to`.
INLINE float quantise_group(const float *x, int count, int8_t *to, int32_t *sum) {
  const float most = max_abs(x, count);
  *sum = round_to_int8(x, count, inverse_scale(most), to);
  return most / (float)QUANTISED_MAX;
}

#endif
