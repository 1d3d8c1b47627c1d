// Layers of a decoder over some positions: RMSNorm, rotary attention with grouped heads and windows, gated MLP.
//
// Weights are int8 in groups of GROUP inputs with a scale each; activations are quantised row by row in equal groups.
// A row's result depends on nothing but the row: not on how many rows come with it, nor on how a span of layers is cut.
//
// Every buffer is the caller's, and so is every bound: decoder.py checks weights once, and buffers before each call.

#include <math.h>

#include "attention.h"
#include "judge.h"
#include "lanes.h"
#include "product.h"
#include "screen.h"

#define CHUNK 64  // rows that go through a layer together; bounds the scratch

typedef struct {
  matrix qkv, attention_out, mlp_in, mlp_out;
  // Gains; null where the family has no such norm.
  const float *attention_norm, *q_norm, *k_norm, *attention_out_norm, *mlp_norm, *mlp_out_norm;
  const float *cosines, *sines;  // (positions, head_width/2)
  int32_t window;                // how many positions are seen, itself included; 0: all
} layer;

typedef struct {
  const layer *layers;
  int32_t width, heads, kv_heads, head_width, mlp_width;
  int32_t gelu;  // 1: gelu (tanh), 0: silu
  float norm_eps, attention_scale;
} model;

typedef struct {
  quantised row;
  float *normed;  // (CHUNK, width)
  float *wide;    // (CHUNK, the widest output of a layer's matrices)
  float *heads;   // (heads·head_width)
  float *inner;   // (mlp_width)
  float *scores;  // (QUERIES, positions)
} scratch;

// x / rms(x) · gain (Zhang and Sennrich, arXiv 1910.07467), of `width` values.
INLINE void rms_norm(const float *x, const float *gain, int width, float eps, float *out) {
  vf squares = {0};
  for (int i = 0; i < width; i += LANES) squares = fma_(load(x + i), load(x + i), squares);
  float scale = 1.0f / sqrtf(sum(squares) / width + eps);
  for (int i = 0; i < width; i += LANES) store(out + i, load(x + i) * scale * load(gain + i));
}

INLINE void rotate(float *x, const float *cosines, const float *sines, int half) {
  for (int i = 0; i < half; i += LANES) {
    vf low = load(x + i), high = load(x + half + i), c = load(cosines + i), s = load(sines + i);
    store(x + i, low * c - high * s);
    store(x + half + i, high * c + low * s);
  }
}

// inner[i] = activation(gate[i]) · up[i]. Both activations are x·σ(z): silu with z = x, gelu with tanh's argument twice.
INLINE void gate(const float *in, int width, int gelu, float *inner) {
  for (int i = 0; i < width; i += LANES) {
    vf x = load(in + i);
    vf z = gelu ? x * 1.5957691216f * (1.0f + 0.044715f * x * x) : x;
    vf sigmoid = 1.0f / (1.0f + exponential(-smaller(magnitude(z), all(80.0f))));
    vi negative = z < 0.0f;
    sigmoid = (vf)(((vi)(1.0f - sigmoid) & negative) | ((vi)sigmoid & ~negative));
    store(inner + i, x * sigmoid * load(in + width + i));
  }
}

INLINE void add(float *x, const float *change, int width) {
  for (int i = 0; i < width; i += LANES) store(x + i, load(x + i) + load(change + i));
}

// x += out, behind the norm that some families have there.
static void add_rows(const model *m, float *x, const float *gain, float *out, int stride, int rows) {
  for (int r = 0; r < rows; r++) {
    float *change = out + (size_t)r * stride;
    if (gain) rms_norm(change, gain, m->width, m->norm_eps, change);
    add(x + (size_t)r * m->width, change, m->width);
  }
}

static void norm_rows(const model *m, const float *x, const float *gain, int rows, const scratch *s) {
  for (int r = 0; r < rows; r++) {
    rms_norm(x + (size_t)r * m->width, gain, m->width, m->norm_eps, s->normed);
    quantise(s->normed, m->width, r, &s->row);
  }
}

