// The levels that this processor runs: bit 3 AVX512-VNNI, bit 2 AVX-VNNI, bit 1 AVX2 with FMA, bit 0
// the portable one (on arm64: bit 1 the dot product instructions). Built once, for the oldest processor.

#include <stdint.h>

#if defined(__x86_64__)

#include <cpuid.h>

// Registers that the operating system saves at a context switch; vectors need it to.
static uint64_t saved_state(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

int green_levels(void) {
  uint32_t a, b, c, d, b7 = 0, c7 = 0, d7 = 0, a71 = 0;
  int levels = 1;
  const uint32_t v3 = bit_OSXSAVE | bit_FMA | bit_MOVBE | bit_F16C;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & v3) != v3) return levels;
  if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c & 1u << 5)) return levels;  // LZCNT
  const uint64_t saved = saved_state();
  if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7) || (saved & 0x6) != 0x6 || !(b7 & bit_AVX2) ||
      !(b7 & bit_BMI) || !(b7 & bit_BMI2))
    return levels;
  levels |= 2;
  const uint32_t leaves = a;
  if (leaves >= 1 && __get_cpuid_count(7, 1, &a71, &b, &c, &d) && (a71 & 1u << 4)) levels |= 4;
  const uint32_t avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL | bit_AVX512CD;
  if ((saved & 0xe6) == 0xe6 && (b7 & avx512) == avx512 && (c7 & 1u << 11)) levels |= 8;
  return levels;
}

#elif defined(__aarch64__) && defined(__linux__)

#include <sys/auxv.h>

int green_levels(void) { return 1 | (getauxval(AT_HWCAP) & 1ul << 20 ? 2 : 0); }  // HWCAP_ASIMDDP

#elif defined(__aarch64__) && defined(__APPLE__)

int green_levels(void) { return 3; }  // every Apple processor since the M1 has them

#else

int green_levels(void) { return 1; }

#endif
