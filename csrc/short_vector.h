// Vectors of 16-bit integers. The vector extension of GCC and Clang has no counterpart of their
// saturating and rounding arithmetic, so x86 uses intrinsics.
#pragma once

#include <cstdint>

#include "simd.h"

namespace craft::CRAFT_ISA {

inline constexpr int kShorts = kVectorBytes / 2;

typedef int16_t ShortVector __attribute__((vector_size(kVectorBytes)));

CRAFT_INLINE ShortVector load(const int16_t* p) {
  ShortVector v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

CRAFT_INLINE void store(int16_t* p, ShortVector v) { __builtin_memcpy(p, &v, sizeof v); }

CRAFT_INLINE ShortVector splat(int16_t x) { return x - ShortVector{}; }

CRAFT_INLINE ShortVector max(ShortVector a, ShortVector b) {
#if defined(__AVX512BW__)
  return (ShortVector)_mm512_max_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (ShortVector)_mm256_max_epi16((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
  return (ShortVector)_mm_max_epi16((__m128i)a, (__m128i)b);
#else
  return a > b ? a : b;
#endif
}

// a - b, saturated to 16 bits.
CRAFT_INLINE ShortVector saturated_difference(ShortVector a, ShortVector b) {
#if defined(__AVX512BW__)
  return (ShortVector)_mm512_subs_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (ShortVector)_mm256_subs_epi16((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
  return (ShortVector)_mm_subs_epi16((__m128i)a, (__m128i)b);
#else
  ShortVector result;
  for (int i = 0; i < kShorts; ++i) {
    const int difference = a[i] - b[i];
    result[i] = static_cast<int16_t>(difference > 32767    ? 32767
                                     : difference < -32768 ? -32768
                                                           : difference);
  }
  return result;
#endif
}

// a * b / 2^15 rounded to the nearest integer, halves upwards. Not for a = b = -2^15.
CRAFT_INLINE ShortVector scaled_product(ShortVector a, ShortVector b) {
#if defined(__AVX512BW__)
  return (ShortVector)_mm512_mulhrs_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (ShortVector)_mm256_mulhrs_epi16((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
  // The high half of the product, doubled, plus what the two highest bits of the low half add.
  const __m128i high = _mm_mulhi_epi16((__m128i)a, (__m128i)b);
  const __m128i low = _mm_srli_epi16(_mm_mullo_epi16((__m128i)a, (__m128i)b), 14);
  const __m128i carry = _mm_srli_epi16(_mm_add_epi16(low, _mm_set1_epi16(1)), 1);
  return (ShortVector)_mm_add_epi16(_mm_add_epi16(high, high), carry);
#else
  ShortVector result;
  for (int i = 0; i < kShorts; ++i) {
    result[i] = static_cast<int16_t>((a[i] * b[i] + 0x4000) >> 15);
  }
  return result;
#endif
}

// kShorts floats, rounded to the nearest integers and saturated to 16 bits; NaN becomes any
// integer.
CRAFT_INLINE ShortVector to_shorts(FloatVector first, FloatVector second) {
#if defined(__AVX512BW__)
  const __m512i pairs =
      _mm512_packs_epi32(_mm512_cvtps_epi32((__m512)first), _mm512_cvtps_epi32((__m512)second));
  return (ShortVector)_mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), pairs);
#elif defined(__AVX2__)
  const __m256i pairs =
      _mm256_packs_epi32(_mm256_cvtps_epi32((__m256)first), _mm256_cvtps_epi32((__m256)second));
  return (ShortVector)_mm256_permute4x64_epi64(pairs, 0xd8);
#elif defined(__x86_64__)
  return (ShortVector)_mm_packs_epi32(_mm_cvtps_epi32((__m128)first),
                                      _mm_cvtps_epi32((__m128)second));
#else
  ShortVector result;
  for (int i = 0; i < kShorts; ++i) {
    const float x = i < kFloats ? first[i] : second[i - kFloats];
    const float shifted = x + 0x1.8p23f - 0x1.8p23f;
    result[i] = !(shifted > -32768) ? -32768
                : shifted > 32767   ? 32767
                                    : static_cast<int16_t>(shifted);
  }
  return result;
#endif
}

CRAFT_INLINE int16_t max_lane(ShortVector v) {
#if defined(__AVX2__)
#if defined(__AVX512BW__)
  const __m256i wide = _mm256_max_epi16(_mm512_castsi512_si256((__m512i)v),
                                        _mm512_extracti64x4_epi64((__m512i)v, 1));
#else
  const __m256i wide = (__m256i)v;
#endif
  const __m128i narrow =
      _mm_max_epi16(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
  // The only horizontal instruction finds the least of unsigned numbers.
  const __m128i flip = _mm_set1_epi16(0x7fff);
  const int least = _mm_cvtsi128_si32(_mm_minpos_epu16(_mm_xor_si128(narrow, flip)));
  return static_cast<int16_t>(least ^ 0x7fff);
#else
  int16_t greatest = v[0];
  for (int i = 1; i < kShorts; ++i) greatest = greatest > v[i] ? greatest : v[i];
  return greatest;
#endif
}

// Bit i says whether lane i of v is at least that of x.
CRAFT_INLINE uint32_t reaching(ShortVector v, ShortVector x) {
#if defined(__AVX512BW__)
  return _mm512_cmpge_epi16_mask((__m512i)v, (__m512i)x);
#elif defined(__AVX2__)
  const __m256i less = _mm256_cmpgt_epi16((__m256i)x, (__m256i)v);
  const __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(less), _mm256_extracti128_si256(less, 1));
  return ~_mm_movemask_epi8(bytes) & 0xffff;
#elif defined(__x86_64__)
  const __m128i less = _mm_cmpgt_epi16((__m128i)x, (__m128i)v);
  return ~_mm_movemask_epi8(_mm_packs_epi16(less, less)) & 0xff;
#else
  uint32_t lanes = 0;
  for (int i = 0; i < kShorts; ++i) lanes |= static_cast<uint32_t>(v[i] >= x[i]) << i;
  return lanes;
#endif
}

}  // namespace craft::CRAFT_ISA
