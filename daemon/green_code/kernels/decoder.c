// A decoder's layers and head, for every family: norms, biases, positions, grouped-query attention with windows, MLP, SVD head. What a
// family lacks is null or 0 and decided once a row, never once a component.
//
// Weights have 8 or 4 bits (gemm.h); activations are quantised to int8, row by row with a scale per GROUP inputs. A row's result depends on
// the row alone: not on the rows beside it, nor on how layers are split over calls.
//
// The caller owns every buffer. decoder.py checks weights once, and bounds before each call, to say what is wrong; every entry point here
// checks again (checks.h), and returns −1 without having touched anything where one is outside.

#include "decoder.h"

#include <math.h>

#include "abi.h"
#include "checks.h"

#define PAIR 2  // rows that attend together

// x / rms(x) · gain over `count` values, and zeros up to `width` (RMSNorm, Zhang and Sennrich, arXiv 1910.07467); `gain` may be null.
INLINE void rms_norm(const float *x, const float *gain, int width, int count, float eps, float *out) {
  vf squares = {0};
  for (int i = 0; i < width; i += LANES) squares = fma_(load(x + i), load(x + i), squares);
  float scale = 1.0f / sqrtf(reduce_add(squares) / count + eps);
  for (int i = 0; i < width; i += LANES) {
    const vf unit = load(x + i) * scale;
    store(out + i, gain ? unit * load(gain + i) : unit);
  }
}

// (x − mean(x)) / deviation(x) · gain + bias over `count` values, and zeros up to `width` (LayerNorm, Ba et al., arXiv 1607.06450).
INLINE void layer_norm(const float *x, const norm *by, int width, int count, float eps, float *out) {
  vf sum = {0}, squares = {0};
  for (int i = 0; i < width; i += LANES) sum += load(x + i);
  const float mean = reduce_add(sum) / count, of_zeros = mean * mean * (width - count);
  for (int i = 0; i < width; i += LANES) {
    const vf centred = load(x + i) - mean;
    squares = fma_(centred, centred, squares);
  }
  const float scale = 1.0f / sqrtf((reduce_add(squares) - of_zeros) / count + eps);
  for (int i = 0; i < width; i += LANES)
    store(out + i, fma_((load(x + i) - mean) * scale, load(by->gain + i), load(by->bias + i)));
}

// The norm of a state, as its family has it.
INLINE void norm_state(const model *m, const norm *by, const float *x, float *out) {
  if (by->bias) layer_norm(x, by, m->width, m->true_width, m->norm_eps, out);
  else rms_norm(x, by->gain, m->width, m->true_width, m->norm_eps, out);
}

// to += more, unless that is null.
INLINE void add(float *to, const float *more, int count) {
  if (!more) return;
  for (int i = 0; i < count; i += LANES) store(to + i, load(to + i) + load(more + i));
}

// Rotary position embedding (RoPE, Su et al., arXiv 2104.09864) of the first 2 · half components of a head, in place. Behind `half`
// the last block's cosines are 1 and its sines 0: it leaves components as they are that another block rotates, or none.
INLINE void rope(float *x, const float *cosines, const float *sines, int half) {
  for (int i = 0; i < half; i += LANES) {
    vf low = load(x + i), high = load(x + half + i), c = load(cosines + i), s = load(sines + i);
    store(x + i, low * c - high * s);
    store(x + half + i, high * c + low * s);
  }
}

// Both of the next two grow from 0 to 1, f(−z) = 1 − f(z), and are computed for |z|.
INLINE vf mirrored(vf of_magnitude, vf z) {
  const vi negative = z < 0.0f;
  return (vf)(((vi)(1.0f - of_magnitude) & negative) | ((vi)of_magnitude & ~negative));
}

// 1 / (1 + e^−z).
INLINE vf sigmoid(vf z) { return mirrored(1.0f / (1.0f + exp_(-min_(abs_(z), broadcast(80.0f)))), z); }

