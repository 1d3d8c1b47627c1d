// Vectors of 32-bit lanes, and the one operation that instruction sets do differently: a dot product of bytes.
//
// A level is chosen when this file is compiled, by -march alone. Every integer result is the same at every level.

#ifndef LANES_H
#define LANES_H

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
typedef uint16_t vh __attribute__((vector_size(2 * LANES)));

#define INLINE static inline __attribute__((always_inline))

INLINE vf load(const float *from) {
  vf v;
  memcpy(&v, from, sizeof v);
  return v;
}

INLINE void store(float *to, vf v) { memcpy(to, &v, sizeof v); }

// Less zero, not plus zero: that would be an addition indeed, for the sake of −0.
INLINE vf all(float x) { return x - (vf){0}; }

INLINE vf fma_(vf a, vf b, vf c) { return __builtin_elementwise_fma(a, b, c); }

INLINE vf larger(vf a, vf b) { return __builtin_elementwise_max(a, b); }

INLINE vf magnitude(vf a) { return __builtin_elementwise_abs(a); }

INLINE vf smaller(vf a, vf b) { return __builtin_elementwise_min(a, b); }

// Into a cache that holds more than the nearest.
INLINE void fetch(const void *from) { __builtin_prefetch(from, 0, 2); }

// Tells the processor that this is a loop that waits.
INLINE void relax(void) {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");  // yield does nothing on most processors
#endif
}

// bfloat16: the upper half of a float.
INLINE vf load_half(const uint16_t *from) {
  vh v;
  memcpy(&v, from, sizeof v);
  return (vf)(__builtin_convertvector(v, vu) << 16);
}

INLINE float sum(vf v) {
  float lanes[LANES];
  store(lanes, v);
  for (int half = LANES / 2; half; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  return lanes[0];
}

INLINE float largest(vf v) {
  float lanes[LANES];
  store(lanes, v);
  for (int half = LANES / 2; half; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
  return lanes[0];
}

// One side of a product of bytes, the stored one, is w + OFFSET, which is what x86's instructions take: unsigned times signed.
// What that adds, OFFSET times the sum of the other side, is taken off by starting the sum at `first_sum`.

#define OFFSET 128

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#define OFFSET_WEIGHTS 1
#else
#define OFFSET_WEIGHTS 0
#endif

INLINE vi first_sum(int32_t others) { return (vi){0} - (OFFSET_WEIGHTS ? OFFSET * others : 0); }

// sums[lane] += Σ over 4 of weight[4·lane + i] · four[i], for one vector of weights.
INLINE vi dot4(vi sums, const uint8_t *weights, int32_t four) {
#if defined(__AVX512VNNI__)
  return (vi)_mm512_dpbusd_epi32((__m512i)sums, _mm512_loadu_si512(weights), _mm512_set1_epi32(four));
#elif defined(__AVXVNNI__)
  return (vi)_mm256_dpbusd_avx_epi32((__m256i)sums, _mm256_loadu_si256((const __m256i *)weights),
                                     _mm256_set1_epi32(four));
#elif defined(__AVX2__)
  // |x|·(w with x's sign): with both within ±127 a pair's sum stays within 16 bits, so nothing saturates. (A cache's bytes that were
  // never written are −128, whose sign is not turned; nothing that comes of them is used.)
  __m256i x = _mm256_set1_epi32(four);
  __m256i w = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)weights), _mm256_set1_epi8((char)OFFSET));
  __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(w, x));
  return sums + (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#elif defined(__ARM_FEATURE_DOTPROD)
  int8x16_t w = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(weights), vdupq_n_u8(OFFSET)));
  return (vi)vdotq_s32((int32x4_t)sums, w, vreinterpretq_s8_s32(vdupq_n_s32(four)));
#else
  int8_t x[4];
  memcpy(x, &four, 4);
  for (int lane = 0; lane < LANES; lane++)
    for (int i = 0; i < 4; i++) sums[lane] += ((int32_t)weights[4 * lane + i] - OFFSET) * x[i];
  return sums;
#endif
}

// e^x for x ≤ 0 and moderate x > 0: 2^n · p(r), with the polynomial of Cephes' expf (S. Moshier). Relative error < 2e-7.
INLINE vf exponential(vf x) {
  x = larger(x, all(-87.0f));
  vf n = __builtin_elementwise_rint(x * 1.44269504f);
  vf r = fma_(n, all(-0.693359375f), x);
  r = fma_(n, all(2.12194440e-4f), r);
  vf p = all(1.9875691500e-4f);
  p = fma_(p, r, all(1.3981999507e-3f));
  p = fma_(p, r, all(8.3334519073e-3f));
  p = fma_(p, r, all(4.1665795894e-2f));
  p = fma_(p, r, all(1.6666665459e-1f));
  p = fma_(p, r, all(5.0000001201e-1f));
  p = fma_(p, r * r, r + 1.0f);
  vi scale = (__builtin_convertvector(n, vi) + 127) << 23;
  return p * (vf)scale;
}

#endif
