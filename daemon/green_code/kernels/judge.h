// The exit network for one state. decoding/exit_network.py holds the definition and the reference; what is run here between
// two layers must be short, since nothing of it is in a near cache.

#ifndef JUDGE_H
#define JUDGE_H

#include <math.h>

#include "lanes.h"

#define UNITS 64     // hidden units that are computed side by side
#define BESIDE 3     // features beside the hidden state
#define RMS_EPS 1e-6f

typedef struct {
  int32_t hidden;         // units, a multiple of UNITS
  const float *inner;     // (width + BESIDE, hidden): what each feature adds to the units
  const float *biases;    // (exits, hidden)
  const float *action;    // (hidden): EXIT's weights less CONTINUE's
  float action_bias;
  double debt_unit;       // what the logarithm of a debt is divided by
  float odds_within;      // odds enter within so many to either side
} judge;

// 1 − 2/(1 + e^2z).
INLINE vf hyperbolic_tangent(vf z) {
  vf doubled = smaller(larger(z + z, all(-60.0f)), all(60.0f));
  return 1.0f - 2.0f / (1.0f + exponential(doubled));
}

// P(EXIT) of a state x (width) where going on costs `debt` and the head says `odds` and `margin`: with it, the BESIDE features.
static float judged(const judge *j, int exit, const float *x, int width, int debt, float odds, float margin) {
  const float most = j->odds_within, sure = odds > most ? most : odds < -most ? -most : odds;
  const float beside[BESIDE] = {(float)(log1p(debt) / j->debt_unit), sure, margin};
  vf squares = {0};
  for (int i = 0; i < width; i += LANES) squares = fma_(load(x + i), load(x + i), squares);
  const float scale = 1.0f / sqrtf(sum(squares) / width + RMS_EPS);
  float score = j->action_bias;
  for (int unit = 0; unit < j->hidden; unit += UNITS) {
    const float *row = j->inner + unit, *bias = j->biases + (size_t)exit * j->hidden + unit;
    vf found[UNITS / LANES];
    for (int u = 0; u < UNITS / LANES; u++) found[u] = (vf){0};
    for (int i = 0; i < width; i++, row += j->hidden)
      for (int u = 0; u < UNITS / LANES; u++) found[u] = fma_(load(row + u * LANES), all(x[i]), found[u]);
    for (int u = 0; u < UNITS / LANES; u++) {
      vf all_of_it = fma_(found[u], all(scale), load(bias + u * LANES));
      for (int i = 0; i < BESIDE; i++)
        all_of_it = fma_(load(row + (size_t)i * j->hidden + u * LANES), all(beside[i]), all_of_it);
      score += sum(hyperbolic_tangent(all_of_it) * load(j->action + unit + u * LANES));
    }
  }
  return 1.0f / (1.0f + expf(-score));
}

#endif