// The normal distribution Φ(z) = (1 + erf(z/√2)) / 2, with erf as in Abramowitz and Stegun, 7.1.26. Error < 1.5e-7.
INLINE vf normal_share(vf z) {
  const vf x = abs_(z) * 0.70710678f, t = 1.0f / (1.0f + 0.3275911f * x);
  vf p = fma_(t, broadcast(1.061405429f), broadcast(-1.453152027f));
  p = fma_(p, t, broadcast(1.421413741f));
  p = fma_(p, t, broadcast(-0.284496736f));
  p = fma_(p, t, broadcast(0.254829592f));
  return mirrored(1.0f - 0.5f * (p * t * exp_(-x * x)), z);
}

// `activation` is a constant. All but relu are x · share(x); gelu's tanh form is a sigmoid of twice the argument of tanh.
INLINE vf activate(vf x, const int activation) {
  switch (activation) {
    case SILU: return x * sigmoid(x);
    case GELU_TANH: return x * sigmoid(x * 1.5957691216f * (1.0f + 0.044715f * x * x));
    case GELU: return x * normal_share(x);
    default: return max_(x, (vf){0});
  }
}

// inner = activation(in), or activation(gate) · up with `in` = (gate, up): SwiGLU, GeGLU (Shazeer, arXiv 2002.05202).
INLINE void activate_all(const float *in, int width, const int activation, int gated, float *inner) {
  if (gated)
    for (int i = 0; i < width; i += LANES) store(inner + i, activate(load(in + i), activation) * load(in + width + i));
  else
    for (int i = 0; i < width; i += LANES) store(inner + i, activate(load(in + i), activation));
}

// One layer over rows ≤ CHUNK positions from `start` on; keys and values are this layer's.
typedef struct {
  const model *m;
  const layer *l;
  float *x;
  int start, rows, shares, capacity;  // shares: parts of a row's heads, more than 1 where rows are too few to share
  uint8_t *keys, *values;
  const scratch *s;
} layer_task;

// The offset of a head in a layer's cache, at `bytes` a position.
INLINE size_t head_offset(const layer_task *t, int kv_head, size_t bytes) { return (size_t)kv_head * t->capacity * bytes; }

INLINE void norm_and_quantise(const model *m, const float *x, const norm *by, int r, int worker, const scratch *s) {
  float *normed = s->threads[worker].normed;
  norm_state(m, by, x + (size_t)r * m->width, normed);
  quantise_row(normed, m->width, r, &s->input);
}

// x += change + bias; some families normalise the change first.
INLINE void add_residual(const model *m, float *x, const float *bias, const norm *by, float *change) {
  add(change, bias, m->width);
  if (by->gain) norm_state(m, by, change, change);
  add(x, change, m->width);
}

static void attention_norm_row(const void *task, int r, int worker) {
  const layer_task *t = task;
  norm_and_quantise(t->m, t->x, &t->l->attention_norm, r, worker, t->s);
}

// A row's queries; its keys and values follow.
INLINE float *qkv_row(const layer_task *t, int r) { return t->s->output + (size_t)r * t->l->qkv.outputs; }

// Biases, QK-norm and RoPE of a row's queries, from head `first` on, and of its keys; then its keys and values go into the cache.
INLINE void store_kv_row(const layer_task *t, int r, int first) {
  const model *m = t->m;
  const layer *l = t->l;
  const int d = m->head_width, position = t->start + r, half = m->rotary_width / 2;
  const size_t angles = (size_t)position * ((half + ROTARY_BLOCK - 1) / ROTARY_BLOCK * ROTARY_BLOCK);
  float *row = qkv_row(t, r), *key = row + l->attention_out.inputs, *value = key + m->kv_heads * d;
  if (l->qkv_bias) add(row + first * d, l->qkv_bias + first * d, l->qkv.outputs - first * d);
  for (int h = first; h < m->heads + m->kv_heads; h++) {
    float *head = h < m->heads ? row + h * d : key + (h - m->heads) * d;
    const float *gain = h < m->heads ? l->q_norm : l->k_norm;
    if (gain) rms_norm(head, gain, d, m->true_head_width, m->norm_eps, head);
    if (l->cosines) rope(head, l->cosines + angles, l->sines + angles, half);
  }
  for (int g = 0; g < m->kv_heads; g++) {
    store_key(t->keys + head_offset(t, g, key_bytes(d)), position, key + g * d, d);
    store_value(t->values + head_offset(t, g, value_bytes(d)), position, value + g * d, d);
  }
}

