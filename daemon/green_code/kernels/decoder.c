// Layers of a decoder over some positions: RMSNorm, rotary attention with grouped heads and windows, gated MLP.
//
// Weights are int8 with a scale an output; activations are quantised row by row in blocks of BLOCK values. A row's
// result depends on nothing but the row: not on how many rows come with it, nor on how a span of layers is cut.
//
// Every buffer is the caller's, and so is every bound: decoder.py checks weights once, and buffers before each call.

#include <math.h>

#include "lanes.h"

#define BLOCK 32
#define CHUNK 64  // rows that go through a layer together; bounds the scratch

typedef struct {
  const uint8_t *tiles;  // (outputs/16, inputs/4, 16, 4): w + 128
  const float *scales;   // (outputs)
  int32_t outputs, inputs;
} matrix;

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

// Rows as a product takes them.
typedef struct {
  int8_t *values;   // (CHUNK, inputs)
  float *scales;    // (CHUNK, inputs/BLOCK)
  int32_t *sums;    // (CHUNK, inputs/BLOCK): of the values of a block
} quantised;

typedef struct {
  quantised row;
  float *normed;  // (CHUNK, width)
  float *wide;    // (CHUNK, the widest output of a layer's matrices)
  float *heads;   // (CHUNK, heads·head_width)
  float *inner;   // (CHUNK, mlp_width)
  float *scores;  // (positions)
} scratch;

// --- products -------------------------------------------------------------------------------------------------

INLINE void quantise(const float *x, int inputs, int at, const quantised *to) {
  int8_t *values = to->values + (size_t)at * inputs;
  float *scales = to->scales + (size_t)at * (inputs / BLOCK);
  int32_t *sums = to->sums + (size_t)at * (inputs / BLOCK);
  for (int block = 0; block < inputs / BLOCK; block++) {
    vf most = {0};
    for (int i = 0; i < BLOCK; i += LANES) most = larger(most, magnitude(load(x + block * BLOCK + i)));
    float peak = largest(most), inverse = peak > 1e-30f ? 127.0f / peak : 0.0f;
    int32_t total = 0;
    for (int i = 0; i < BLOCK; i += LANES) {
      vi rounded = __builtin_convertvector(
          __builtin_elementwise_rint(load(x + block * BLOCK + i) * inverse), vi);
      for (int lane = 0; lane < LANES; lane++) {
        values[block * BLOCK + i + lane] = (int8_t)rounded[lane];
        total += rounded[lane];
      }
    }
    scales[block] = peak / 127.0f;
    sums[block] = total;
  }
}

// `rows` rows (a constant) through `tiles` neighbouring tiles (a constant).
INLINE void product_block(const matrix *m, int tile, const int tiles, const quantised *x, int at, const int rows,
                          float *out, int stride) {
  const int blocks = m->inputs / BLOCK;
  const size_t size = (size_t)m->inputs * TILE;
  const uint8_t *weights = m->tiles + tile * size;
  vf found[4][4 * PARTS];
  for (int r = 0; r < rows; r++)
    for (int t = 0; t < tiles * PARTS; t++) found[r][t] = (vf){0};
  for (int block = 0; block < blocks; block++) {
    vi sums[4][4 * PARTS];
    for (int r = 0; r < rows; r++) {
      vi first = first_sum(x->sums[(size_t)(at + r) * blocks + block]);
      for (int t = 0; t < tiles * PARTS; t++) sums[r][t] = first;
    }
    for (int four = 0; four < BLOCK / 4; four++) {
      const uint8_t *here = weights + ((size_t)block * (BLOCK / 4) + four) * (4 * TILE);
      for (int r = 0; r < rows; r++) {
        int32_t values;
        memcpy(&values, x->values + (size_t)(at + r) * m->inputs + block * BLOCK + 4 * four, 4);
        for (int t = 0; t < tiles; t++)
          for (int p = 0; p < PARTS; p++)
            sums[r][t * PARTS + p] = dot4(sums[r][t * PARTS + p], here + t * size + p * 4 * LANES, values);
      }
    }
    for (int r = 0; r < rows; r++) {
      vf scale = all(x->scales[(size_t)(at + r) * blocks + block]);
      for (int t = 0; t < tiles * PARTS; t++)
        found[r][t] = fma_(__builtin_convertvector(sums[r][t], vf), scale, found[r][t]);
    }
  }
  for (int r = 0; r < rows; r++)
    for (int t = 0; t < tiles * PARTS; t++)
      store(out + (size_t)(at + r) * stride + tile * TILE + t * LANES,
            found[r][t] * load(m->scales + tile * TILE + t * LANES));
}

INLINE void product_rows(const matrix *m, int tile, const int tiles, const quantised *x, int rows, float *out,
                         int stride) {
  int at = 0;
  for (; at + 4 <= rows; at += 4) product_block(m, tile, tiles, x, at, 4, out, stride);
  if (at + 2 <= rows) product_block(m, tile, tiles, x, at, 2, out, stride), at += 2;
  if (at < rows) product_block(m, tile, tiles, x, at, 1, out, stride);
}

// out (rows, stride) = x · mᵀ. A tile's weights stay in the nearest cache while all rows pass.
static void product(const matrix *m, const quantised *x, int rows, float *out, int stride) {
  const int tiles = m->outputs / TILE;
  int tile = 0;
  if (rows == 1)
    for (; tile + 4 <= tiles; tile += 4) product_block(m, tile, 4, x, 0, 1, out, stride);
  for (; tile + 2 <= tiles; tile += 2) product_rows(m, tile, 2, x, rows, out, stride);
  if (tile < tiles) product_rows(m, tile, 1, x, rows, out, stride);
}

