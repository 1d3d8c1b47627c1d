// The exit classifier for one state. decoding/exit_classifier.py has the definition and the reference. It runs between two layers
// and finds nothing of its own in a near cache, so it must be short.

#ifndef EXIT_CLASSIFIER_H
#define EXIT_CLASSIFIER_H

#include <math.h>

#include "simd.h"

#define UNIT_BLOCK 64     // hidden units that are computed side by side
#define EXTRA_FEATURES 3  // features beside the hidden state
#define RMS_EPS 1e-6f

typedef struct {
  int32_t hidden;         // units, a multiple of UNIT_BLOCK
  int32_t width, exits;
  const float *inner;     // (width + EXTRA_FEATURES, hidden): the transposed weights of the hidden layer
  const float *biases;    // (exits, hidden)
  const float *action;    // (hidden): the weights of EXIT less those of CONTINUE
  float action_bias;
  double pending_unit;    // divides the logarithm of the pending evaluations
  float log_odds_within;  // log-odds are clipped to ± this
} exit_classifier;

// P(EXIT) of a state x (width): one hidden layer with tanh over the unit-RMS state and the extra features, then a sigmoid.
static float exit_probability(const exit_classifier *c, int exit, const float *x, int pending, float log_odds, float margin) {
  const int width = c->width;
  const float most = c->log_odds_within, clipped = log_odds > most ? most : log_odds < -most ? -most : log_odds;
  const float extra[EXTRA_FEATURES] = {(float)(log1p(pending) / c->pending_unit), clipped, margin};
  vf squares = {0};
  for (int i = 0; i < width; i += LANES) squares = fma_(load(x + i), load(x + i), squares);
  const float scale = 1.0f / sqrtf(reduce_add(squares) / width + RMS_EPS);
  float score = c->action_bias;
  for (int unit = 0; unit < c->hidden; unit += UNIT_BLOCK) {
    const float *row = c->inner + unit, *bias = c->biases + (size_t)exit * c->hidden + unit;
    vf sums[UNIT_BLOCK / LANES];
    for (int u = 0; u < UNIT_BLOCK / LANES; u++) sums[u] = (vf){0};
    for (int i = 0; i < width; i++, row += c->hidden)
      for (int u = 0; u < UNIT_BLOCK / LANES; u++) sums[u] = fma_(load(row + u * LANES), broadcast(x[i]), sums[u]);
    for (int u = 0; u < UNIT_BLOCK / LANES; u++) {
      vf z = fma_(sums[u], broadcast(scale), load(bias + u * LANES));
      for (int i = 0; i < EXTRA_FEATURES; i++)
        z = fma_(load(row + (size_t)i * c->hidden + u * LANES), broadcast(extra[i]), z);
      score += reduce_add(tanh_(z) * load(c->action + unit + u * LANES));
    }
  }
  return 1.0f / (1.0f + expf(-score));
}

#endif