// The rows of one block of keys. Rows of another block share no cache line of keys or values with them, so two threads do not
// contend for one.
static void store_kv_block(const void *task, int block, int worker) {
  (void)worker;
  const layer_task *t = task;
  const int first = t->start / KEY_BLOCK * KEY_BLOCK + block * KEY_BLOCK, end = t->start + t->rows;
  for (int position = first < t->start ? t->start : first; position < first + KEY_BLOCK && position < end; position++)
    store_kv_row(t, position - t->start, 0);
}

// Attention of a pair of rows: all of their heads, or a share of the heads. The results replace the queries.
static void attention_part(const void *task, int index, int worker) {
  const layer_task *t = task;
  const model *m = t->m;
  const int d = m->head_width, group = m->heads / m->kv_heads, window = t->l->window, share = index % t->shares;
  const int from = index / t->shares * PAIR, to = from + PAIR < t->rows ? from + PAIR : t->rows;
  for (int head = share * m->heads / t->shares, end = (share + 1) * m->heads / t->shares; head < end;) {
    const int g = head / group, most = head + MAX_QUERIES / PAIR;
    int until = (g + 1) * group < end ? (g + 1) * group : end, count = 0;
    if (until > most) until = most;
    query queries[MAX_QUERIES];
    for (int r = from; r < to; r++) {
      const int last = t->start + r, first = window && last >= window ? last - window + 1 : 0;
      float *row = qkv_row(t, r);
      for (int h = head; h < until; h++) queries[count++] = (query){row + h * d, row + h * d, first, last};
    }
    attention(queries, count, t->keys + head_offset(t, g, key_bytes(d)), t->values + head_offset(t, g, value_bytes(d)), d,
              m->attention_scale, m->attention_softcap, &t->s->threads[worker].attention);
    head = until;
  }
}

static void quantise_attention_row(const void *task, int r, int worker) {
  (void)worker;
  const layer_task *t = task;
  quantise_row(qkv_row(t, r), t->l->attention_out.inputs, r, &t->s->input);
}

static void mlp_norm_row(const void *task, int r, int worker) {
  const layer_task *t = task;
  float *change = t->s->output + (size_t)r * t->l->attention_out.outputs;
  add_residual(t->m, t->x + (size_t)r * t->m->width, t->l->attention_out_bias, &t->l->attention_out_norm, change);
  norm_and_quantise(t->m, t->x, &t->l->mlp_norm, r, worker, t->s);
}

static void activation_row(const void *task, int r, int worker) {
  const layer_task *t = task;
  const int width = t->m->mlp_width, gated = t->m->gated;
  float *in = t->s->output + (size_t)r * t->l->mlp_in.outputs, *inner = t->s->threads[worker].inner;
  add(in, t->l->mlp_in_bias, t->l->mlp_in.outputs);
  switch (t->m->activation) {
    case SILU: activate_all(in, width, SILU, gated, inner); break;
    case GELU_TANH: activate_all(in, width, GELU_TANH, gated, inner); break;
    case GELU: activate_all(in, width, GELU, gated, inner); break;
    default: activate_all(in, width, RELU, gated, inner);
  }
  quantise_row(inner, width, r, &t->s->input);
}

