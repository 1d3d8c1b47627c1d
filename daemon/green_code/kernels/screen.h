// The likeliest token of a position without the whole head: a preview of all logits at a fraction of its width, then the head's
// own rows of the candidates alone (SVD-softmax, Shim et al., NeurIPS 2017). models/screen.py says where the preview comes from.

#ifndef SCREEN_H
#define SCREEN_H

#include <math.h>

#include "product.h"

#define CANDIDATES 256   // tokens that are looked at exactly, at most
#define LOOKS 32         // rows whose previews are made together: more than a verification has
#define REACH 8.0f       // how far below the greatest preview a candidate may be; a margin counts no further either
#define BISECTIONS 12    // of REACH, in search of a bound that so many pass
#define MOST_ODDS 20.0f  // log-odds that stand for all the probability there is

typedef struct {
  const float *down;     // (preview.inputs, width): the normed state's coordinates; null where there is no screen
  matrix preview;        // (tokens, rank); without a screen the head itself, (tokens, width)
  const uint16_t *rows;  // (tokens, width) bfloat16: the head; null: the preview is as exact as it gets
  int32_t tokens;
} screen;

typedef struct {
  int32_t token;
  float odds;    // log of p/(1 − p), where p is the token's share of the candidates' probability
  float margin;  // of its logit over the second's, at most REACH
} top;

INLINE int count_from(const float *preview, int tokens, float bound) {
  vi passed = {0};
  int i = 0, rest = 0;
  for (; i + LANES <= tokens; i += LANES) passed -= load(preview + i) >= bound;
  for (; i < tokens; i++) rest += preview[i] >= bound;
  for (int lane = 0; lane < LANES; lane++) rest += passed[lane];
  return rest;
}

// Tokens within REACH of the greatest preview, ascending; where they are too many, those above a bound that few pass.
static int find_candidates(const float *preview, int tokens, int32_t *found) {
  vf most_of = all(preview[0]);
  int i = 0, count = 0;
  for (; i + LANES <= tokens; i += LANES) most_of = larger(most_of, load(preview + i));
  float most = largest(most_of);
  for (; i < tokens; i++) most = preview[i] > most ? preview[i] : most;
  float low = most - REACH, bound = low;
  if (count_from(preview, tokens, low) > CANDIDATES) {
    bound = most;
    for (int step = 0; step < BISECTIONS; step++) {
      const float middle = 0.5f * (low + bound);
      const int passed = count_from(preview, tokens, middle);
      if (passed > CANDIDATES) low = middle;
      else bound = middle;
      if (passed <= CANDIDATES && passed > CANDIDATES * 3 / 4) break;
    }
  }
  for (i = 0; i + LANES <= tokens && count < CANDIDATES; i += LANES) {
    const vi passed = load(preview + i) >= bound;
    vi any = passed;
    for (int half = LANES / 2; half; half /= 2)
      for (int lane = 0; lane < half; lane++) any[lane] |= any[lane + half];
    if (!any[0]) continue;
    for (int lane = 0; lane < LANES && count < CANDIDATES; lane++)
      if (passed[lane]) found[count++] = i + lane;
  }
  for (; i < tokens && count < CANDIDATES; i++)
    if (preview[i] >= bound) found[count++] = i;
  if (!count) found[count++] = 0;  // no number among the states
  return count;
}

INLINE float dot(const float *a, const float *b, int width) {
  vf even = {0}, odd = {0};
  for (int i = 0; i < width; i += 2 * LANES) {
    even = fma_(load(a + i), load(b + i), even);
    odd = fma_(load(a + i + LANES), load(b + i + LANES), odd);
  }
  return sum(even + odd);
}

// One row of the head, bfloat16, times a normed state.
INLINE float row_score(const uint16_t *row, const float *normed, int width) {
  vf even = {0}, odd = {0};
  for (int i = 0; i < width; i += 2 * LANES) {
    even = fma_(load_half(row + i), load(normed + i), even);
    odd = fma_(load_half(row + i + LANES), load(normed + i + LANES), odd);
  }
  return sum(even + odd);
}

static void score_rows(const uint16_t *rows, const int32_t *tokens, int count, const float *normed, int width, float *out) {
  enum { EARLY = 4 };
  for (int i = 0; i < count; i++) {
    if (i + EARLY < count) {
      const char *next = (const char *)(rows + (size_t)tokens[i + EARLY] * width);
      for (int line = 0; line < 2 * width; line += 64) __builtin_prefetch(next + line);
    }
    out[i] = row_score(rows + (size_t)tokens[i] * width, normed, width);
  }
}

// The likeliest token, of equals the first; `preview` (tokens) is of this state.
static top likeliest(const screen *s, const float *preview, const float *normed, int width) {
  int32_t found[CANDIDATES];
  float logits[CANDIDATES];
  const int count = find_candidates(preview, s->tokens, found);
  if (s->rows) score_rows(s->rows, found, count, normed, width, logits);
  else
    for (int i = 0; i < count; i++) logits[i] = preview[found[i]];
  int best = 0;
  for (int i = 1; i < count; i++) best = logits[i] > logits[best] ? i : best;
  float others = 0.0f, margin = REACH;
  for (int i = 0; i < count; i++) {
    if (i == best) continue;
    const float behind = logits[best] - logits[i];
    others += expf(-behind);
    margin = behind < margin ? behind : margin;
  }
  float odds = others > 0.0f ? -logf(others) : MOST_ODDS;
  odds = odds > MOST_ODDS ? MOST_ODDS : odds < -MOST_ODDS ? -MOST_ODDS : odds;
  return (top){found[best], odds, margin};
}

#endif