// --- the parts of a layer -------------------------------------------------------------------------------------

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

// One head of one row over the keys and values of positions first … last. `out` has `width` values.
static void attend(const float *query, const float *keys, const float *values, int first, int last, int width,
                   float scale, float *scores, float *out) {
  const int count = last - first + 1, padded = (count + LANES - 1) / LANES * LANES;
  for (int j = 0; j < count; j += 4) {
    const float *key[4];
    for (int k = 0; k < 4; k++) key[k] = keys + (size_t)(first + (j + k < count ? j + k : j)) * width;
    vf dots[4] = {{0}, {0}, {0}, {0}};
    for (int i = 0; i < width; i += LANES) {
      vf q = load(query + i);
      for (int k = 0; k < 4; k++) dots[k] = fma_(q, load(key[k] + i), dots[k]);
    }
    for (int k = 0; k < 4 && j + k < count; k++) scores[j + k] = sum(dots[k]) * scale;
  }
  for (int j = count; j < padded; j++) scores[j] = -INFINITY;
  vf most = all(scores[0]);
  for (int j = 0; j < padded; j += LANES) most = larger(most, load(scores + j));
  const float peak = largest(most);
  vf total = {0};
  for (int j = 0; j < padded; j += LANES) {
    vf weight = exponential(load(scores + j) - peak);
    for (int lane = 0; lane < LANES; lane++)
      if (j + lane >= count) weight[lane] = 0;
    store(scores + j, weight);
    total += weight;
  }
  const float share = 1.0f / sum(total);
  for (int i = 0; i < width; i += LANES) {
    vf mixed = {0};
    for (int j = 0; j < count; j++)
      mixed = fma_(all(scores[j]), load(values + (size_t)(first + j) * width + i), mixed);
    store(out + i, mixed * share);
  }
}

// inner[i] = activation(gate[i]) · up[i]. Both activations are x·σ(z): silu with z = x, gelu with tanh's argument twice.
INLINE void gate(const float *in, int width, int gelu, float *inner) {
  for (int i = 0; i < width; i += LANES) {
    vf x = load(in + i);
    vf z = gelu ? x * 1.5957691216f * (1.0f + 0.044715f * x * x) : x;
    vf sigmoid = 1.0f / (1.0f + exponential(-__builtin_elementwise_min(magnitude(z), all(80.0f))));
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

static void attention(const model *m, const layer *l, float *x, int start, int rows, float *keys, float *values,
                      int capacity, const scratch *s) {
  const int d = m->head_width, group = m->heads / m->kv_heads, stride = l->qkv.outputs;
  for (int r = 0; r < rows; r++) {
    rms_norm(x + (size_t)r * m->width, l->attention_norm, m->width, m->norm_eps, s->normed);
    quantise(s->normed, m->width, r, &s->row);
  }
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
      const size_t at = ((size_t)g * capacity + position) * d;
      memcpy(keys + at, key + g * d, d * sizeof(float));
      memcpy(values + at, value + g * d, d * sizeof(float));
    }
  }
  for (int r = 0; r < rows; r++) {
    const int last = start + r, first = l->window && last >= l->window ? last - l->window + 1 : 0;
    for (int h = 0; h < m->heads; h++) {
      const size_t at = (size_t)(h / group) * capacity * d;
      attend(s->wide + (size_t)r * stride + h * d, keys + at, values + at, first, last, d, m->attention_scale,
             s->scores, s->heads + h * d);
    }
    quantise(s->heads, m->heads * d, r, &s->row);
  }
  product(&l->attention_out, &s->row, rows, s->wide, l->attention_out.outputs);
  add_rows(m, x, l->attention_out_norm, s->wide, l->attention_out.outputs, rows);
}

static void mlp(const model *m, const layer *l, float *x, int rows, const scratch *s) {
  for (int r = 0; r < rows; r++) {
    rms_norm(x + (size_t)r * m->width, l->mlp_norm, m->width, m->norm_eps, s->normed);
    quantise(s->normed, m->width, r, &s->row);
  }
  product(&l->mlp_in, &s->row, rows, s->wide, l->mlp_in.outputs);
  for (int r = 0; r < rows; r++) {
    gate(s->wide + (size_t)r * l->mlp_in.outputs, m->mlp_width, m->gelu, s->inner);
    quantise(s->inner, m->mlp_width, r, &s->row);
  }
  product(&l->mlp_out, &s->row, rows, s->wide, l->mlp_out.outputs);
  add_rows(m, x, l->mlp_out_norm, s->wide, l->mlp_out.outputs, rows);
}

// --- what is called -------------------------------------------------------------------------------------------

// Layers first … last−1 (from 0) over `rows` positions from `start`. x: (rows, width), changed in place. keys, values:
// (layers, kv_heads, capacity, head_width), valid before `start` in each of these layers; the new rows are written.
void green_run_layers(const model *m, int first, int last, float *x, int start, int rows, float *keys,
                      float *values, int capacity, const scratch *s) {
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
  for (int r = 0; r < rows; r++) {
    rms_norm(x + (size_t)r * m->width, norm, m->width, m->norm_eps, s->normed);
    quantise(s->normed, m->width, r, &s->row);
  }
  product(head, &s->row, rows, out, head->outputs);
}

int green_block(void) { return BLOCK; }
int green_chunk(void) { return CHUNK; }