static void mlp_residual_row(const void *task, int r, int worker) {
  (void)worker;
  const layer_task *t = task;
  float *change = t->s->output + (size_t)r * t->l->mlp_out.outputs;
  add_residual(t->m, t->x + (size_t)r * t->m->width, t->l->mlp_out_bias, &t->l->mlp_out_norm, change);
}

// Closes the pool, unless it is null, at the end of a call with this result.
INLINE int closed(thread_pool *pool, int result) {
  if (pool) atomic_store_explicit(&pool->open, 0, memory_order_release);
  return result;
}

// What follows attention in a layer. `following`: the matrix that is read next, to be fetched meanwhile.
static void run_behind_attention(thread_pool *pool, const layer_task *t, const matrix *following) {
  const layer *l = t->l;
  const scratch *s = t->s;
  const int rows = t->rows;
  parallel_for(pool, quantise_attention_row, t, rows);
  gemm(pool, &l->attention_out, &l->mlp_in, &s->input, rows, s->output, l->attention_out.outputs);
  parallel_for(pool, mlp_norm_row, t, rows);
  gemm(pool, &l->mlp_in, &l->mlp_out, &s->input, rows, s->output, l->mlp_in.outputs);
  parallel_for(pool, activation_row, t, rows);
  gemm(pool, &l->mlp_out, following, &s->input, rows, s->output, l->mlp_out.outputs);
  parallel_for(pool, mlp_residual_row, t, rows);
}

// Layers first … last−1 over x (rows, width) at positions start … start+rows−1, in place. Keys and values are (all layers, kv_heads,
// capacity, bytes of a position), laid out as attention.h says. Those of these layers are valid before `start`; the new ones are
// written. `pool` is open, or null for one thread. It is closed at the end, or earlier where the threads stall each other.
int green_run_layers(const model *m, int first, int last, float *x, int start, int rows, uint8_t *keys, uint8_t *values,
                     int capacity, const scratch *s, thread_pool *pool) {
  if (!span_fits(m, first, last, x, start, rows, keys, values, capacity, s) || !pool_fits(pool, s)) return closed(pool, -1);
  const size_t cached = (size_t)m->kv_heads * capacity;  // heads and positions of a layer
  for (int i = first; i < last; i++) {
    const layer *l = &m->layers[i];
    for (int at = 0; at < rows; at += CHUNK) {
      if (pool && atomic_load_explicit(&pool->stalls, memory_order_relaxed) >= MOST_STALLS) {
        atomic_store_explicit(&pool->open, 0, memory_order_release);
        pool = NULL;
      }
      const int some = rows - at < CHUNK ? rows - at : CHUNK;
      const int shares = pool && some <= PAIR ? (pool->workers < m->heads ? pool->workers : m->heads) : 1;
      const layer_task t = {m, l, x + (size_t)at * m->width, start + at, some, shares, capacity,
                            keys + i * cached * key_bytes(m->head_width), values + i * cached * value_bytes(m->head_width), s};
      const matrix *following = at + CHUNK < rows ? &l->qkv : i + 1 < last ? &l[1].qkv : NULL;
      parallel_for(pool, attention_norm_row, &t, some);
      gemm(pool, &l->qkv, &l->attention_out, &s->input, some, s->output, l->qkv.outputs);
      parallel_for(pool, store_kv_block, &t, (t.start + some - 1) / KEY_BLOCK - t.start / KEY_BLOCK + 1);
      parallel_for(pool, attention_part, &t, (some + PAIR - 1) / PAIR * shares);
      run_behind_attention(pool, &t, following);
    }
  }
  return closed(pool, 0);
}

// A row of several caches: its keys and values, as store_kv_block and attention_part do them for rows of one.
static void store_own_row(const void *task, int r, int worker) {
  (void)worker;
  store_kv_row((const layer_task *)task + r, 0, 0);
}

static void attend_own_row(const void *task, int r, int worker) { attention_part((const layer_task *)task + r, 0, worker); }

