// The top token of a position without the whole head (SVD-softmax, Shim et al., NeurIPS 2017): a preview of all logits, of low rank
// or of few bits, then exact logits of the candidates alone. models/svd_head.py derives the one of low rank.

#ifndef SVD_HEAD_H
#define SVD_HEAD_H

#include <math.h>

#include "gemm.h"

#define CANDIDATES 256      // tokens with exact logits, at most
#define HEAD_ROWS 32        // rows whose previews are computed together; a verification has fewer
#define LOGIT_RANGE 8.0f    // how far below the greatest preview a candidate may be; also the largest margin
#define BISECTIONS 12       // steps in the search for a threshold that at most CANDIDATES tokens reach
#define MAX_LOG_ODDS 20.0f  // log-odds that stand for probability 1

typedef struct {
  const float *down;     // (preview.inputs, width): projects a normed state; null without an SVD head
  matrix preview;        // (tokens, rank); without an SVD head the head itself, (tokens, width)
  const uint16_t *rows;  // (tokens, width) bfloat16: the head; null: the previews are the logits, and there is no SVD head
  int32_t tokens;
} svd_head;

typedef struct {
  int32_t token;
  float log_odds;  // log(p/(1 − p)) with p the token's share of the candidates' probability
  float margin;    // its logit less the second greatest, at most LOGIT_RANGE
} top_token;

INLINE int count_at_least(const float *preview, int tokens, float threshold) {
  vi lanes = {0};
  int i = 0, count = 0;
  for (; i + LANES <= tokens; i += LANES) lanes -= load(preview + i) >= threshold;
  for (; i < tokens; i++) count += preview[i] >= threshold;
  for (int lane = 0; lane < LANES; lane++) count += lanes[lane];
  return count;
}

// cap · tanh(logit / cap) for each of `count` logits; as they are where `cap` is 0.
INLINE void cap_logits(float *logits, int count, float cap) {
  for (int i = 0; cap != 0.0f && i < count; i++) logits[i] = cap * tanhf(logits[i] / cap);
}

// The logit that is LOGIT_RANGE less than `most` once both are capped.
INLINE float range_below(float most, float cap) {
  if (cap == 0.0f) return most - LOGIT_RANGE;
  const float share = tanhf(most / cap) - LOGIT_RANGE / cap, least = -0.999999f;  // where atanh is finite
  return cap * atanhf(share > least ? share : least);
}

// Tokens within LOGIT_RANGE of the greatest preview, ascending; where they are too many, those above a bisected threshold.
static int find_candidates(const float *preview, int tokens, float cap, int32_t *found) {
  vf lanes = broadcast(preview[0]);
  int i = 0, count = 0;
  for (; i + LANES <= tokens; i += LANES) lanes = max_(lanes, load(preview + i));
  float most = reduce_max(lanes);
  for (; i < tokens; i++) most = preview[i] > most ? preview[i] : most;
  float low = range_below(most, cap), threshold = low;
  if (count_at_least(preview, tokens, low) > CANDIDATES) {
    threshold = most;
    for (int step = 0; step < BISECTIONS; step++) {
      const float middle = 0.5f * (low + threshold);
      const int reached = count_at_least(preview, tokens, middle);
      if (reached > CANDIDATES) low = middle;
      else threshold = middle;
      if (reached <= CANDIDATES && reached > CANDIDATES * 3 / 4) break;
    }
  }
  for (i = 0; i + LANES <= tokens && count < CANDIDATES; i += LANES) {
    const vi reached = load(preview + i) >= threshold;
    vi any = reached;
    for (int half = LANES / 2; half; half /= 2)
      for (int lane = 0; lane < half; lane++) any[lane] |= any[lane + half];
    if (!any[0]) continue;
    for (int lane = 0; lane < LANES && count < CANDIDATES; lane++)
      if (reached[lane]) found[count++] = i + lane;
  }
  for (; i < tokens && count < CANDIDATES; i++)
    if (preview[i] >= threshold) found[count++] = i;
  if (!count) found[count++] = 0;  // the states are NaN
  return count;
}

INLINE float dot(const float *a, const float *b, int width) {
  vf even = {0}, odd = {0};
  for (int i = 0; i < width; i += 2 * LANES) {
    even = fma_(load(a + i), load(b + i), even);
    odd = fma_(load(a + i + LANES), load(b + i + LANES), odd);
  }
  return reduce_add(even + odd);
}

INLINE float dot_bf16(const uint16_t *row, const float *x, int width) {
  vf even = {0}, odd = {0};
  for (int i = 0; i < width; i += 2 * LANES) {
    even = fma_(load_bf16(row + i), load(x + i), even);
    odd = fma_(load_bf16(row + i + LANES), load(x + i + LANES), odd);
  }
  return reduce_add(even + odd);
}

// The exact logits of `count` tokens for a normed state.
static void exact_logits(const uint16_t *rows, const int32_t *tokens, int count, const float *normed, int width, float *out) {
  enum { AHEAD = 4 };
  for (int i = 0; i < count; i++) {
    if (i + AHEAD < count) {
      const char *next = (const char *)(rows + (size_t)tokens[i + AHEAD] * width);
      for (int line = 0; line < 2 * width; line += 64) __builtin_prefetch(next + line);
    }
    out[i] = dot_bf16(rows + (size_t)tokens[i] * width, normed, width);
  }
}

// The token with the greatest logit, the first of equals; `preview` (tokens) is that of the normed state, `cap` the logits' softcap.
static top_token top_of_candidates(const svd_head *head, const float *preview, const float *normed, int width, float cap) {
  int32_t found[CANDIDATES];
  float logits[CANDIDATES];
  const int count = find_candidates(preview, head->tokens, cap, found);
  if (head->rows) exact_logits(head->rows, found, count, normed, width, logits);
  else
    for (int i = 0; i < count; i++) logits[i] = preview[found[i]];
  cap_logits(logits, count, cap);
  int best = 0;
  for (int i = 1; i < count; i++) best = logits[i] > logits[best] ? i : best;
  float others = 0.0f, margin = LOGIT_RANGE;
  for (int i = 0; i < count; i++) {
    if (i == best) continue;
    const float less = logits[best] - logits[i];
    others += expf(-less);
    margin = less < margin ? less : margin;
  }
  float log_odds = others > 0.0f ? -logf(others) : MAX_LOG_ODDS;
  log_odds = log_odds > MAX_LOG_ODDS ? MAX_LOG_ODDS : log_odds < -MAX_LOG_ODDS ? -MAX_LOG_ODDS : log_odds;
  return (top_token){found[best], log_odds, margin};
}

#endif
