// The model as the kernel takes it, and working memory. decoder.py owns all of it; checks.h has what must hold of it.

#ifndef DECODER_H
#define DECODER_H

#include "attention.h"
#include "gemm.h"
#include "thread_pool.h"

#define CHUNK 64         // rows that go through a layer together; bounds the scratch
#define ROTARY_BLOCK 16  // components that are rotated side by side

// LayerNorm where there is a bias, RMSNorm otherwise; without a gain the family has no such norm.
typedef struct {
  const float *gain, *bias;
} norm;

typedef struct {
  matrix qkv, attention_out, mlp_in, mlp_out;  // keys begin at a tile of qkv, behind as many queries as attention_out has inputs
  const float *qkv_bias, *attention_out_bias, *mlp_in_bias, *mlp_out_bias;  // null where the family has none
  norm attention_norm, attention_out_norm, mlp_norm, mlp_out_norm;
  const float *q_norm, *k_norm;  // gains of RMSNorms; null where the family has none
  const float *cosines, *sines;  // (positions, rotary_width/2 in whole ROTARY_BLOCKs); null: the layer does not rotate
  int32_t window;                // positions that attention sees, its own included; 0: all
  matrix kv_projection;          // keys and values of propagated states; without records, those rows of qkv serve
} layer;

enum { SILU, GELU_TANH, GELU, RELU };

// Widths are whole groups: rows of states, of weights and of heads end in zeros. `true_` ones are those that norms divide by.
typedef struct {
  const layer *layers;
  int32_t layer_count, tokens;  // tokens: rows of the embedding
  int32_t width, heads, kv_heads, head_width, mlp_width, true_width, true_head_width, rotary_width;
  int32_t activation, gated;
  float norm_eps, attention_scale, attention_softcap, logit_softcap;  // softcaps: 0 where there is none
  norm final_norm;
} model;

// Working memory of one thread.
typedef struct {
  float *normed;  // (width)
  float *inner;   // (mlp_width)
  attention_scratch attention;
} thread_scratch;

// Working memory, the shared part first.
typedef struct {
  quantised_rows input;  // of a product: CHUNK rows of up to `inputs`
  float *output;         // of a product: `outputs` floats, enough for CHUNK rows of any matrix, and for HEAD_ROWS of the head
  float *lensed;         // (HEAD_ROWS, width)
  thread_scratch *threads;  // (workers): one for each thread that may take part
  int64_t outputs;
  int32_t inputs, positions, workers;  // positions: whole blocks, of which there are rotary angles, and room for scores
} scratch;

#endif