// Layers first … last−1 over x (rows, width), in place, where row r is position starts[r] of the cache that keys[r] and values[r] with
// capacities[r] are: green_run_layers for rows of several caches, up to CHUNK of them. Rows of one cache have ascending positions.
int green_run_rows(const model *m, int first, int last, float *x, const int *starts, const int *capacities, uint8_t *const *keys,
                   uint8_t *const *values, int rows, const scratch *s, thread_pool *pool) {
  if (rows < 0 || rows > CHUNK || !starts || !capacities || !keys || !values || !pool_fits(pool, s)) return closed(pool, -1);
  for (int r = 0; r < rows; r++)
    if (!span_fits(m, first, last, x, starts[r], 1, keys[r], values[r], capacities[r], s)) return closed(pool, -1);
  scratch own[CHUNK];
  layer_task each[CHUNK];
  for (int i = first; i < last && rows; i++) {
    const layer *l = &m->layers[i];
    const layer_task t = {m, l, x, 0, rows, 1, 0, NULL, NULL, s};
    const matrix *following = i + 1 < last ? &l[1].qkv : NULL;
    for (int r = 0; r < rows; r++) {
      const size_t cached = (size_t)i * m->kv_heads * capacities[r];
      own[r] = *s;
      own[r].output = qkv_row(&t, r);
      each[r] = (layer_task){m, l, x + (size_t)r * m->width, starts[r], 1, 1, capacities[r], keys[r] + cached * key_bytes(m->head_width),
                             values[r] + cached * value_bytes(m->head_width), &own[r]};
    }
    parallel_for(pool, attention_norm_row, &t, rows);
    gemm(pool, &l->qkv, &l->attention_out, &s->input, rows, s->output, l->qkv.outputs);
    parallel_for(pool, store_own_row, each, rows);
    parallel_for(pool, attend_own_row, each, rows);
    run_behind_attention(pool, &t, following);
  }
  return closed(pool, 0);
}

// Keys and values alone of layers first … last−1, all projected from x (rows, width), which does not change: where `propagated`, by
// a layer's `kv_projection` if it has one; otherwise by its own rows of qkv. The other arguments are those of green_run_layers.
int green_project_kv(const model *m, int first, int last, float *x, int start, int rows, uint8_t *keys, uint8_t *values,
                     int capacity, const scratch *s, int propagated) {
  if (!span_fits(m, first, last, x, start, rows, keys, values, capacity, s)) return -1;
  const size_t cached = (size_t)m->kv_heads * capacity;
  for (int i = first; i < last; i++) {
    const layer *l = &m->layers[i];
    const matrix *qkv = &l->qkv;
    const int tile = l->attention_out.inputs / TILE;  // the first one of keys
    const matrix own = from_tile(qkv, tile);
    const matrix *kv = propagated && l->kv_projection.records ? &l->kv_projection : &own;
    for (int at = 0, some; at < rows; at += some) {
      some = rows - at < CHUNK ? rows - at : CHUNK;
      const layer_task t = {m, l, x + (size_t)at * m->width, start + at, some, 1, capacity,
                            keys + i * cached * key_bytes(m->head_width), values + i * cached * value_bytes(m->head_width), s};
      for (int r = 0; r < some; r++) attention_norm_row(&t, r, 0);
      gemm(NULL, kv, NULL, &s->input, some, s->output + tile * TILE, qkv->outputs);
      for (int r = 0; r < some; r++) store_kv_row(&t, r, m->heads);
    }
  }
  return 0;
}

// Helper thread `worker` ≥ 1 of a pool; returns when the pool closes or cores are busy.
void green_run_helper(thread_pool *pool, int worker) { run_helper(pool, worker); }

