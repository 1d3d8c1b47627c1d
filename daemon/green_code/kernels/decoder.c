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
#include "team.h"

#define CHUNK 64  // rows that go through a layer together; bounds the scratch
#define PAIR 2    // rows that look at keys and values together

typedef struct {
  matrix qkv, attention_out, mlp_in, mlp_out;
  // Gains; null where the family has no such norm.
  const float *attention_norm, *q_norm, *k_norm, *attention_out_norm, *mlp_norm, *mlp_out_norm;
  const float *cosines, *sines;  // (positions, head_width/2)
  int32_t window;                // how many positions are seen, itself included; 0: all
  matrix entry;                  // keys and values of settled states; without records: those of qkv
} layer;

typedef struct {
  const layer *layers;
  int32_t width, heads, kv_heads, head_width, mlp_width;
  int32_t gelu;  // 1: gelu (tanh), 0: silu
  float norm_eps, attention_scale;
} model;

// Working memory of one thread, beside what all share.
typedef struct {
  float *normed;  // (width)
  float *inner;   // (mlp_width)
  attention_room attention;
} workspace;

typedef struct {
  quantised row;
  float *wide;  // (CHUNK, the widest output of a layer's matrices), or (LOOKS, tokens) where that is more
  float *seen;  // (LOOKS, width)
  workspace own[WORKERS];
} scratch;

