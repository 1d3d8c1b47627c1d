// Floats rounded to int8 with a scale, which is how products take their rows, and attention all that it multiplies.

#ifndef ROUNDING_H
#define ROUNDING_H

#include "lanes.h"

#define STEPS 127.0f  // from zero to the largest of the numbers that share a scale

// The largest magnitude among `count` floats. Counts are whole vectors here.
INLINE float peak(const float *x, int count) {
  vf most = {0};
  for (int i = 0; i < count; i += LANES) most = larger(most, magnitude(load(x + i)));
  return largest(most);
}

// What to multiply with, so that `most` becomes the last step.
INLINE float steps_per(float most) { return most > 1e-30f ? STEPS / most : 0.0f; }

// `to` = x in steps, of which `inverse` make 1; their sum is returned.
INLINE int32_t round_to(const float *x, int count, float inverse, int8_t *to) {
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

// `to` = x in steps of the scale that is returned; their sum goes into `sum`.
INLINE float round_group(const float *x, int count, int8_t *to, int32_t *sum) {
  const float most = peak(x, count);
  *sum = round_to(x, count, steps_per(most), to);
  return most / STEPS;
}

#endif
