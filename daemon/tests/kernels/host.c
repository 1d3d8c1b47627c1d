// A program without Python: quantises rows and multiplies them with weights of 8 and of 4 bits, and prints a hash of every result.
// Compiled for another platform and run there, it must print what it prints here. With FREESTANDING it needs no C library, which
// would take minutes to compile for each platform. With the names of two libraries, a level's and the one that tells levels apart, it
// loads these and calls them.

#include "gemm.h"

#if defined(FREESTANDING)

static long system_call(long number, long a, long b, long c) {
  register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
  return x0;
}

static void put(const char *text, size_t length) { system_call(64, 1, (long)text, (long)length); }

void *memset(void *to, int byte, size_t count) {
  for (volatile uint8_t *each = to; count--; each++) *each = (uint8_t)byte;
  return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t count) {
  volatile uint8_t *each = to;
  for (const uint8_t *next = from; count--;) *each++ = *next++;
  return to;
}

#else

#include <stdio.h>

#ifdef _WIN32
#include <windows.h>

static void *opened(const char *path) { return (void *)LoadLibraryA(path); }
static void *entry(void *library, const char *name) { return (void *)GetProcAddress((HMODULE)library, name); }
#else
#include <dlfcn.h>

static void *opened(const char *path) { return dlopen(path, RTLD_NOW); }  // finds all that the library needs, now
static void *entry(void *library, const char *name) { return dlsym(library, name); }
#endif

static void put(const char *text, size_t length) { fwrite(text, 1, length, stdout); }

#endif

enum { OUTPUTS_MAX = 192, INPUTS_MAX = 704, ROWS_MAX = 21 };

static _Alignas(LINE) uint8_t records[OUTPUTS_MAX / TILE * (INPUTS_MAX / GROUP) * sizeof(record8)];
static _Alignas(LINE) float x[ROWS_MAX * INPUTS_MAX], out[ROWS_MAX * OUTPUTS_MAX], scales[ROWS_MAX * INPUTS_MAX / GROUP];
static _Alignas(LINE) int8_t values[ROWS_MAX * INPUTS_MAX];
static _Alignas(LINE) int32_t sums[ROWS_MAX * INPUTS_MAX / NIBBLE_GROUP];

static uint32_t state = 1;

// A linear congruential generator (Numerical Recipes): the same numbers on every platform.
static uint32_t next_random(void) { return state = state * 1664525u + 1013904223u; }

#define FNV_START 14695981039346656037u

static uint64_t hash(uint64_t before, const void *data, size_t bytes) {  // FNV-1a
  const uint8_t *each = data;
  for (size_t i = 0; i < bytes; i++) before = (before ^ each[i]) * 1099511628211u;
  return before;
}

// Records whose weights are what quantise.py may write: bytes of 1 … 255, any nibbles, bfloat16 scales of 2^-10 … 2^-3.
static void draw_weights(int outputs, int inputs, int bits) {
  const size_t count = (size_t)outputs / TILE * (inputs / GROUP), bytes = record_bytes(bits);
  for (size_t r = 0; r < count; r++) {
    if (bits == 8) {
      record8 *to = (record8 *)(records + r * bytes);
      for (size_t i = 0; i < sizeof to->weights; i++) ((uint8_t *)to->weights)[i] = (uint8_t)(1 + (next_random() >> 8) % 255);
      for (int t = 0; t < TILE; t++) to->scales[t] = (uint16_t)(0x3a80 + (next_random() >> 8) % 0x380);
    } else {
      record4 *to = (record4 *)(records + r * bytes);
      for (size_t i = 0; i < sizeof to->weights; i++) ((uint8_t *)to->weights)[i] = (uint8_t)(next_random() >> 16);
      for (int t = 0; t < HALVES * TILE; t++) {
        const uint32_t scale = 0x3a80 + (next_random() >> 8) % 0x380, least = 0xba80 + (next_random() >> 8) % 0x380;
        ((uint32_t *)to->scales)[t] = scale << 16 | least;
      }
    }
  }
}

static void put_hash(uint64_t number) {
  char digits[17] = {[16] = '\n'};
  for (int i = 15; i >= 0; i--, number >>= 4) digits[i] = "0123456789abcdef"[number & 15];
  put(digits, sizeof digits);
}

static void products(int outputs, int inputs, int bits) {
  draw_weights(outputs, inputs, bits);
  const quantised_rows rows = {values, scales, sums};
  for (int i = 0; i < ROWS_MAX * inputs; i++) x[i] = (float)(int32_t)next_random() * 0x1p-28f;
  for (int r = 0; r < ROWS_MAX; r++) quantise_row(x + (size_t)r * inputs, inputs, r, &rows);
  uint64_t quantised = hash(FNV_START, values, (size_t)ROWS_MAX * inputs);
  quantised = hash(quantised, scales, sizeof(float) * ROWS_MAX * (inputs / GROUP));
  put_hash(hash(quantised, sums, sizeof(int32_t) * ROWS_MAX * (inputs / NIBBLE_GROUP)));
  const matrix m = {records, outputs, inputs, bits};
  const int counts[] = {1, 2, 3, 5, 8, 17, ROWS_MAX};
  uint64_t all = FNV_START;
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    memset(out, 0, sizeof out);
    gemm(NULL, &m, &m, &rows, counts[i], out, outputs);
    all = hash(all, out, sizeof(float) * counts[i] * outputs);
  }
  put_hash(all);
}

static void all_products(void) {
  for (int bits = 8; bits >= 4; bits -= 4) {
    products(128, 64, bits);
    products(64, 448, bits);
    products(192, 704, bits);
  }
}

#if defined(FREESTANDING)
void _start(void) {
  all_products();
  system_call(93, 0, 0, 0);
}
#else
static int call_library(const char *path, const char *levels) {
  void *library = opened(path), *tells = opened(levels);
  if (!library || !tells) return fprintf(stderr, "cannot be loaded: %s\n", library ? levels : path), 1;
  int (*abi)(void) = (int (*)(void))entry(library, "green_abi");
  int (*key_bytes)(int) = (int (*)(int))entry(library, "green_key_bytes");
  int (*which)(void) = (int (*)(void))entry(tells, "green_levels");
  const char *const entries[] = {"green_run_layers", "green_project_kv", "green_run_helper", "green_embed", "green_apply_lens",
                                 "green_logits", "green_top_tokens", "green_top_token_among", "green_exit_probability",
                                 "green_value_bytes", "green_layout", "green_constants"};
  for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
    if (!entry(library, entries[i])) return fprintf(stderr, "%s is missing\n", entries[i]), 1;
  if (!abi || !key_bytes || !which) return fprintf(stderr, "an entry is missing\n"), 1;
  return printf("abi %d, bytes of a key %d, levels %d\n", abi(), key_bytes(64), which() & 1), 0;
}

int main(int count, char **arguments) {
  if (count == 3) return call_library(arguments[1], arguments[2]);
  if (count != 1) return fprintf(stderr, "usage: %s [library library]\n", arguments[0]), 2;
  return all_products(), 0;
}
#endif