// x / rms(x) · gain (Zhang and Sennrich, arXiv 1910.07467), of `width` values; without gains where they are null.
INLINE void rms_norm(const float *x, const float *gain, int width, float eps, float *out) {
  vf squares = {0};
  for (int i = 0; i < width; i += LANES) squares = fma_(load(x + i), load(x + i), squares);
  float scale = 1.0f / sqrtf(sum(squares) / width + eps);
  for (int i = 0; i < width; i += LANES) {
    const vf unit = load(x + i) * scale;
    store(out + i, gain ? unit * load(gain + i) : unit);
  }
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

// A layer over rows ≤ CHUNK positions from `start` on; keys and values are this layer's.
typedef struct {
  const model *m;
  const layer *l;
  float *x;
  int start, rows, halves, capacity;  // halves: into how many parts heads are cut, where rows are too few to share
  uint8_t *keys, *values;
  const scratch *s;
} step;

// Where what is cached of a head begins, at so many bytes a position.
INLINE size_t of_head(const step *t, int kv_head, size_t bytes) { return (size_t)kv_head * t->capacity * bytes; }

INLINE void norm_row(const model *m, const float *x, const float *gain, int r, int worker, const scratch *s) {
  float *normed = s->own[worker].normed;
  rms_norm(x + (size_t)r * m->width, gain, m->width, m->norm_eps, normed);
  quantise(normed, m->width, r, &s->row);
}

// x += change, behind the norm that some families have there.
INLINE void add_row(const model *m, float *x, const float *gain, float *change) {
  if (gain) rms_norm(change, gain, m->width, m->norm_eps, change);
  for (int i = 0; i < m->width; i += LANES) store(x + i, load(x + i) + load(change + i));
}

static void before_attention(const void *task, int r, int worker) {
  const step *t = task;
  norm_row(t->m, t->x, t->l->attention_norm, r, worker, t->s);
}

// A row's queries, from head `first` on, and keys to where they are in the text; its keys and values into the cache.
INLINE void place_row(const step *t, int r, int first) {
  const model *m = t->m;
  const int d = m->head_width, position = t->start + r;
  const float *c = t->l->cosines + (size_t)position * (d / 2), *sn = t->l->sines + (size_t)position * (d / 2);
  float *query = t->s->wide + (size_t)r * t->l->qkv.outputs, *key = query + m->heads * d, *value = key + m->kv_heads * d;
  for (int h = first; h < m->heads + m->kv_heads; h++) {  // queries and, right behind them, keys
    const float *gain = h < m->heads ? t->l->q_norm : t->l->k_norm;
    if (gain) rms_norm(query + h * d, gain, d, m->norm_eps, query + h * d);
    rotate(query + h * d, c, sn, d / 2);
  }
  for (int g = 0; g < m->kv_heads; g++) {
    store_key(t->keys + of_head(t, g, key_bytes(d)), position, key + g * d, d);
    store_value(t->values + of_head(t, g, value_bytes(d)), position, value + g * d, d);
  }
}

// The rows whose keys lie in one block, and whose values then share no cache line with others': two threads that write to one
// would take it from one another.
static void place(const void *task, int block, int worker) {
  (void)worker;
  const step *t = task;
  const int first = t->start / KEYS * KEYS + block * KEYS, end = t->start + t->rows;
  for (int position = first < t->start ? t->start : first; position < first + KEYS && position < end; position++)
    place_row(t, position - t->start, 0);
}

// A pair of rows: all of their heads or, where there are halves, one half. Queries make way for the result.
static void attend_part(const void *task, int index, int worker) {
  const step *t = task;
  const model *m = t->m;
  const int d = m->head_width, group = m->heads / m->kv_heads, window = t->l->window, half = index % t->halves;
  const int from = index / t->halves * PAIR, to = from + PAIR < t->rows ? from + PAIR : t->rows;
  for (int head = half * m->heads / t->halves, end = (half + 1) * m->heads / t->halves; head < end;) {
    const int g = head / group, most = head + QUERIES / PAIR;
    int until = (g + 1) * group < end ? (g + 1) * group : end, count = 0;
    if (until > most) until = most;
    query queries[QUERIES];
    for (int r = from; r < to; r++) {
      const int last = t->start + r, first = window && last >= window ? last - window + 1 : 0;
      float *row = t->s->wide + (size_t)r * t->l->qkv.outputs;
      for (int h = head; h < until; h++) queries[count++] = (query){row + h * d, row + h * d, first, last};
    }
    attend(queries, count, t->keys + of_head(t, g, key_bytes(d)), t->values + of_head(t, g, value_bytes(d)), d,
           m->attention_scale, &t->s->own[worker].attention);
    head = until;
  }
}

static void after_attention(const void *task, int r, int worker) {
  (void)worker;
  const step *t = task;
  quantise(t->s->wide + (size_t)r * t->l->qkv.outputs, t->m->heads * t->m->head_width, r, &t->s->row);
}

static void before_mlp(const void *task, int r, int worker) {
  const step *t = task;
  float *change = t->s->wide + (size_t)r * t->l->attention_out.outputs;
  add_row(t->m, t->x + (size_t)r * t->m->width, t->l->attention_out_norm, change);
  norm_row(t->m, t->x, t->l->mlp_norm, r, worker, t->s);
}

static void gate_row(const void *task, int r, int worker) {
  const step *t = task;
  float *inner = t->s->own[worker].inner;
  gate(t->s->wide + (size_t)r * t->l->mlp_in.outputs, t->m->mlp_width, t->m->gelu, inner);
  quantise(inner, t->m->mlp_width, r, &t->s->row);
}

static void after_mlp(const void *task, int r, int worker) {
  (void)worker;
  const step *t = task;
  add_row(t->m, t->x + (size_t)r * t->m->width, t->l->mlp_out_norm, t->s->wide + (size_t)r * t->l->mlp_out.outputs);
}

// Layers first … last−1 over x (rows, width) at positions start … start+rows−1, in place. Keys and values are
// (all layers, kv_heads, capacity, bytes of a position), as attention.h says; those of these layers are valid before
// `start`, and the new ones are written. `team` is open, or null: then one thread does it all, as it does when the other
// one stalls.
void green_run_layers(const model *m, int first, int last, float *x, int start, int rows, uint8_t *keys, uint8_t *values,
                      int capacity, const scratch *s, team *team) {
  const size_t cached = (size_t)m->kv_heads * capacity;  // heads and positions of a layer
  for (int i = first; i < last; i++) {
    const layer *l = &m->layers[i];
    for (int at = 0; at < rows; at += CHUNK) {
      if (team && atomic_load_explicit(&team->stalls, memory_order_relaxed) >= TOO_BUSY) {
        atomic_store_explicit(&team->open, 0, memory_order_release);
        team = NULL;
      }
      const int some = rows - at < CHUNK ? rows - at : CHUNK;
      const int halves = team && some <= PAIR ? 2 : 1;
      const step t = {m, l, x + (size_t)at * m->width, start + at, some, halves, capacity,
                      keys + i * cached * key_bytes(m->head_width), values + i * cached * value_bytes(m->head_width), s};
      const matrix *following = at + CHUNK < rows ? &l->qkv : i + 1 < last ? &l[1].qkv : NULL;
      share(team, before_attention, &t, some);
      product(team, &l->qkv, &l->attention_out, &s->row, some, s->wide, l->qkv.outputs);
      share(team, place, &t, (t.start + some - 1) / KEYS - t.start / KEYS + 1);
      share(team, attend_part, &t, (some + PAIR - 1) / PAIR * halves);
      share(team, after_attention, &t, some);
      product(team, &l->attention_out, &l->mlp_in, &s->row, some, s->wide, l->attention_out.outputs);
      share(team, before_mlp, &t, some);
      product(team, &l->mlp_in, &l->mlp_out, &s->row, some, s->wide, l->mlp_in.outputs);
      share(team, gate_row, &t, some);
      product(team, &l->mlp_out, following, &s->row, some, s->wide, l->mlp_out.outputs);
      share(team, after_mlp, &t, some);
    }
  }
  if (team) atomic_store_explicit(&team->open, 0, memory_order_release);
}

// Keys and values alone of layers first … last−1, made of x (rows, width) as it stands: if `settled`, by a layer's `entry`
// where it has one, and by qkv's own rows elsewhere. The other arguments are those of green_run_layers.
void green_enter(const model *m, int first, int last, float *x, int start, int rows, uint8_t *keys, uint8_t *values,
                     int capacity, const scratch *s, int settled) {
  const size_t cached = (size_t)m->kv_heads * capacity;
  const int queries = m->heads * m->head_width;
  for (int i = first; i < last; i++) {
    const layer *l = &m->layers[i];
    const matrix *qkv = &l->qkv;
    const int tile = queries / TILE;  // the first of keys; decoder.py serves no model whose queries end within one
    const matrix own = {qkv->records + (size_t)tile * (qkv->inputs / GROUP), qkv->outputs - tile * TILE, qkv->inputs};
    const matrix *kv = settled && l->entry.records ? &l->entry : &own;
    for (int at = 0, some; at < rows; at += some) {
      some = rows - at < CHUNK ? rows - at : CHUNK;
      const step t = {m, l, x + (size_t)at * m->width, start + at, some, 1, capacity,
                      keys + i * cached * key_bytes(m->head_width), values + i * cached * value_bytes(m->head_width), s};
      for (int r = 0; r < some; r++) before_attention(&t, r, 0);
      product(NULL, kv, NULL, &s->row, some, s->wide + tile * TILE, qkv->outputs);
      for (int r = 0; r < some; r++) place_row(&t, r, m->heads);
    }
  }
}

// The second thread of a team; it comes back when the first closes the team.
void green_help(team *team) { help(team); }

// out (count, width): rows of the embedding, (tokens, width) in bfloat16, times `scale`.
void green_embed(const model *m, const uint16_t *embedding, const int32_t *tokens, int count, float scale, float *out) {
  for (int t = 0; t < count; t++, out += m->width)
    for (int i = 0; i < m->width; i += LANES)
      store(out + i, load_half(embedding + (size_t)tokens[t] * m->width + i) * scale);
}

// out (rows, width) = x̂ + lens · (gain · x̂) with x̂ = x / rms(x): how the head is to read an exit's states x (models/reading.py).
void green_seen(const model *m, const matrix *lens, const float *gain, const float *x, int rows, float *out,
                const scratch *room) {
  const int width = m->width;
  for (int some; rows > 0; rows -= some, x += (size_t)some * width, out += (size_t)some * width) {
    some = rows < CHUNK ? rows : CHUNK;
    for (int r = 0; r < some; r++) norm_row(m, x, gain, r, 0, room);
    product(NULL, lens, NULL, &room->row, some, room->wide, lens->outputs);
    for (int r = 0; r < some; r++) {
      float *seen = out + (size_t)r * width;
      rms_norm(x + (size_t)r * width, NULL, width, m->norm_eps, seen);
      add_row(m, seen, NULL, room->wide + (size_t)r * lens->outputs);
    }
  }
}

// out (rows, head.outputs) = head · norm(x).
void green_logits(const model *m, const float *norm, const matrix *head, const float *x, int rows, float *out,
                  const scratch *s) {
  for (int some; rows > 0; rows -= some, x += (size_t)some * m->width, out += (size_t)some * head->outputs) {
    some = rows < CHUNK ? rows : CHUNK;
    for (int r = 0; r < some; r++) norm_row(m, x, norm, r, 0, s);
    product(NULL, head, NULL, &s->row, some, out, head->outputs);
  }
}

// rows ≤ LOOKS states x (rows, width) as the head is to read them: through a lens with its gain, where there is one.
static const float *as_seen(const model *m, const matrix *lens, const float *gain, const float *x, int rows,
                            const scratch *room) {
  if (!lens) return x;
  green_seen(m, lens, gain, x, rows, room->seen, room);
  return room->seen;
}

// What the head says of each of rows ≤ LOOKS states x (rows, width), seen through a lens with its gain, where there is one.
void green_look(const model *m, const float *norm, const screen *s, const matrix *lens, const float *gain, const float *x,
                int rows, top *out, const scratch *room) {
  const int rank = s->preview.inputs, tokens = s->preview.outputs;
  float *normed = room->own[0].normed;
  x = as_seen(m, lens, gain, x, rows, room);
  for (int r = 0; r < rows; r++) {
    rms_norm(x + (size_t)r * m->width, norm, m->width, m->norm_eps, normed);
    for (int i = 0; s->down && i < rank; i++) room->wide[i] = dot(s->down + (size_t)i * m->width, normed, m->width);
    quantise(s->down ? room->wide : normed, rank, r, &room->row);
  }
  product(NULL, &s->preview, NULL, &room->row, rows, room->wide, tokens);
  for (int r = 0; r < rows; r++) {
    if (s->rows) rms_norm(x + (size_t)r * m->width, norm, m->width, m->norm_eps, normed);
    out[r] = likeliest(s, room->wide + (size_t)r * tokens, normed, m->width);
  }
}

// Of `count` ≤ s->tokens tokens the one that the head likes best for a state x (width), seen as in green_look; of equals the first.
// −1 where one is no token of its. s->rows must be there.
int32_t green_best(const model *m, const float *norm, const screen *s, const matrix *lens, const float *gain, const float *x,
                   const int32_t *tokens, int count, const scratch *room) {
  float *normed = room->own[0].normed, *scores = room->wide;
  for (int i = 0; i < count; i++)
    if (tokens[i] < 0 || tokens[i] >= s->tokens) return -1;
  rms_norm(as_seen(m, lens, gain, x, 1, room), norm, m->width, m->norm_eps, normed);
  score_rows(s->rows, tokens, count, normed, m->width, scores);
  int best = 0;
  for (int i = 1; i < count; i++) best = scores[i] > scores[best] ? i : best;
  return tokens[best];
}

// P(EXIT) for one state x (width) at the exit of index `exit`, where going on costs `debt` and the head says `odds` and `margin`.
float green_judge(const model *m, const judge *j, int exit, const float *x, int debt, float odds, float margin) {
  return judged(j, exit, x, m->width, debt, odds, margin);
}

int green_group(void) { return GROUP; }
int green_tile(void) { return TILE; }
int green_chunk(void) { return CHUNK; }
int green_block(void) { return BLOCK; }
int green_piece(void) { return PIECE; }
int green_key_bytes(int width) { return (int)key_bytes(width); }
int green_value_bytes(int width) { return (int)value_bytes(width); }
int green_queries(void) { return QUERIES; }
int green_looks(void) { return LOOKS; }
int green_candidates(void) { return CANDIDATES; }
int green_sizes(void) {
  return (int)(sizeof(layer) + sizeof(model) + sizeof(scratch) + sizeof(team) + sizeof(judge) + sizeof(screen) + sizeof(top) +
               sizeof(piece));
}