// out (count, width): rows of the embedding, (tokens, width) in bfloat16, times `scale`; plus `positions` (count, width) in bfloat16,
// the learned embeddings of their positions, unless that is null.
int green_embed(const model *m, const uint16_t *embedding, const uint16_t *positions, const int32_t *tokens, int count,
                float scale, float *out) {
  if (!whole(m->width, GROUP, MOST_WIDTH) || !embedding || !tokens || !out || count < 0) return -1;
  for (int t = 0; t < count; t++)
    if (tokens[t] < 0 || tokens[t] >= m->tokens) return -1;
  for (int t = 0; t < count; t++, out += m->width) {
    const uint16_t *row = embedding + (size_t)tokens[t] * m->width;
    for (int i = 0; i < m->width; i += LANES) store(out + i, load_bf16(row + i) * scale);
    for (int i = 0; positions && i < m->width; i += LANES)
      store(out + i, load(out + i) + load_bf16(positions + (size_t)t * m->width + i));
  }
  return 0;
}

// A tuned lens (Belrose et al., arXiv 2303.08112): out (rows, width) = x̂ + lens · (gain · x̂) with x̂ = x / rms(x) (models/adapters.py).
int green_apply_lens(const model *m, const matrix *lens, const float *gain, const float *x, int rows, float *out,
                     const scratch *s) {
  if (!lens_fits(m, lens, gain, s) || !x || !out) return -1;
  const int width = m->width;
  const norm gained = {gain, NULL}, unit = {NULL, NULL};
  for (int some; rows > 0; rows -= some, x += (size_t)some * width, out += (size_t)some * width) {
    some = rows < CHUNK ? rows : CHUNK;
    for (int r = 0; r < some; r++) norm_and_quantise(m, x, &gained, r, 0, s);
    gemm(NULL, lens, NULL, &s->input, some, s->output, lens->outputs);
    for (int r = 0; r < some; r++) {
      float *lensed = out + (size_t)r * width;
      norm_state(m, &unit, x + (size_t)r * width, lensed);
      add(lensed, s->output + (size_t)r * lens->outputs, width);
    }
  }
  return 0;
}

// out (rows, preview.outputs), of which `tokens` are written = softcap(head · norm(x)), by the head's rows where they are there: the
// logits that candidates get. Otherwise all are written, by the preview.
int green_logits(const model *m, const svd_head *head, const float *x, int rows, float *out, const scratch *s) {
  if (!head_fits(m, head, s) || !x || !out) return -1;
  const int stride = head->preview.outputs, width = m->width;
  for (int some; rows > 0; rows -= some, x += (size_t)some * width, out += (size_t)some * stride) {
    some = rows < HEAD_ROWS ? rows : HEAD_ROWS;
    if (!head->rows) {
      for (int r = 0; r < some; r++) norm_and_quantise(m, x, &m->final_norm, r, 0, s);
      gemm(NULL, &head->preview, NULL, &s->input, some, out, stride);
    }
    for (int r = 0; head->rows && r < some; r++) norm_state(m, &m->final_norm, x + (size_t)r * width, s->lensed + (size_t)r * width);
    for (int token = 0; head->rows && token < head->tokens; token++)
      for (int r = 0; r < some; r++)
        out[(size_t)r * stride + token] = dot_bf16(head->rows + (size_t)token * width, s->lensed + (size_t)r * width, width);
    for (int r = 0; r < some; r++) cap_logits(out + (size_t)r * stride, head->tokens, m->logit_softcap);
  }
  return 0;
}

// rows ≤ HEAD_ROWS states x (rows, width) through a lens with its gain; x itself where `lens` is null.
static const float *through_lens(const model *m, const matrix *lens, const float *gain, const float *x, int rows,
                                 const scratch *s) {
  if (!lens) return x;
  green_apply_lens(m, lens, gain, x, rows, s->lensed, s);
  return s->lensed;
}

typedef struct {
  const model *m;
  const svd_head *head;
  const float *x;  // (rows, width)
  top_token *out;
  const scratch *s;  // `output` has the previews
} top_task;

