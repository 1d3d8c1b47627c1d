// The model as the kernel takes it, and working memory. decoder.py owns all of it and checks every bound.

#ifndef DECODER_H
#define DECODER_H

#include "attention.h"
#include "gemm.h"
#include "thread_pool.h"

#define CHUNK 64  // rows that go through a layer together; bounds the scratch

typedef struct {
  matrix qkv, attention_out, mlp_in, mlp_out;
  // Gains; null where the family has no such norm.
  const float *attention_norm, *q_norm, *k_norm, *attention_out_norm, *mlp_norm, *mlp_out_norm;
  const float *cosines, *sines;  // (positions, head_width/2)
  int32_t window;                // positions that attention sees, its own included; 0: all
  matrix kv_projection;          // keys and values of propagated states; without records, those rows of qkv serve
} layer;

typedef struct {
  const layer *layers;
  int32_t width, heads, kv_heads, head_width, mlp_width;
  int32_t gelu;  // 1: gelu (tanh), 0: silu
  float norm_eps, attention_scale;
} model;

// Working memory of one thread.
typedef struct {
  float *normed;  // (width)
  float *inner;   // (mlp_width)
  attention_scratch attention;
} thread_scratch;

// Working memory, the shared part first.
typedef struct {
  quantised_rows input;  // of a product
  float *output;         // of a product: (CHUNK, the widest of a layer's matrices), or (HEAD_ROWS, tokens) where that is more
  float *lensed;         // (HEAD_ROWS, width)
  thread_scratch threads[WORKERS];
} scratch;

#endif
