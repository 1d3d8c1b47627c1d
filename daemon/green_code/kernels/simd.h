// Vectors of 32-bit lanes, and the one operation that differs between instruction sets: a dot product of bytes.
//
// The compiler's -march alone chooses the level. Integer results are the same at every level.

#ifndef SIMD_H
#define SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef int8_t vb __attribute__((vector_size(LANES)));
typedef uint8_t vn __attribute__((vector_size(4 * LANES)));
typedef uint16_t vh __attribute__((vector_size(2 * LANES)));

#define INLINE static inline __attribute__((always_inline))

INLINE vf load(const float *from) {
  vf v;
  memcpy(&v, from, sizeof v);
  return v;
}

INLINE void store(float *to, vf v) { memcpy(to, &v, sizeof v); }

// x − 0 costs nothing. x + 0 would be an addition that the compiler must keep, because it changes −0.
INLINE vf broadcast(float x) { return x - (vf){0}; }

INLINE vf fma_(vf a, vf b, vf c) { return __builtin_elementwise_fma(a, b, c); }

INLINE vf max_(vf a, vf b) { return __builtin_elementwise_max(a, b); }

INLINE vf min_(vf a, vf b) { return __builtin_elementwise_min(a, b); }

INLINE vf abs_(vf a) { return __builtin_elementwise_abs(a); }

// Into the second-level cache.
INLINE void prefetch(const void *from) { __builtin_prefetch(from, 0, 2); }

// The processor's hint for a spin loop.
INLINE void pause_(void) {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");  // yield does nothing on most processors
#endif
}

// bfloat16 is the upper half of a float.
INLINE vf load_bf16(const uint16_t *from) {
  vh v;
  memcpy(&v, from, sizeof v);
  return (vf)(__builtin_convertvector(v, vu) << 16);
}

INLINE float reduce_add(vf v) {
  float lanes[LANES];
  store(lanes, v);
  for (int half = LANES / 2; half; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  return lanes[0];
}

INLINE float reduce_max(vf v) {
  float lanes[LANES];
  store(lanes, v);
  for (int half = LANES / 2; half; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
  return lanes[0];
}

// x86 multiplies unsigned by signed bytes. So weights, keys and values are stored as w + ZERO_POINT. Where the instruction takes
// them as they are, the surplus is ZERO_POINT times the sum of the other factor's bytes; `dot4_start` subtracts it in advance.

#define ZERO_POINT 128

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#define MULTIPLIES_UNSIGNED 1
#else
#define MULTIPLIES_UNSIGNED 0
#endif

INLINE vi dot4_start(int32_t sum) { return (vi){0} - (MULTIPLIES_UNSIGNED ? ZERO_POINT * sum : 0); }

// sums[lane] += Σ over i < 4 of weights[4·lane + i] · four[i], for one vector of weights.
INLINE vi dot4(vi sums, const uint8_t *weights, int32_t four) {
#if defined(__AVX512VNNI__)
  return (vi)_mm512_dpbusd_epi32((__m512i)sums, _mm512_loadu_si512(weights), _mm512_set1_epi32(four));
#elif defined(__AVXVNNI__)
  return (vi)_mm256_dpbusd_avx_epi32((__m256i)sums, _mm256_loadu_si256((const __m256i *)weights),
                                     _mm256_set1_epi32(four));
#elif defined(__AVX2__)
  // |x| · (w with the sign of x): both are within ±127, so a pair's sum fits into 16 bits. Bytes of the cache that were never
  // written are −128, whose sign does not change; no result depends on them.
  __m256i x = _mm256_set1_epi32(four);
  __m256i w = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)weights), _mm256_set1_epi8((char)ZERO_POINT));
  __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(w, x));
  return sums + (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#elif defined(__ARM_FEATURE_DOTPROD)
  int8x16_t w = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(weights), vdupq_n_u8(ZERO_POINT)));
  return (vi)vdotq_s32((int32x4_t)sums, w, vreinterpretq_s8_s32(vdupq_n_s32(four)));