static void top_token_row(const void *task, int r, int worker) {
  const top_task *t = task;
  float *normed = t->s->threads[worker].normed;
  if (t->head->rows) norm_state(t->m, &t->m->final_norm, t->x + (size_t)r * t->m->width, normed);
  const float *preview = t->s->output + (size_t)r * t->head->preview.outputs;
  t->out[r] = top_of_candidates(t->head, preview, normed, t->m->width, t->m->logit_softcap);
}

// The top tokens of rows ≤ HEAD_ROWS states x (rows, width), through a lens with its gain unless `lens` is null. `pool` is open, or null
// for one thread; it is closed at the end.
int green_top_tokens(const model *m, const svd_head *head, const matrix *lens, const float *gain, const float *x, int rows,
                     top_token *out, const scratch *s, thread_pool *pool) {
  if (!head_fits(m, head, s) || (lens && !lens_fits(m, lens, gain, s)) || !pool_fits(pool, s) || !x || !out || rows < 1 ||
      rows > HEAD_ROWS)
    return closed(pool, -1);
  const int rank = head->preview.inputs, tokens = head->preview.outputs;
  float *normed = s->threads[0].normed;
  x = through_lens(m, lens, gain, x, rows, s);
  for (int r = 0; r < rows; r++) {
    norm_state(m, &m->final_norm, x + (size_t)r * m->width, normed);
    for (int i = 0; head->down && i < rank; i++) s->output[i] = dot(head->down + (size_t)i * m->width, normed, m->width);
    quantise_row(head->down ? s->output : normed, rank, r, &s->input);
  }
  gemm(pool, &head->preview, NULL, &s->input, rows, s->output, tokens);
  const top_task t = {m, head, x, out, s};
  parallel_for(pool, top_token_row, &t, rows);
  return closed(pool, 0);
}

// Of `count` ≤ head->tokens tokens the one with the greatest exact logit for a state x (width), the first of equals; the lens is as in
// green_top_tokens. head->rows must be there. s->output has their logits afterwards.
int32_t green_top_token_among(const model *m, const svd_head *head, const matrix *lens, const float *gain, const float *x,
                              const int32_t *tokens, int count, const scratch *s) {
  if (!head_fits(m, head, s) || (lens && !lens_fits(m, lens, gain, s)) || !head->rows || !x || !tokens || count < 1 ||
      count > head->tokens)
    return -1;
  float *normed = s->threads[0].normed, *logits = s->output;
  for (int i = 0; i < count; i++)
    if (tokens[i] < 0 || tokens[i] >= head->tokens) return -1;
  norm_state(m, &m->final_norm, through_lens(m, lens, gain, x, 1, s), normed);
  exact_logits(head->rows, tokens, count, normed, m->width, logits);
  cap_logits(logits, count, m->logit_softcap);
  int best = 0;
  for (int i = 1; i < count; i++) best = logits[i] > logits[best] ? i : best;
  return tokens[best];
}

// P(EXIT) of one state x (width) at the exit of index `exit`, given the top token's log-odds and margin. `pending`: the layer ×
// position evaluations that going on to full depth would cost.
float green_exit_probability(const exit_classifier *c, int exit, const float *x, int pending, float log_odds, float margin) {
  if (!whole(c->hidden, UNIT_BLOCK, MOST_WIDTH) || c->width < 1 || c->width > MOST_WIDTH || exit < 0 || exit >= c->exits || !x ||
      pending < 0 || !c->inner || !c->biases || !c->action)
    return -1.0f;
  return exit_probability(c, exit, x, pending, log_odds, margin);
}

// −1 where a head of this width is none of whole groups.
int green_key_bytes(int width) { return whole(width, HEAD_GROUP, MOST_WIDTH) ? (int)key_bytes(width) : -1; }
int green_value_bytes(int width) { return whole(width, HEAD_GROUP, MOST_WIDTH) ? (int)value_bytes(width) : -1; }

int green_abi(void) { return GREEN_ABI; }
const abi_entry *green_layout(void) { return abi_layout; }
const abi_entry *green_constants(void) { return abi_constants; }