static void attention(const model *m, const layer *l, float *x, int start, int rows, uint16_t *keys,
                      uint16_t *values, int capacity, const scratch *s) {
  const int d = m->head_width, group = m->heads / m->kv_heads, stride = l->qkv.outputs;
  const size_t cached = (size_t)capacity * d;  // of one head
  norm_rows(m, x, l->attention_norm, rows, s);
  product(&l->qkv, &s->row, rows, s->wide, stride);
  for (int r = 0; r < rows; r++) {
    const int position = start + r;
    const float *c = l->cosines + (size_t)position * (d / 2), *sn = l->sines + (size_t)position * (d / 2);
    float *query = s->wide + (size_t)r * stride, *key = query + m->heads * d, *value = key + m->kv_heads * d;
    for (int h = 0; h < m->heads + m->kv_heads; h++) {  // queries and, right behind them, keys
      const float *gain = h < m->heads ? l->q_norm : l->k_norm;
      if (gain) rms_norm(query + h * d, gain, d, m->norm_eps, query + h * d);
      rotate(query + h * d, c, sn, d / 2);
    }
    for (int g = 0; g < m->kv_heads; g++) {
      store_key(keys + g * cached, position, key + g * d, d);
      store_value(values + g * cached, position, value + g * d, d);
    }
  }
  for (int r = 0; r < rows; r++) {
    const int last = start + r, first = l->window && last >= l->window ? last - l->window + 1 : 0;
    const float *query = s->wide + (size_t)r * stride;
    for (int g = 0; g < m->kv_heads; g++)
      attend(query + g * group * d, group, keys + g * cached, values + g * cached, first, last, d,
             m->attention_scale, s->scores, s->heads + g * group * d);
    quantise(s->heads, m->heads * d, r, &s->row);
  }
  product(&l->attention_out, &s->row, rows, s->wide, l->attention_out.outputs);
  add_rows(m, x, l->attention_out_norm, s->wide, l->attention_out.outputs, rows);
}

static void mlp(const model *m, const layer *l, float *x, int rows, const scratch *s) {
  norm_rows(m, x, l->mlp_norm, rows, s);
  product(&l->mlp_in, &s->row, rows, s->wide, l->mlp_in.outputs);
  for (int r = 0; r < rows; r++) {
    gate(s->wide + (size_t)r * l->mlp_in.outputs, m->mlp_width, m->gelu, s->inner);
    quantise(s->inner, m->mlp_width, r, &s->row);
  }
  product(&l->mlp_out, &s->row, rows, s->wide, l->mlp_out.outputs);
  add_rows(m, x, l->mlp_out_norm, s->wide, l->mlp_out.outputs, rows);
}

// Layers first … last−1 over x (rows, width) at positions start … start+rows−1, in place. Keys and values are
// (all layers, kv_heads, capacity, head_width); those of these layers are valid before `start`, and the new ones
// are written. A key's values lie as attention.h says.
void green_run_layers(const model *m, int first, int last, float *x, int start, int rows, uint16_t *keys,
                      uint16_t *values, int capacity, const scratch *s) {
  const size_t cached = (size_t)m->kv_heads * capacity * m->head_width;
  for (int i = first; i < last; i++)
    for (int at = 0; at < rows; at += CHUNK) {
      const int some = rows - at < CHUNK ? rows - at : CHUNK;
      float *here = x + (size_t)at * m->width;
      attention(m, &m->layers[i], here, start + at, some, keys + i * cached, values + i * cached, capacity, s);
      mlp(m, &m->layers[i], here, some, s);
    }
}

// out (rows, head.outputs) = head · norm(x), for rows ≤ CHUNK.
void green_logits(const model *m, const float *norm, const matrix *head, const float *x, int rows, float *out,
                  const scratch *s) {
  norm_rows(m, x, norm, rows, s);
  product(head, &s->row, rows, out, head->outputs);
}

// What the head says of each of rows ≤ CHUNK states x (rows, width). preview (rows, s->preview.outputs) is room for it.
void green_top(const model *m, const float *norm, const screen *s, const float *x, int rows, float *preview, top *out,
               const scratch *room) {
  const int rank = s->preview.inputs;
  for (int r = 0; r < rows; r++) {
    rms_norm(x + (size_t)r * m->width, norm, m->width, m->norm_eps, room->normed);
    for (int i = 0; s->down && i < rank; i++) room->wide[i] = dot(s->down + (size_t)i * m->width, room->normed, m->width);
    quantise(s->down ? room->wide : room->normed, rank, r, &room->row);
  }
  product(&s->preview, &room->row, rows, preview, s->preview.outputs);
  for (int r = 0; r < rows; r++) {
    if (s->rows) rms_norm(x + (size_t)r * m->width, norm, m->width, m->norm_eps, room->normed);
    out[r] = likeliest(s, preview + (size_t)r * s->preview.outputs, room->normed, m->width);
  }
}

// out (count): logits of these tokens for a state x (width); s->rows must be there.
void green_scores(const model *m, const float *norm, const screen *s, const float *x, const int32_t *tokens, int count,
                  float *out, const scratch *room) {
  rms_norm(x, norm, m->width, m->norm_eps, room->normed);
  score_rows(s->rows, tokens, count, room->normed, m->width, out);
}

// P(EXIT) for one state x (width) at the exit of index `exit`; `beside` are the features beside the state.
float green_judge(const model *m, const judge *j, int exit, const float *x, const float *beside) {
  return judged(j, exit, x, m->width, beside);
}

int green_group(void) { return GROUP; }
int green_tile(void) { return TILE; }
int green_chunk(void) { return CHUNK; }
int green_keys(void) { return KEYS; }
int green_queries(void) { return QUERIES; }
int green_candidates(void) { return CANDIDATES; }
int green_sizes(void) {
  return (int)(sizeof(layer) + sizeof(model) + sizeof(scratch) + sizeof(judge) + sizeof(screen) + sizeof(top));
}
