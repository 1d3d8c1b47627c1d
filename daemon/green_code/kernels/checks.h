// The bounds of every entry point, checked again where Python's checks end: no size that came from a file is trusted here. All of it is
// compared at each call, which takes less than a microsecond. Each function returns 1 where a call stays within its buffers.

#ifndef CHECKS_H
#define CHECKS_H

#include "decoder.h"
#include "exit_classifier.h"
#include "svd_head.h"

#define MOST_WIDTH (1 << 24)      // of a dimension; products of two are computed in 64 bits
#define MOST_POSITIONS (1 << 24)  // MAX_QUERIES · positions fits into 32 bits

INLINE int whole(int size, int group, int most) { return size > 0 && size <= most && size % group == 0; }

// A matrix of this shape, whose quantised input and whose output, for `rows` rows, have room in the scratch.
INLINE int matrix_fits(const matrix *m, int64_t outputs, int64_t inputs, int rows, const scratch *s) {
  return m->records && (m->bits == 8 || m->bits == 4) && m->outputs == outputs && m->inputs == inputs &&
         whole(m->outputs, TILE, MOST_WIDTH) && whole(m->inputs, GROUP, MOST_WIDTH) && inputs <= s->inputs &&
         (int64_t)rows * outputs <= s->outputs;
}

INLINE int norm_fits(const norm *n) { return n->gain || !n->bias; }

INLINE int model_fits(const model *m, const scratch *s) {
  return m->layers && s->input.values && s->input.scales && s->input.sums && s->output && s->lensed && s->threads &&
         whole(m->width, GROUP, MOST_WIDTH) && whole(m->mlp_width, GROUP, MOST_WIDTH) &&
         whole(m->head_width, HEAD_GROUP, MOST_WIDTH) && m->true_width > 0 && m->true_width <= m->width &&
         m->true_head_width > 0 && m->true_head_width <= m->head_width && m->rotary_width > 0 &&
         m->rotary_width <= m->true_head_width && m->heads > 0 && m->kv_heads > 0 &&
         m->heads % m->kv_heads == 0 && (int64_t)(m->heads + 2 * (int64_t)m->kv_heads) * m->head_width <= MOST_WIDTH &&
         m->activation >= SILU && m->activation <= RELU && norm_fits(&m->final_norm);
}

INLINE int layer_fits(const model *m, const layer *l, const scratch *s) {
  const int64_t query = l->attention_out.inputs, kv = (int64_t)l->qkv.outputs - query;
  return query >= (int64_t)m->heads * m->head_width && kv >= 2 * (int64_t)m->kv_heads * m->head_width &&
         matrix_fits(&l->qkv, query + kv, m->width, CHUNK, s) && matrix_fits(&l->attention_out, m->width, query, CHUNK, s) &&
         matrix_fits(&l->mlp_in, (int64_t)m->mlp_width * (m->gated ? 2 : 1), m->width, CHUNK, s) &&
         matrix_fits(&l->mlp_out, m->width, m->mlp_width, CHUNK, s) &&
         (!l->kv_projection.records || matrix_fits(&l->kv_projection, kv, m->width, CHUNK, s)) && l->window >= 0 &&
         !l->cosines == !l->sines && !(l->cosines && m->rotary_width % 2) && norm_fits(&l->attention_norm) && norm_fits(&l->attention_out_norm) &&
         norm_fits(&l->mlp_norm) && norm_fits(&l->mlp_out_norm);
}

// A span of layers over positions of a cache.
INLINE int span_fits(const model *m, int first, int last, const float *x, int start, int rows, const uint8_t *keys,
                     const uint8_t *values, int capacity, const scratch *s) {
  if (!model_fits(m, s) || first < 0 || first >= last || last > m->layer_count || !x || !keys || !values || start < 0 ||
      rows < 0 || !whole(capacity, VALUE_BLOCK, MOST_POSITIONS) || rows > capacity - start ||
      !whole(s->positions, VALUE_BLOCK, MOST_POSITIONS) || rows > s->positions - start)
    return 0;
  for (int i = first; i < last; i++)
    if (!layer_fits(m, &m->layers[i], s)) return 0;
  return 1;
}

INLINE int pool_fits(const thread_pool *pool, const scratch *s) {
  return !pool || (pool->workers > 0 && pool->workers <= s->workers);
}

INLINE int lens_fits(const model *m, const matrix *lens, const float *gain, const scratch *s) {
  return model_fits(m, s) && gain && matrix_fits(lens, m->width, m->width, CHUNK, s);
}

// The head: the preview's product has room for HEAD_ROWS rows, and so have what `down` makes of a state, and the logits of all tokens.
INLINE int head_fits(const model *m, const svd_head *head, const scratch *s) {
  const int rank = head->preview.inputs, tokens = head->tokens;
  return model_fits(m, s) && tokens > 0 && tokens <= MOST_WIDTH &&
         matrix_fits(&head->preview, (tokens + TILE - 1) / TILE * TILE, head->down ? rank : m->width, HEAD_ROWS, s) &&
         rank <= m->width && rank <= s->outputs && (head->rows || !head->down);
}

#endif