#else
  int8_t x[4];
  memcpy(x, &four, 4);
  for (int lane = 0; lane < LANES; lane++)
    for (int i = 0; i < 4; i++) sums[lane] += ((int32_t)weights[4 * lane + i] - ZERO_POINT) * x[i];
  return sums;
#endif
}

// Sums of products of nibbles, for at most NIBBLE_FOURS calls of `dot4_nibbles`. AVX2 alone adds pairs in 16 bits: 2 · NIBBLE_FOURS ·
// 15 · 127 fits.

#define NIBBLE_FOURS 8

#if defined(__AVX2__) && !MULTIPLIES_UNSIGNED
typedef int16_t nibble_sums __attribute__((vector_size(4 * LANES)));
#else
typedef vi nibble_sums;
#endif

INLINE vn load_bytes(const uint8_t *from) {
  vn v;
  memcpy(&v, from, sizeof v);
  return v;
}

// sums[lane] += Σ over i < 4 of weights[4·lane + i] · four[i], with weights of 0 … 15 and values within ±127.
INLINE nibble_sums dot4_nibbles(nibble_sums sums, vn weights, int32_t four) {
#if defined(__AVX512VNNI__)
  return (vi)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)weights, _mm512_set1_epi32(four));
#elif defined(__AVXVNNI__)
  return (vi)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)weights, _mm256_set1_epi32(four));
#elif defined(__AVX2__)
  return sums + (nibble_sums)_mm256_maddubs_epi16((__m256i)weights, _mm256_set1_epi32(four));
#elif defined(__ARM_FEATURE_DOTPROD)
  return (vi)vdotq_s32((int32x4_t)sums, vreinterpretq_s8_u8((uint8x16_t)weights), vreinterpretq_s8_s32(vdupq_n_s32(four)));
#else
  int8_t x[4];
  memcpy(x, &four, 4);
  for (int lane = 0; lane < LANES; lane++)
    for (int i = 0; i < 4; i++) sums[lane] += (int32_t)weights[4 * lane + i] * x[i];
  return sums;
#endif
}

INLINE vi widen_sums(nibble_sums sums) {
#if defined(__AVX2__) && !MULTIPLIES_UNSIGNED
  return (vi)_mm256_madd_epi16((__m256i)sums, _mm256_set1_epi16(1));
#else
  return sums;
#endif
}

// e^x for x ≤ 0 and moderate x > 0, as 2^n · p(r) with the polynomial of Cephes' expf (S. Moshier). Relative error < 2e-7.
INLINE vf exp_(vf x) {
  x = max_(x, broadcast(-87.0f));
  vf n = __builtin_elementwise_rint(x * 1.44269504f);
  vf r = fma_(n, broadcast(-0.693359375f), x);
  r = fma_(n, broadcast(2.12194440e-4f), r);
  vf p = broadcast(1.9875691500e-4f);
  p = fma_(p, r, broadcast(1.3981999507e-3f));
  p = fma_(p, r, broadcast(8.3334519073e-3f));
  p = fma_(p, r, broadcast(4.1665795894e-2f));
  p = fma_(p, r, broadcast(1.6666665459e-1f));
  p = fma_(p, r, broadcast(5.0000001201e-1f));
  p = fma_(p, r * r, r + 1.0f);
  vi scale = (__builtin_convertvector(n, vi) + 127) << 23;
  return p * (vf)scale;
}

// tanh z = 1 − 2/(1 + e^2z).
INLINE vf tanh_(vf z) {
  vf doubled = min_(max_(z + z, broadcast(-60.0f)), broadcast(60.0f));
  return 1.0f - 2.0f / (1.0f + exp_(doubled));
}

// x (count, whole vectors) → cap · tanh(x / cap) (Gemma 2, arXiv 2408.00118); as it is where `cap` is 0.
INLINE void softcap(float *x, int count, float cap) {
  if (cap == 0.0f) return;
  for (int i = 0; i < count; i += LANES) store(x + i, tanh_(load(x + i) / cap) * cap);
}

#endif
