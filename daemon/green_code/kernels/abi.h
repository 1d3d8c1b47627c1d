// What Python must know of these sources. binding.py compares all of it with its own when it loads a library.

#ifndef ABI_H
#define ABI_H

#include "attention.h"
#include "decoder.h"
#include "exit_classifier.h"
#include "gemm.h"
#include "svd_head.h"
#include "thread_pool.h"

#define GREEN_ABI 5  // raised whenever a function's arguments, or the meaning of data, change

typedef struct {
  const char *name;  // null after the last entry
  double value;
} abi_entry;

#define SIZE(type) {"sizeof(" #type ")", sizeof(type)}
#define OFFSET(type, field) {"offsetof(" #type ", " #field ")", offsetof(type, field)}
#define CONSTANT(name) {#name, name}

// Sizes of the shared structures, and offsets of their fields.
static const abi_entry abi_layout[] = {
  SIZE(matrix), OFFSET(matrix, records), OFFSET(matrix, outputs), OFFSET(matrix, inputs), OFFSET(matrix, bits),
  SIZE(norm), OFFSET(norm, gain), OFFSET(norm, bias),
  SIZE(layer), OFFSET(layer, qkv), OFFSET(layer, attention_out), OFFSET(layer, mlp_in), OFFSET(layer, mlp_out),
  OFFSET(layer, qkv_bias), OFFSET(layer, attention_out_bias), OFFSET(layer, mlp_in_bias), OFFSET(layer, mlp_out_bias),
  OFFSET(layer, attention_norm), OFFSET(layer, attention_out_norm), OFFSET(layer, mlp_norm), OFFSET(layer, mlp_out_norm),
  OFFSET(layer, q_norm), OFFSET(layer, k_norm), OFFSET(layer, cosines), OFFSET(layer, sines), OFFSET(layer, window),
  OFFSET(layer, kv_projection),
  SIZE(model), OFFSET(model, layers), OFFSET(model, layer_count), OFFSET(model, tokens), OFFSET(model, width), OFFSET(model, heads), OFFSET(model, kv_heads),
  OFFSET(model, head_width), OFFSET(model, mlp_width), OFFSET(model, true_width),
  OFFSET(model, true_head_width), OFFSET(model, rotary_width), OFFSET(model, activation), OFFSET(model, gated),
  OFFSET(model, norm_eps), OFFSET(model, attention_scale), OFFSET(model, attention_softcap), OFFSET(model, logit_softcap),
  OFFSET(model, final_norm),
  SIZE(quantised_rows), OFFSET(quantised_rows, values), OFFSET(quantised_rows, scales), OFFSET(quantised_rows, sums),
  SIZE(int8_group), OFFSET(int8_group, values), OFFSET(int8_group, scale), OFFSET(int8_group, sum),
  SIZE(attention_scratch), OFFSET(attention_scratch, queries), OFFSET(attention_scratch, scores),
  SIZE(thread_scratch), OFFSET(thread_scratch, normed), OFFSET(thread_scratch, inner), OFFSET(thread_scratch, attention),
  SIZE(scratch), OFFSET(scratch, input), OFFSET(scratch, output), OFFSET(scratch, lensed), OFFSET(scratch, threads),
  OFFSET(scratch, outputs), OFFSET(scratch, inputs), OFFSET(scratch, positions), OFFSET(scratch, workers),
  SIZE(thread_pool), OFFSET(thread_pool, job), OFFSET(thread_pool, function), OFFSET(thread_pool, task),
  OFFSET(thread_pool, parts), OFFSET(thread_pool, helped), OFFSET(thread_pool, open), OFFSET(thread_pool, stalls),
  OFFSET(thread_pool, workers),
  SIZE(exit_classifier), OFFSET(exit_classifier, hidden), OFFSET(exit_classifier, width), OFFSET(exit_classifier, exits),
  OFFSET(exit_classifier, inner), OFFSET(exit_classifier, biases),
  OFFSET(exit_classifier, action), OFFSET(exit_classifier, action_bias), OFFSET(exit_classifier, pending_unit),
  OFFSET(exit_classifier, log_odds_within),
  SIZE(svd_head), OFFSET(svd_head, down), OFFSET(svd_head, preview), OFFSET(svd_head, rows), OFFSET(svd_head, tokens),
  SIZE(top_token), OFFSET(top_token, token), OFFSET(top_token, log_odds), OFFSET(top_token, margin),
  {0},
};

static const abi_entry abi_constants[] = {
  CONSTANT(GROUP), CONSTANT(NIBBLE_GROUP), CONSTANT(TILE), CONSTANT(ZERO_POINT), CONSTANT(QUANTISED_MAX), CONSTANT(CHUNK),
  CONSTANT(ROTARY_BLOCK), CONSTANT(SILU), CONSTANT(GELU_TANH), CONSTANT(GELU), CONSTANT(RELU),
  CONSTANT(VALUE_BLOCK), CONSTANT(HEAD_GROUP), CONSTANT(MAX_QUERIES), CONSTANT(UNIT_BLOCK), CONSTANT(EXTRA_FEATURES),
  CONSTANT(HEAD_ROWS), CONSTANT(CANDIDATES), CONSTANT(LOGIT_RANGE), CONSTANT(MAX_LOG_ODDS),
  {0},
};

#endif
